package transport

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// incomingBuffer is what is read of a connection at once; large frames are read past it.
const incomingBuffer = 64 << 10

// maxRefusals bounds the senders whose last refusal is remembered.
const maxRefusals = 64

// streamKey names an incoming stream.
type streamKey struct {
	from uint64
	kind kind
}

// incoming is a stream that a peer dialled.
type incoming struct {
	key  streamKey
	done chan struct{} // closed when its goroutine reads no more

	mu     sync.Mutex // guards below
	closed bool
	conn   net.Conn // nil before the handshake's end
}

// attach gives the stream its connection; false: it was closed meanwhile.
func (in *incoming) attach(conn net.Conn) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.conn = conn
	return !in.closed
}

// close ends the stream; its goroutine sees it.
func (in *incoming) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	if in.conn != nil {
		_ = in.conn.Close() // it is given up
	}
}

// isClosed says whether this side ended the stream.
func (in *incoming) isClosed() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.closed
}

// timedReader reads with a new deadline each time.
type timedReader struct {
	r    io.Reader
	conn net.Conn
	t    *Transport
	// before, if there, is called before each read, with the time.
	before func(now time.Time) error
}

func (r *timedReader) Read(b []byte) (int, error) {
	now := r.t.opts.Clock.Now()
	if r.before != nil {
		if err := r.before(now); err != nil {
			return 0, err
		}
	}
	if err := r.conn.SetReadDeadline(now.Add(r.t.opts.ReadTimeout)); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// Handler serves the paths below Prefix, for the peer port. A connection that becomes a stream is
// the transport's from then on.
func (t *Transport) Handler() http.Handler { return http.HandlerFunc(t.serve) }

func (t *Transport) serve(w http.ResponseWriter, r *http.Request) {
	k, ok := kindNamed(strings.TrimPrefix(r.URL.Path, Prefix))
	if !ok {
		http.NotFound(w, r)
		return
	}
	t.identify(w.Header(), 0)
	if r.Method != http.MethodGet || r.ProtoMajor != 1 || r.Header.Get("Upgrade") != protocol {
		w.Header().Set("Upgrade", protocol)
		http.Error(w, "this path is for streams between members: GET over HTTP/1.1 with Upgrade: "+
			protocol, http.StatusUpgradeRequired)
		return
	}
	g, err := t.checkHeaders(r.Header)
	status := http.StatusPreconditionFailed
	if !errors.Is(err, errCluster) && t.opts.IsRemoved(g.from) {
		err, status = errRemoved, http.StatusGone
	}
	if err != nil {
		t.noteRefusal(g.from, r, err)
		http.Error(w, err.Error(), status)
		return
	}
	in, old := t.admit(streamKey{g.from, k})
	if in == nil {
		http.Error(w, "too many streams, or the member stops", http.StatusServiceUnavailable)
		return
	}
	defer t.forget(in)
	if old != nil {
		// Its sender has given it up. What it read must be delivered before what comes now.
		old.close()
		select {
		case <-old.done:
		case <-t.ctx.Done():
			return
		}
	}
	if !t.welcome(g) {
		http.Error(w, errRemoved.Error(), http.StatusGone)
		return
	}
	t.receive(w, in, g)
}

// noteRefusal logs a refused sender, once for each reason.
func (t *Transport) noteRefusal(from uint64, r *http.Request, err error) {
	level, text := slog.LevelWarn, err.Error()
	t.mu.Lock()
	if _, known := t.refusals[from]; t.refusals[from] == text || !known &&
		len(t.refusals) >= maxRefusals {
		level = slog.LevelDebug
	} else {
		t.refusals[from] = text
	}
	t.mu.Unlock()
	msg := "refused a stream from a peer"
	if errors.Is(err, errCluster) {
		msg = "request cluster ID mismatch"
	}
	t.opts.Log.Log(t.ctx, level, msg, slog.Any("error", err),
		slog.String("local-member-id", formatID(t.opts.Local)),
		slog.String("local-member-cluster-id", formatID(t.opts.Cluster)),
		slog.String("remote-peer-id", fmt.Sprintf("%.64s", r.Header.Get(headerFrom))),
		slog.String("remote-peer-cluster-id", fmt.Sprintf("%.64s", r.Header.Get(headerCluster))),
		slog.String("remote-addr", r.RemoteAddr))
}

// admit registers a stream; old is the one that it takes the place of. nil: there is no room.
func (t *Transport) admit(key streamKey) (in, old *incoming) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old = t.incoming[key]
	if t.closed || old == nil && len(t.incoming) >= maxIncoming {
		return nil, nil
	}
	delete(t.refusals, key.from)
	in = &incoming{key: key, done: make(chan struct{})}
	t.incoming[key] = in
	t.workers.Add(1)
	return in, old
}

