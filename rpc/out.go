package rpc

import (
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	defaultWindow = 1<<16 - 1 // of both flow controls until something else is said
	maxWindow     = 1<<31 - 1
	// keptBytes bounds the memory that a connection keeps of its buffers, or has in hand.
	keptBytes = 64 << 10
	// pooledBytes is the largest out buffer that is used again, by any connection.
	pooledBytes = 2 * maxOut
	// turnBytes is how much of a stream is sent before it is another one's turn.
	turnBytes = 64 << 10
)

// outbox is what a connection has to send. Guarded by conn.mu.
type outbox struct {
	buf     []byte // frames, ready to be written
	left    []byte // of what was taken from buf and did not go out at once; comes before buf
	writing bool   // someone is writing what was taken from buf
	room    sync.Cond

	enc     encoder
	window  int64     // the connection's: bytes of data that the client takes
	initial int64     // a new stream's
	blocked []*stream // wait for the connection's window or for room, in turn
	queued  int       // bytes in the queues of all streams
}

func (o *outbox) init(mu *sync.Mutex) {
	o.window, o.initial, o.enc.limit = defaultWindow, defaultWindow, defaultTableBytes
	o.room.L = mu
}

func (o *outbox) size() int { return len(o.buf) + len(o.left) }

// drop forgets all, at the end.
func (o *outbox) drop() {
	o.buf, o.left, o.blocked, o.queued = nil, nil, nil, 0
	o.room.Broadcast()
}

// poke wakes the writer.
func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// appended sees to it that what was appended to the out buffer is written: by the reader or the
// writer, if they are at work, at the end of the cork, or by waking the writer. mu is held.
func (c *conn) appended() {
	if c.reading || c.working || c.out.writing || c.woken || c.dead {
		return
	}
	if c.dirty || c.srv.corkedFor(c) {
		return
	}
	c.woken = true
	c.poke()
}

// uncorked has written what gathered: at once if it is the only connection, since that takes less
// than to wake the writer, else by the writers side by side.
func (c *conn) uncorked(only bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirty = false
	if only && len(c.later) == 0 && len(c.ready) == 0 {
		c.flushDirect()
		return
	}
	c.woken = true
	c.poke()
}

// wakeWriter has the writer look at later and ready. mu is held.
func (c *conn) wakeWriter() {
	if c.woken || c.working || c.dead || c.dirty || c.srv.corkedFor(c) {
		return
	}
	c.woken = true
	c.poke()
}

// take takes what is to be written next.
func (o *outbox) take() []byte {
	if len(o.left) > 0 {
		b := o.left
		o.left = nil
		return b
	}
	b := o.buf
	o.buf = nil
	return b
}

// buffers lends the memory of out buffers. An idle connection has none.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// open takes memory for what is about to be appended.
func (o *outbox) open() {
	if o.buf == nil {
		lent := buffers.Get().(*[]byte)
		o.buf = (*lent)[:0]
		*lent = nil
		holders.Put(lent)
	}
}

// holders are what buffers keeps slices in while they are lent.
var holders = sync.Pool{New: func() any { return new([]byte) }}

// recycle gives back the memory of what was written.
func (o *outbox) recycle(b []byte) {
	if cap(b) == 0 || cap(b) > pooledBytes {
		return
	}
	h := holders.Get().(*[]byte)
	*h = b[:0]
	buffers.Put(h)
}

// flushDirect writes what the socket takes without waiting; the writer does the rest. mu is held,
// but not while it writes.
func (c *conn) flushDirect() {
	if c.out.size() == 0 || c.out.writing || c.dead {
		return
	}
	if c.direct == nil || len(c.out.left) > 0 {
		c.woken = true
		c.poke()
		return
	}
	c.out.writing = true
	b := c.out.take()
	c.mu.Unlock()
	n := c.direct.write(b)
	c.mu.Lock()
	c.out.writing = false
	if n < len(b) && !c.dead {
		c.out.left = append([]byte(nil), b[n:]...)
	}
	c.out.recycle(b)
	c.out.room.Broadcast()
	if c.out.size() > 0 || len(c.out.blocked) > 0 {
		c.woken = true
		c.poke()
	}
}

