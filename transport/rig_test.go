package transport

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const testCluster = 0xc1

// logBuffer is a log that goroutines write and a test reads.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) count(s string) int { return strings.Count(l.String(), s) }

// eventually polls until ok, for up to 10 s.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s still not: %s", what)
		}
	}
}

// member is a transport with a server on a listener.
type member struct {
	*Transport
	t    testing.TB
	id   uint64
	log  *logBuffer
	url  string
	opts Options
	tls  *tls.Config // of the server

	mu          sync.Mutex // guards below
	got         []*raftpb.Message
	unreachable map[uint64]int
	removed     int
	gone        map[uint64]bool // whom it takes for removed
	other       http.Handler    // of other paths

	server *http.Server
	served chan struct{}
}

// newMember makes a member that collects what it gets. change may alter the options.
func newMember(t testing.TB, id uint64, change func(*Options)) *member {
	m := &member{t: t, id: id, log: &logBuffer{}, unreachable: map[uint64]int{},
		gone: map[uint64]bool{}, other: http.NotFoundHandler()}
	m.opts = Options{
		Cluster: testCluster, Local: id, Version: "3.7.0", Clock: clock.Real(),
		Log: slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Deliver: func(_ uint64, messages []*raftpb.Message) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.got = append(m.got, messages...)
		},
		Unreachable: func(id uint64) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.unreachable[id]++
		},
		Removed: func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.removed++
		},
		IsRemoved: func(id uint64) bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.gone[id]
		},
	}
	if change != nil {
		change(&m.opts)
	}
	m.Transport = New(m.opts)
	t.Cleanup(func() {
		m.Close()
		m.shut()
	})
	return m
}

// serve listens: scheme is http, https, unix or unixs; addr "" is a new address.
func (m *member) serve(scheme, addr string) {
	m.t.Helper()
	network := "tcp"
	if strings.HasPrefix(scheme, "unix") {
		network = "unix"
		if addr == "" {
			addr = filepath.Join(m.t.TempDir(), "socket")
		}
	} else if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.url = scheme + "://" + l.Addr().String()
	if strings.HasSuffix(scheme, "s") {
		l = tls.NewListener(l, m.tls)
	}
	mux := http.NewServeMux()
	mux.Handle(Prefix, m.Handler())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { m.other.ServeHTTP(w, r) })
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(m.opts.Log.Handler(), slog.LevelDebug)}
	m.served = make(chan struct{})
	go func() {
		defer close(m.served)
		_ = m.server.Serve(l)
	}()
}

// addr is the listener's address.
func (m *member) addr() string {
	_, addr, _ := strings.Cut(m.url, "://")
	return addr
}

// shut closes the listener. Streams go on.
func (m *member) shut() {
	if m.server != nil {
		_ = m.server.Close()
		<-m.served
		m.server = nil
	}
}

// cutIncoming breaks all streams that come to the member, as a network does.
func (m *member) cutIncoming() {
	m.Transport.mu.Lock()
	defer m.Transport.mu.Unlock()
	for _, in := range m.incoming {
		in.mu.Lock()
		if in.conn != nil {
			_ = in.conn.Close()
		}
		in.mu.Unlock()
	}
}

func (m *member) messages() []*raftpb.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.got[:len(m.got):len(m.got)]
}

func (m *member) losses(id uint64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unreachable[id]
}

// connect makes all peers of each other and waits until all are active.
func connect(t testing.TB, members ...*member) {
	t.Helper()
	urls := map[uint64][]string{}
	for _, m := range members {
		urls[m.id] = []string{m.url}
	}
	for _, m := range members {
		m.SetPeers(urls)
	}
	for _, m := range members {
		for _, p := range members {
			eventually(t, "active", func() bool {
				return m == p || !m.ActiveSince(p.id).IsZero()
			})
		}
	}
}

