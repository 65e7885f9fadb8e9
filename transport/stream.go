package transport

import (
	"bufio"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// writePiece is how much is given to the system at once: WriteTimeout is for each piece, so that a
// link of 26 KiB/s has its time.
const writePiece = 128 << 10

// errMoved ends a stream whose URL is no longer the peer's.
var errMoved = errors.New("the peer's URLs changed")

// stream is one outgoing stream of a peer: the queue, and the goroutine that dials and writes.
type stream struct {
	p     *peer
	kind  kind
	queue *queue
	hurry chan struct{} // dial now: the peer is there

	mu   sync.Mutex // guards below
	url  string     // of conn
	conn net.Conn   // nil: not connected
}

// link is an established connection.
type link struct {
	conn    net.Conn
	r       *bufio.Reader // of what the peer sends
	url     string
	version string
}

// run keeps the stream up until ctx ends.
func (s *stream) run(ctx context.Context) {
	var wait time.Duration
	for ctx.Err() == nil {
		s.queue.begin()
		l, err := s.connect(ctx)
		hurry := s.hurry
		if err != nil {
			s.p.lose(s.queue.end())
			if ctx.Err() == nil {
				s.p.failed(s.kind, err)
			}
		} else {
			if s.hold(ctx, l) {
				wait = 0
				continue
			}
			// It broke as soon as it stood: that the peer is there is no reason to haste.
			hurry = nil
		}
		wait = min(max(2*wait, firstBackoff), lastBackoff)
		if s.pause(ctx, wait, hurry) {
			wait = 0
		}
	}
	s.queue.end()
}

// pause waits; true: there is reason not to wait longer.
func (s *stream) pause(ctx context.Context, d time.Duration, hurry <-chan struct{}) bool {
	timer := s.p.t.opts.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	case <-hurry:
		return true
	}
	return false
}

// hold uses a connection to its end. True: the next one may be dialled at once.
func (s *stream) hold(ctx context.Context, l *link) bool {
	clock := s.p.t.opts.Clock
	began := clock.Now()
	s.p.connected(s.kind, l.url, l.version)
	err := s.serve(ctx, l)
	s.p.lose(s.queue.end())
	if ctx.Err() != nil {
		err = nil
	}
	s.p.disconnected(s.kind, err)
	return errors.Is(err, errMoved) || clock.Since(began) > lastBackoff
}

// connect tries the peer's URLs in turn.
func (s *stream) connect(ctx context.Context) (*link, error) {
	select {
	case <-s.hurry: // what is done now
	default:
	}
	failure := errors.New("the peer has no URL")
	for _, u := range s.p.candidates() {
		l, err := s.attempt(ctx, u)
		if err == nil {
			return l, nil
		}
		failure = err
		if errors.Is(err, errRemoved) {
			s.p.t.removed.Do(s.p.t.opts.Removed)
			break
		}
	}
	return nil, failure
}

// attempt dials one URL.
func (s *stream) attempt(ctx context.Context, u string) (_ *link, err error) {
	t := s.p.t
	a, err := resolve(u)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.opts.DialTimeout)
	defer cancel()
	conn, err := t.dial(ctx, a)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the handshake
	r, greeting, err := t.shakeHands(conn, a.host, s.p.id, s.kind)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, err
	}
	return &link{conn, r, u, greeting.version}, nil
}

// serve sends until the connection breaks, the URL is no longer the peer's, or ctx ends.
func (s *stream) serve(ctx context.Context, l *link) error {
	s.mu.Lock()
	s.conn, s.url = l.conn, l.url
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	broken := make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		broken <- s.listen(l)
		_ = l.conn.Close() // a write that waits ends
	})
	err := errMoved
	if s.p.has(l.url) {
		err = s.write(ctx, l.conn, broken)
	}
	stop()
	_ = l.conn.Close() // it is given up, whatever it says
	reading.Wait()
	s.mu.Lock()
	s.conn, s.url = nil, ""
	s.mu.Unlock()
	if !s.p.has(l.url) {
		return errMoved
	}
	return err
}

// leave closes the connection if its URL is not one of these.
func (s *stream) leave(urls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && !slices.Contains(urls, s.url) {
		_ = s.conn.Close() // its goroutine sees it
	}
}

// write sends what is queued, all that waits at once, and pings.
func (s *stream) write(ctx context.Context, conn net.Conn, broken <-chan error) error {
	t := s.p.t
	ticker := t.opts.Clock.NewTicker(pingInterval)
	defer ticker.Stop()
	var batch []item
	buf := s.appendPing(nil)
	for {
		if len(buf) > 0 {
			if err := s.flush(conn, buf); err != nil {
				s.p.lose(len(batch))
				select {
				case why := <-broken: // it closed the connection
					return why
				default:
					return err
				}
			}
			s.p.sentMessages.Add(uint64(len(batch)))
			s.p.sentBytes.Add(uint64(len(buf)))
		}
		if cap(buf) > keptBuffer+writePiece {
			buf = nil
		}
		buf = buf[:0]
		clear(batch)
		batch = batch[:0]
		select {
		case <-s.queue.wake:
			batch = s.queue.take(batch)
			if len(batch) == 0 {
				continue // it was taken with what came before
			}
			var err error
			if buf, err = appendMessages(buf, batch); err != nil {
				s.p.lose(len(batch))
				return err
			}
		case <-ticker.C():
			buf = s.appendPing(buf)
		case err := <-broken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flush writes to the connection; each piece has its time.
func (s *stream) flush(conn net.Conn, b []byte) error {
	t := s.p.t
	for len(b) > 0 {
		n := min(len(b), writePiece)
		deadline := t.opts.Clock.Now().Add(t.opts.WriteTimeout)
		if err := conn.SetWriteDeadline(deadline); err != nil {
			return err
		}
		if _, err := conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// appendPing appends a ping with the time that it is.
func (s *stream) appendPing(b []byte) []byte {
	t := s.p.t
	return appendControl(b, ping, uint64(t.opts.Clock.Since(t.began)))
}

// listen reads the pongs until the connection ends, and returns why.
func (s *stream) listen(l *link) error {
	t := s.p.t
	l.r = bufio.NewReader(&timedReader{r: l.r, conn: l.conn, t: t})
	frames := frameReader{r: l.r}
	for {
		payload, _, err := frames.next()
		if err != nil {
			return err
		}
		c, err := parse(payload)
		if err != nil {
			return err
		}
		took := t.opts.Clock.Since(t.began) - time.Duration(c.stamp)
		if c.control != pong || took < 0 || took > t.opts.ReadTimeout {
			continue
		}
		if s.kind == fast { // on the other one it would be the time that appends take
			s.p.rtt.Store(max(int64(took), 1))
			t.opts.RTT(s.p.id, took)
		}
	}
}