// flush writes until nothing is left, and waits for the socket, not longer than stall without any
// progress. It says whether the connection stands. mu is held, but not while it writes.
func (c *conn) flush(stall time.Duration) bool {
	o := &c.out
	c.pumpBlocked() // flushDirect has made room and left this to the writer
	for !o.writing && o.size() > 0 {
		o.writing = true
		b := o.take()
		c.mu.Unlock()
		err := c.write(b, stall)
		c.mu.Lock()
		o.writing = false
		o.recycle(b)
		if err != nil {
			return false
		}
		c.pumpBlocked()
		o.room.Broadcast()
	}
	return true
}

// write writes all of b. A client that takes nothing for as long as stall is given up.
func (c *conn) write(b []byte, stall time.Duration) error {
	if c.direct != nil {
		b = b[c.direct.write(b):]
	}
	for len(b) > 0 {
		// In pieces, so that the time is one without any progress.
		n := min(len(b), keptBytes)
		if err := c.nc.SetWriteDeadline(c.srv.opts.Clock.Now().Add(stall)); err != nil {
			return err
		}
		if _, err := c.nc.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// writeLoop is the writer.
func (c *conn) writeLoop() {
	clk := c.srv.opts.Clock
	o := &c.srv.opts
	// One that takes nothing does not get its ping either.
	stall := min(stallTime, o.KeepaliveInterval+o.KeepaliveTimeout)
	timer := clk.NewTimer(o.KeepaliveInterval)
	defer timer.Stop()
	defer close(c.written)
	for {
		select {
		case <-c.wake:
		case <-timer.C():
		case <-c.ended:
			return
		}
		c.mu.Lock()
		c.woken, c.working = false, true
		c.work()
		now := clk.Now()
		next, alive := c.onTime(now)
		c.working = false
		if !alive || !c.flush(stall) {
			c.dead = true
			c.out.room.Broadcast()
			c.mu.Unlock()
			_ = c.nc.Close() // the reader notices
			return
		}
		again := len(c.later) > 0 || len(c.ready) > 0
		c.mu.Unlock()
		timer.Reset(next)
		if again {
			c.poke()
		}
	}
}

// work runs what was left for the writer; mu is held, but not while it runs.
func (c *conn) work() {
	for len(c.later) > 0 || len(c.ready) > 0 {
		later, ready := c.later, c.ready
		c.later, c.ready = nil, nil
		c.mu.Unlock()
		for _, call := range later {
			call.then(call)
		}
		for _, s := range ready {
			s.turn()
		}
		c.mu.Lock()
		if c.out.size() > keptBytes && !c.dead {
			return // what is there goes out first
		}
	}
}

// emit sends a piece of a stream's data, prefix and body in a row, as far as the windows and the
// room allow; the rest waits in the stream's queue. mu is held.
func (c *conn) emit(s *stream, prefix, body []byte) {
	c.out.open()
	c.earned += messageForgives
	for len(s.queue) == 0 && len(prefix)+len(body) > 0 {
		n := min(len(prefix)+len(body), c.allowance(s))
		if n <= 0 {
			break
		}
		b := appendFrameHeader(c.out.buf, n, http2.FrameData, 0, s.id)
		k := min(n, len(prefix))
		b = append(b, prefix[:k]...)
		prefix = prefix[k:]
		b = append(b, body[:n-k]...)
		body = body[n-k:]
		c.out.buf = b
		c.excuses++
		s.window -= int64(n)
		c.out.window -= int64(n)
	}
	if n := len(prefix) + len(body); n > 0 {
		s.queue = append(append(s.queue, prefix...), body...)
		c.out.queued += n
		c.await(s)
	}
}

// allowance is how much of a stream's data may go out now, in one frame.
func (c *conn) allowance(s *stream) int {
	if c.out.size() > maxOut {
		return 0
	}
	return int(min(maxFrameBytes, s.window, c.out.window))
}

// await lets a stream with data in its queue wait for the connection; one whose own window is
// closed waits for its WINDOW_UPDATE.
func (c *conn) await(s *stream) {
	if !s.blocked && s.window > 0 {
		s.blocked = true
		c.out.blocked = append(c.out.blocked, s)
	}
}

// pump moves data from a stream's queue to the out buffer, up to turnBytes.
func (c *conn) pump(s *stream) {
	c.out.open()
	moved := 0
	for s.sent < len(s.queue) && moved < turnBytes {
		n := min(len(s.queue)-s.sent, c.allowance(s))
		if n <= 0 {
			break
		}
		c.out.buf = appendFrameHeader(c.out.buf, n, http2.FrameData, 0, s.id)
		c.out.buf = append(c.out.buf, s.queue[s.sent:s.sent+n]...)
		s.sent += n
		c.excuses++
		s.window -= int64(n)
		c.out.window -= int64(n)
		c.out.queued -= n
		moved += n
	}
	if s.sent < len(s.queue) {
		c.await(s)
		return
	}
	if cap(s.queue) > keptBytes {
		s.queue = nil
	}
	s.queue, s.sent = s.queue[:0], 0
	if s.closing {
		c.sendEnd(s)
	}
	s.drained()
}

// pumpBlocked gives the streams that wait for the connection their turns.
func (c *conn) pumpBlocked() {
	o := &c.out
	for len(o.blocked) > 0 && o.window > 0 && o.size() <= maxOut {
		s := o.blocked[0]
		o.blocked[0] = nil
		if o.blocked = o.blocked[1:]; len(o.blocked) == 0 {
			o.blocked = nil
		}
		s.blocked = false
		if !s.over {
			c.pump(s)
		}
	}
}

// setInitialWindow changes the windows of all streams (RFC 9113, 6.9.2).
func (c *conn) setInitialWindow(n int64) error {
	delta := n - c.out.initial
	c.out.initial = n
	for _, s := range c.streams {
		s.window += delta
		if s.window > maxWindow {
			return &connError{http2.ErrCodeFlowControl, "a window became too large"}
		}
		if len(s.queue) > 0 && delta > 0 {
			c.pump(s)
		}
	}
	return nil
}

// onTime does what is due: ends calls whose deadline is over, pings an idle client. next is how
// long the writer may sleep. mu is held.
func (c *conn) onTime(now time.Time) (next time.Duration, alive bool) {
	if !c.due.IsZero() && !now.Before(c.due) {
		c.expire(now)
	}
	o := &c.srv.opts
	quiet := now.Sub(time.Unix(0, c.lastRead.Load()))
	next = o.KeepaliveInterval - quiet
	if next <= 0 {
		if c.pinged.IsZero() {
			c.pinged = now
			c.out.buf = appendPing(c.out.buf, 0, make([]byte, 8))
		}
		if next = o.KeepaliveTimeout - now.Sub(c.pinged); next <= 0 {
			return 0, false
		}
	} else {
		c.pinged = time.Time{}
	}
	if !c.due.IsZero() {
		next = min(next, c.due.Sub(now))
	}
	return max(next, time.Millisecond), true
}

// expire ends what has reached its deadline, and says when to look again: that takes a while where
// there are many streams, so deadlines that follow each other closely are kept together. mu is
// held.
func (c *conn) expire(now time.Time) {
	c.due = time.Time{}
	c.notYet = now.Add(time.Duration(len(c.streams)) * lookTime)
	var late []*stream
	for _, s := range c.streams {
		switch {
		case s.deadline.IsZero():
		case !now.Before(s.deadline):
			late = append(late, s)
		default:
			c.dueAt(s.deadline)
		}
	}
	for _, s := range late {
		s.deadline = time.Time{}
		s.sink.expired()
	}
}