// message is a heartbeat, or an append with an entry of size bytes if size > 0.
func message(from, to, index uint64, size int) *raftpb.Message {
	m := &raftpb.Message{From: &from, To: &to, Index: &index, Term: proto.Uint64(7),
		Type: raftpb.MsgHeartbeat.Enum()}
	if size > 0 {
		data := bytes.Repeat([]byte{byte(index)}, size)
		m.Type = raftpb.MsgApp.Enum()
		m.Entries = []*raftpb.Entry{{Index: &index, Term: proto.Uint64(7), Data: data}}
	}
	return m
}

// authority signs certificates for loopback.
type authority struct {
	t     testing.TB
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, roots: x509.NewCertPool()}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	pair := a.sign(template, nil)
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	a.roots.AddCert(a.cert)
	return a
}

func (a *authority) sign(c, parent *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// member returns the configurations of one member: as a server and as a client.
func (a *authority) member() (server, client *tls.Config) {
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "member"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	pair := []tls.Certificate{a.sign(c, a.cert)}
	return &tls.Config{Certificates: pair, ClientCAs: a.roots,
			ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2", "http/1.1"}},
		&tls.Config{Certificates: pair, RootCAs: a.roots}
}

// rawPeer is a hand-made dialler of streams.
type rawPeer struct {
	t testing.TB
	net.Conn
}

// dialRaw begins a stream as member id, with other headers if given, and returns the answer's
// status and body.
func dialRaw(t testing.TB, to *member, id uint64, k kind, headers map[string]string) (
	*rawPeer, int, string,
) {
	t.Helper()
	conn, err := net.Dial("tcp", to.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	h := map[string]string{"Upgrade": protocol, "Connection": "Upgrade",
		headerCluster: formatID(testCluster), headerFrom: formatID(id), headerTo: formatID(to.id),
		headerVersion: "3.6.0", headerLevel: "2-2"}
	for name, value := range headers {
		h[name] = value
	}
	var b strings.Builder
	b.WriteString("GET " + Prefix + k.String() + " HTTP/1.1\r\nHost: x\r\n")
	for name, value := range h {
		b.WriteString(name + ": " + value + "\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(conn, b.String()); err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{t, conn}
	status, body := p.answer()
	return p, status, body
}

// write sends bytes; a peer that closed is no error.
func (p *rawPeer) write(b []byte) { _, _ = p.Write(b) }

// ended waits until the other side closes.
func (p *rawPeer) ended() {
	p.t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, p.Conn); err != nil {
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			p.t.Fatal("the stream was not closed")
		}
	}
}

// frame encodes messages as one frame.
func frame(t testing.TB, messages ...*raftpb.Message) []byte {
	t.Helper()
	var batch []item
	for _, m := range messages {
		batch = append(batch, item{m, proto.Size(m)})
	}
	b, err := appendMessages(nil, batch)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answer reads the answer to the handshake byte by byte, so that nothing of the stream is taken.
func (p *rawPeer) answer() (status int, body string) {
	p.t.Helper()
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if _, err := io.ReadFull(p.Conn, b); err != nil {
			p.t.Fatalf("%v after %q", err, head)
		}
		head = append(head, b...)
	}
	r := bufio.NewReader(io.MultiReader(bytes.NewReader(head), p.Conn))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			p.t.Fatal(err)
		}
		body = string(text)
	}
	return resp.StatusCode, body
}

// fakePeer listens and hands each connection, once its request came, to answer; then it is closed.
// The URL is returned.
func fakePeer(t testing.TB, answer func(conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return "http://" + l.Addr().String()
}

func tlsOf(c *tls.Config) func() (*tls.Config, error) {
	return func() (*tls.Config, error) { return c, nil }
}

// welcome answers a handshake of a member as m does.
func (m *member) welcome(conn net.Conn, to uint64) {
	h := http.Header{}
	m.identify(h, to)
	var text strings.Builder
	_ = h.Write(&text)
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n"+text.String()+"\r\n")
}
