package transport

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Prefix is the beginning of the paths that Transport.Handler serves.
const Prefix = "/cairn/stream/"

// The levels of the protocol that this version speaks; both sides use the highest common one.
const (
	minLevel = 2
	maxLevel = 2
)

// Words of the handshake.
const (
	protocol      = "cairn-raft"
	headerFrom    = "X-Server-From"
	headerTo      = "X-Server-To"
	headerCluster = "X-Etcd-Cluster-ID"
	headerVersion = "X-Server-Version"
	headerLevel   = "X-Cairn-Level"
	headerURLs    = "X-PeerURLs"
)

// Bounds of what a peer answers in the handshake.
const (
	maxAnswerBytes  = 64 << 10 // head and body
	maxReasonBytes  = 256      // of the body that is shown
	maxVersionBytes = 64
	maxURLs         = 16
	maxURLBytes     = 1 << 10
)

// What is wrong with a handshake. The text of errCluster is etcd's.
var (
	errCluster = errors.New("cluster ID mismatch")
	errTarget  = errors.New("another member was expected here")
	errLevel   = errors.New("no common protocol level")
	errRemoved = errors.New("the member has been permanently removed from the cluster")
)

// kind is one of the streams to a peer.
type kind int

const (
	fast kind = iota
	bulk
	kindCount
)

func (k kind) String() string { return [kindCount]string{"fast", "bulk"}[k] }

func kindNamed(s string) (kind, bool) {
	for k := range kindCount {
		if k.String() == s {
			return k, true
		}
	}
	return 0, false
}

func formatID(id uint64) string { return strconv.FormatUint(id, 16) }

// identify sets the headers that every request and answer carries; to may be 0.
func (t *Transport) identify(h http.Header, to uint64) {
	if t.opts.Cluster != 0 {
		h.Set(headerCluster, formatID(t.opts.Cluster))
	}
	if t.opts.Local != 0 {
		h.Set(headerFrom, formatID(t.opts.Local))
	}
	if to != 0 {
		h.Set(headerTo, formatID(to))
	}
	h.Set(headerVersion, t.opts.Version)
	if t.opts.URLs != nil {
		h.Set(headerURLs, strings.Join(t.opts.URLs(), ","))
	}
	h.Set(headerLevel, fmt.Sprintf("%d-%d", minLevel, maxLevel))
}

// greeting is what the headers of the other side say.
type greeting struct {
	from, to uint64
	version  string
	urls     []string
}

// checkHeaders reads the headers of the other side and says whether it belongs to the cluster, is
// meant for this member, and speaks a level that this one does.
func (t *Transport) checkHeaders(h http.Header) (greeting, error) {
	var g greeting
	if cluster := h.Get(headerCluster); cluster != formatID(t.opts.Cluster) {
		return g, errCluster
	}
	var err error
	if g.from, err = strconv.ParseUint(h.Get(headerFrom), 16, 64); err != nil {
		return g, fmt.Errorf("%w: %s says %.64q", errTarget, headerFrom, h.Get(headerFrom))
	}
	g.version = h.Get(headerVersion)
	if len(g.version) > maxVersionBytes {
		g.version = g.version[:maxVersionBytes]
	}
	g.urls = parseURLs(h.Get(headerURLs))
	g.to, err = strconv.ParseUint(h.Get(headerTo), 16, 64)
	if err != nil || g.to != t.opts.Local || g.from == t.opts.Local || g.from == 0 {
		return g, fmt.Errorf("%w: this is %s, the headers say from %.64q to %.64q", errTarget,
			formatID(t.opts.Local), h.Get(headerFrom), h.Get(headerTo))
	}
	return g, checkLevel(h.Get(headerLevel))
}

// parseURLs takes a list of peer URLs apart; nil if it is none.
func parseURLs(list string) []string {
	if list == "" || len(list) > maxURLs*maxURLBytes {
		return nil
	}
	urls := strings.Split(list, ",")
	for _, u := range urls {
		if _, err := resolve(u); err != nil || len(urls) > maxURLs || len(u) > maxURLBytes {
			return nil
		}
	}
	return urls
}

// checkLevel takes a range of levels, "min-max".
func checkLevel(s string) error {
	low, high, _ := strings.Cut(s, "-")
	from, err := strconv.ParseUint(low, 10, 32)
	to, err2 := strconv.ParseUint(high, 10, 32)
	if err != nil || err2 != nil || from > maxLevel || to < minLevel {
		return fmt.Errorf("%w: %d-%d are spoken here, %.64q there; update the older member",
			errLevel, minLevel, maxLevel, s)
	}
	return nil
}

// shakeHands asks for a stream on a new connection. What the peer sends after its answer is read
// from the result. The deadline is the caller's.
func (t *Transport) shakeHands(conn net.Conn, host string, id uint64, k kind) (
	*bufio.Reader, greeting, error,
) {
	if strings.Contains(host, ":") { // an address of IPv6; its zone is this machine's alone
		host, _, _ = strings.Cut(host, "%")
		host = "[" + host + "]"
	}
	path := "http://" + host + Prefix + k.String()
	req, err := http.NewRequestWithContext(t.ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, greeting{}, err
	}
	t.identify(req.Header, id)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	if err := req.Write(conn); err != nil {
		return nil, greeting{}, err
	}
	limited := &io.LimitedReader{R: conn, N: maxAnswerBytes}
	r := bufio.NewReader(limited)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, greeting{}, fmt.Errorf("no answer to the handshake: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, greeting{}, t.refusedBy(resp)
	}
	g, err := t.checkHeaders(resp.Header)
	if err == nil && g.from != id {
		err = fmt.Errorf("%w: %s answered for %s", errTarget, formatID(g.from), formatID(id))
	}
	if err != nil {
		return nil, greeting{}, err
	}
	limited.N = math.MaxInt64
	return r, g, nil
}

// refusedBy turns a refusal into an error.
func (t *Transport) refusedBy(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReasonBytes))
	if err != nil && len(text) == 0 {
		text = []byte(err.Error())
	}
	reason := strings.TrimSpace(string(text))
	ours := resp.Header.Get(headerCluster) == formatID(t.opts.Cluster)
	switch {
	case resp.StatusCode == http.StatusGone && ours:
		return errRemoved
	case resp.StatusCode == http.StatusPreconditionFailed:
		for _, known := range []error{errCluster, errTarget, errLevel} {
			if strings.HasPrefix(reason, known.Error()) {
				return fmt.Errorf("%w (the peer says: %s)", known, reason)
			}
		}
	}
	return fmt.Errorf("refused: %s: %s", resp.Status, reason)
}
