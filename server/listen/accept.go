package listen

import (
	"container/list"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Pauses after an accept that failed for lack of files or memory; they double.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// acceptLoop takes connections of one address until Close.
func (g *Group) acceptLoop(b *bound) {
	pause := firstPause
	for {
		select {
		case g.slots <- struct{}{}:
		case <-g.ctx.Done():
			return
		}
		conn, err := b.l.Accept()
		if err == nil {
			pause = firstPause
			g.workers.Go(func() { g.admit(b, &slotConn{Conn: conn, slots: g.slots}) })
			continue
		}
		<-g.slots
		if errors.Is(err, net.ErrClosed) || g.ctx.Err() != nil {
			return
		}
		g.opts.Log.Warn("cannot accept a connection; trying again",
			slog.String("address", b.addr), slog.Duration("pause", pause), slog.Any("error", err))
		timer := g.opts.Clock.NewTimer(pause)
		select {
		case <-timer.C():
		case <-g.ctx.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// maxRefusedBytes bounds what is read of a request that was answered already.
const maxRefusedBytes = 64 << 10

// slotConn gives its slot back when it is closed.
type slotConn struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (c *slotConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots })
	return err
}

// admit finds out what a connection is and hands it over, or closes it.
func (g *Group) admit(b *bound, raw net.Conn) {
	element, ok := g.pending.add(raw)
	if !ok {
		g.drop(raw)
		return
	}
	conn, to, err := g.inspect(b, raw)
	evicted := !g.pending.remove(element)
	if err == nil && !evicted {
		err = raw.SetDeadline(time.Time{})
	}
	if err != nil || evicted || to == nil || !to.give(conn) {
		g.drop(raw)
	}
}

// drop closes a connection that nobody serves; there is nobody to tell that it failed.
func (g *Group) drop(conn net.Conn) { _ = conn.Close() }

// inspect reads the first bytes, does the handshake if they begin one, and says whose the
// connection is; nil is nobody's. It answers and logs what is refused.
func (g *Group) inspect(b *bound, raw net.Conn) (net.Conn, *handover, error) {
	if err := raw.SetDeadline(g.opts.Clock.Now().Add(handshakeTimeout)); err != nil {
		return nil, nil, err
	}
	conn := &sniffed{Conn: raw}
	first, err := conn.peek()
	if err != nil {
		return nil, nil, err // closed, or silent for too long: a probe
	}
	switch {
	case first == isTLS && b.secure:
		return g.handshake(b, conn)
	case first == isTLS:
		g.refused(conn, "", errors.New("a TLS handshake where no https URL listens"))
		return nil, nil, nil
	case !b.plain:
		g.refused(conn, "", errors.New("tls: first record does not look like a TLS handshake"))
		return nil, nil, answer(conn, first, "Client sent an HTTP request to an HTTPS server.\n")
	case b.purpose == httpOnly:
		return conn, g.http, nil
	case first == isHTTP2:
		return conn, g.grpc, nil
	case b.purpose == grpcOnly:
		return nil, nil, answer(conn, first, "This address serves gRPC alone; HTTP is served on "+
			"--listen-client-http-urls.\n")
	}
	return conn, g.http, nil
}

// handshake does the TLS handshake.
func (g *Group) handshake(b *bound, conn *sniffed) (net.Conn, *handover, error) {
	secured := tls.Server(conn, g.tls.config())
	err := secured.HandshakeContext(g.ctx)
	if err == nil {
		err = g.checkAddress(b, secured)
	}
	if err != nil {
		g.refused(conn, conn.serverName, err, secured.ConnectionState().PeerCertificates...)
		return nil, nil, nil
	}
	http2 := secured.ConnectionState().NegotiatedProtocol == protoHTTP2
	switch {
	case b.purpose == httpOnly:
		return secured, g.http, nil
	case b.purpose == grpcOnly && !http2:
		return nil, nil, nil
	case http2:
		return secured, g.grpc, nil
	}
	return secured, g.http, nil
}

// refused logs a connection that was turned away, in etcd's words. That the client went away is no
// news.
func (g *Group) refused(conn net.Conn, serverName string, err error, certs ...*x509.Certificate) {
	level := slog.LevelWarn
	if errors.Is(err, io.EOF) || g.ctx.Err() != nil {
		level = slog.LevelDebug
	}
	attrs := []any{slog.String("remote-addr", conn.RemoteAddr().String()),
		slog.String("server-name", serverName)}
	if len(certs) > 0 {
		attrs = append(attrs, slog.Any("ip-addresses", certs[0].IPAddresses),
			slog.Any("dns-names", certs[0].DNSNames))
	}
	g.opts.Log.Log(g.ctx, level, "rejected connection on "+g.opts.Endpoint+" endpoint",
		append(attrs, slog.Any("error", err))...)
}

// answer tells an HTTP/1 client why it is turned away. It reads what the client goes on to send, up
// to the connection's deadline: closing with unread bytes would take the answer away.
func answer(conn *sniffed, first opening, text string) error {
	if first != isOther {
		return nil
	}
	const head = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"
	if _, err := io.WriteString(conn, head+text); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, conn, maxRefusedBytes)
	return err
}

// pending is the connections that have not shown yet what they are, the oldest first.
type pending struct {
	mu     sync.Mutex // guards all
	conns  *list.List // of net.Conn
	closed bool
}

func newPending() *pending { return &pending{conns: list.New()} }

// add puts a connection at the end. If there are too many then, the oldest one is closed: its
// goroutine fails and drops it. False: the group is closed.
func (p *pending) add(conn net.Conn) (*list.Element, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false
	}
	if p.conns.Len() >= maxPending {
		p.evict(p.conns.Front())
	}
	return p.conns.PushBack(conn), true
}

// evict closes a connection for its goroutine.
func (p *pending) evict(e *list.Element) {
	_ = p.conns.Remove(e).(net.Conn).Close() // nobody to tell
	e.Value = nil
}

// remove takes a connection out. False: it was evicted meanwhile, and is closed.
func (p *pending) remove(e *list.Element) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Value == nil {
		return false
	}
	p.conns.Remove(e)
	return true
}

// close evicts all and admits no more.
func (p *pending) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for p.conns.Len() > 0 {
		p.evict(p.conns.Front())
	}
}