// forget is the end of a stream.
func (t *Transport) forget(in *incoming) {
	t.mu.Lock()
	if t.incoming[in.key] == in {
		delete(t.incoming, in.key)
	}
	t.mu.Unlock()
	close(in.done)
	t.workers.Done()
}

// receive takes the connection over and reads it to its end.
func (t *Transport) receive(w http.ResponseWriter, in *incoming, g greeting) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "this connection cannot become a stream: "+err.Error(),
			http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }() // whatever it says, it is given up
	if !in.attach(conn) {
		return
	}
	err = t.accept(conn, rw.Reader, g)
	if err == nil {
		if p := t.peer(g.from); p != nil {
			p.heard(g.version)
		}
		t.opts.Log.Info("established TCP streaming connection with remote peer",
			t.incomingAttrs(in)...)
		err = t.read(conn, in)
	}
	if in.isClosed() {
		return
	}
	if p := t.peer(g.from); p != nil {
		p.receiveFailures.Add(1)
	}
	msg := "lost TCP streaming connection with remote peer"
	if errors.Is(err, errDamaged) {
		msg = "closed TCP streaming connection with remote peer: what it sent is damaged"
	}
	t.opts.Log.Warn(msg, append(t.incomingAttrs(in), slog.Any("error", err))...)
}

func (t *Transport) incomingAttrs(in *incoming) []any {
	return []any{slog.String("local-member-id", formatID(t.opts.Local)),
		slog.String("remote-peer-id", formatID(in.key.from)),
		slog.String("stream-type", in.key.kind.String()), slog.String("direction", "in")}
}

// accept answers the handshake.
func (t *Transport) accept(conn net.Conn, r *bufio.Reader, g greeting) error {
	if r.Buffered() > 0 {
		return fmt.Errorf("%w: %d bytes before the handshake was answered", errDamaged,
			r.Buffered())
	}
	head := http.Header{}
	t.identify(head, g.from)
	head.Set("Connection", "Upgrade")
	head.Set("Upgrade", protocol)
	var b strings.Builder
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := head.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	return t.reply(conn, []byte(b.String()))
}

// reply writes something small.
func (t *Transport) reply(conn net.Conn, b []byte) error {
	deadline := t.opts.Clock.Now().Add(t.opts.WriteTimeout)
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := conn.Write(b)
	return err
}

// read delivers messages and answers pings until the connection ends.
func (t *Transport) read(conn net.Conn, in *incoming) error {
	var answer []byte
	answered := t.opts.Clock.Now()
	say := func(stamp uint64) error {
		answered = t.opts.Clock.Now()
		answer = appendControl(answer[:0], pong, stamp)
		return t.reply(conn, answer)
	}
	// While a long frame comes over a slow link no ping does.
	alive := func(now time.Time) error {
		if now.Sub(answered) < t.opts.ReadTimeout/2 {
			return nil
		}
		return say(unasked)
	}
	r := bufio.NewReaderSize(&timedReader{conn, conn, t, alive}, incomingBuffer)
	frames := frameReader{r: r}
	for {
		payload, bytes, err := frames.next()
		if err != nil {
			return err
		}
		c, err := parse(payload)
		if err != nil {
			return err
		}
		p := t.peer(in.key.from)
		if p != nil {
			p.receivedBytes.Add(uint64(bytes))
			p.receivedMessages.Add(uint64(len(c.messages)))
		}
		if c.control == ping {
			if err := say(c.stamp); err != nil {
				return err
			}
		}
		c.messages = slices.DeleteFunc(c.messages, func(m *raftpb.Message) bool {
			return !t.acceptable(m, in.key.from)
		})
		if len(c.messages) > 0 && !in.isClosed() {
			t.opts.Deliver(in.key.from, c.messages)
		}
	}
}

// acceptable says whether raft may see a message: it is from whom it should be and to this member,
// and none of those that raft sends to itself. What asks for the leader is handed on by a member
// that does not lead any more, and names the first sender still.
func (t *Transport) acceptable(m *raftpb.Message, from uint64) bool {
	handedOn := m.GetType() == raftpb.MsgProp || m.GetType() == raftpb.MsgReadIndex
	return (m.GetFrom() == from || handedOn) && m.GetTo() == t.opts.Local &&
		!raft.IsLocalMsg(m.GetType()) &&
		(m.GetType() != raftpb.MsgSnap || !raft.IsEmptySnap(m.GetSnapshot()))
}
