package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errClientGone is the cause of streams that end with their connection or by the client's will.
var errClientGone = errors.New("rpc: the client has gone away")

// find is the stream of an id, nil if it is over or never was. end says that the client says no
// more with this frame, late that it had said so before.
func (c *conn) find(id uint32, end bool) (s *stream, late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s = c.streams[id]; s == nil {
		return nil, false
	}
	s.credit += s.returned
	s.returned = 0
	late = s.halved
	s.halved = late || end
	return s, late
}

// checkKnown refuses frames of streams that were never opened.
func (c *conn) checkKnown(f *frame) error {
	if f.stream == 0 || f.stream > c.lastID || f.stream%2 == 0 {
		return protocolError(fmt.Sprintf("%v of stream %d, which was not opened", f.kind, f.stream))
	}
	return nil
}

// onHeaders begins a request, or ends the body of one.
func (c *conn) onHeaders(f *frame) error {
	if f.stream == 0 || f.stream%2 == 0 {
		return protocolError("HEADERS of a stream that clients cannot open")
	}
	if err := f.unpad(); err != nil {
		return err
	}
	block := f
	if err := block.unprioritize(); err != nil {
		if se := (*streamError)(nil); !errors.As(err, &se) {
			return err
		}
		// The table must follow the block all the same: it cannot, for it may be cut.
		return protocolError("a stream depends on itself")
	}
	end := f.flags.Has(http2.FlagHeadersEndStream)
	if f.flags.Has(http2.FlagHeadersEndHeaders) {
		return c.onBlock(f.stream, f.payload, end)
	}
	c.block = append(c.block[:0], f.payload...)
	c.blockOf, c.blockEnd, c.blockLen = f.stream, end, 1
	return nil
}

func (c *conn) onContinuation(f *frame) error {
	if c.blockOf == 0 {
		return protocolError("CONTINUATION of nothing")
	}
	c.blockLen++
	if c.blockLen > maxContinuations || len(c.block)+len(f.payload) > maxBlockBytes {
		return &connError{http2.ErrCodeEnhanceYourCalm, "the headers are too large"}
	}
	c.block = append(c.block, f.payload...)
	if !f.flags.Has(http2.FlagContinuationEndHeaders) {
		return nil
	}
	id := c.blockOf
	c.blockOf = 0
	err := c.onBlock(id, c.block, c.blockEnd)
	if cap(c.block) > keptBytes {
		c.block = nil
	}
	return err
}

// onBlock takes a whole header block.
func (c *conn) onBlock(id uint32, block []byte, end bool) error {
	if id <= c.lastID {
		return c.onTrailers(id, block, end)
	}
	h, err := c.heads.parse(block, c.srv.methods)
	if err != nil && !errors.Is(err, errMalformed) {
		return err
	}
	malformed := err != nil
	c.mu.Lock()
	c.lastID = id
	// A handler whose stream was reset runs on: those count too.
	open, drain := max(len(c.streams), c.running), c.drain
	c.mu.Unlock()
	switch {
	case malformed:
		return &streamError{id, http2.ErrCodeProtocol}
	case drain == drained || drain == goneAway || open >= int(c.srv.maxStreams()):
		return &streamError{id, http2.ErrCodeRefusedStream}
	case h.length > 0 && end:
		return &streamError{id, http2.ErrCodeProtocol} // less came than was said
	}
	return c.begin(id, h, end)
}

// onTrailers takes the block behind a request's body.
func (c *conn) onTrailers(id uint32, block []byte, end bool) error {
	err := c.heads.parseTrailers(block)
	if err != nil && !errors.Is(err, errMalformed) {
		return err
	}
	s, late := c.find(id, end)
	switch {
	case s == nil:
		return &connError{http2.ErrCodeStreamClosed, "HEADERS of a stream that is closed"}
	case late:
		return &streamError{id, http2.ErrCodeStreamClosed}
	case err != nil || !end:
		return &streamError{id, http2.ErrCodeProtocol}
	}
	return c.onBody(s, nil, true)
}

// begin gives a request to whom it is for.
func (c *conn) begin(id uint32, h *head, end bool) error {
	var s *stream
	switch m := h.method; {
	case h.tooBig:
		return c.refuse(id, h, end, status.New(codes.ResourceExhausted,
			"grpc: the request's headers are larger than the server takes"))
	case !h.grpc && c.srv.opts.HTTP == nil:
		return c.refuse(id, h, end, nil)
	case !h.grpc:
		s = c.srv.newExchange(c, id, h, end)
	case h.bad != nil:
		return c.refuse(id, h, end, h.bad)
	case m == nil:
		return c.refuse(id, h, end, c.srv.unknown(h.path))
	case h.coding != "" && compressor(h.coding) == nil:
		return c.refuse(id, h, end, status.Newf(codes.Unimplemented,
			"grpc: Decompressor is not installed for grpc-encoding %q", h.coding))
	case m.raw != nil:
		s = c.srv.newCall(c, id, h)
	case m.open != nil:
		s = c.srv.newStream(c, id, h)
	default:
		s = c.srv.newHandling(c, id, h)
	}
	s.halved = end
	c.mu.Lock()
	s.window = c.out.initial
	c.streams[id] = s
	if h.timed && h.grpc {
		c.endAt(s, c.now.Add(withGrace(h.timeout)))
	}
	c.mu.Unlock()
	s.sink.begin()
	if end {
		s.sink.data(nil, true)
	}
	return nil
}

// withGrace is how long a call may take whose client gives it so long.
func withGrace(timeout time.Duration) time.Duration {
	return timeout + min(timeout/graceShare+graceTime, math.MaxInt64-timeout)
}

// endAt gives a stream a deadline; the writer keeps the time. mu is held.
func (c *conn) endAt(s *stream, deadline time.Time) {
	s.deadline = deadline
	if c.dueAt(deadline) {
		c.woken = true
		c.poke()
	}
}

// dueAt has the writer look for deadlines that are over at t, or as soon after as it may. It says
// whether that is earlier than before. mu is held.
func (c *conn) dueAt(t time.Time) (earlier bool) {
	if t.Before(c.notYet) {
		t = c.notYet
	}
	if earlier = c.due.IsZero() || t.Before(c.due); earlier {
		c.due = t
	}
	return earlier
}

// refuse answers a request with a status alone; nil: with HTTP's 415.
func (c *conn) refuse(id uint32, h *head, end bool, st *status.Status) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var room [128]byte
	b := room[:0]
	switch {
	case st == nil || h.httpBad != 0:
		code := "415"
		if h.httpBad != 0 {
			code = fmt.Sprint(h.httpBad)
		}
		b = c.out.enc.httpHead(b, code)
		if h.grpc {
			b = appendStatus(appendField(b, contentType, grpcType), st)
		}
	case h.tooBig && !h.grpc:
		b = c.out.enc.httpHead(b, "431")
	default:
		b = appendStatus(c.out.enc.head(b, h.subtype), st)
		if st.Code() == codes.Unimplemented && h.coding != "" {
			b = appendField(b, "grpc-accept-encoding", acceptEncoding)
		}
	}
	c.out.buf = appendHeaders(c.out.buf, id, b, true)
	c.excuses++
	if !end {
		c.out.buf = appendRST(c.out.buf, id, http2.ErrCodeNo)
	}
	return c.patience.use(c.now)
}

// onData takes a piece of a request's body.
func (c *conn) onData(f *frame) error {
	if err := c.checkKnown(f); err != nil {
		return err
	}
	n := int64(len(f.payload)) // padding counts
	if c.window -= n; c.window < 0 {
		return &connError{http2.ErrCodeFlowControl, "more data than the connection's window"}
	}
	c.unparsed += n
	if err := f.unpad(); err != nil {
		return err
	}
	end := f.flags.Has(http2.FlagDataEndStream)
	s, late := c.find(f.stream, end)
	switch {
	case s == nil && n >= smallBytes:
		// It was under way when the stream ended, as the rest of a request that was refused.
		c.mu.Lock()
		defer c.mu.Unlock()
		c.out.buf = appendRST(c.out.buf, f.stream, http2.ErrCodeStreamClosed)
		return nil
	case s == nil || late:
		return &streamError{f.stream, http2.ErrCodeStreamClosed}
	}
	if s.credit -= n; s.credit < 0 {
		return &streamError{f.stream, http2.ErrCodeFlowControl}
	}
	if padding := int(n) - len(f.payload); padding > 0 {
		c.mu.Lock()
		s.giveBack(padding)
		c.mu.Unlock()
	}
	if len(f.payload) == 0 && !end {
		return c.patience.use(c.now)
	}
	return c.onBody(s, f.payload, end)
}

// onBody gives data to the stream's sink.
func (c *conn) onBody(s *stream, b []byte, end bool) error {
	s.got += int64(len(b))
	if s.head.length >= 0 && (s.got > s.head.length || end && s.got != s.head.length) {
		return &streamError{s.id, http2.ErrCodeProtocol}
	}
	s.sink.data(b, end)
	return nil
}

func (c *conn) onWindowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return &connError{http2.ErrCodeFrameSize, "WINDOW_UPDATE of a wrong length"}
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & (1<<31 - 1))
	if n < smallBytes {
		if err := c.patience.use(c.now); err != nil {
			return err
		}
	}
	if f.stream == 0 {
		return c.widen(n)
	}
	if err := c.checkKnown(f); err != nil {
		return err
	}
	if n == 0 {
		return &streamError{f.stream, http2.ErrCodeProtocol}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[f.stream]
	if s == nil {
		return nil
	}
	if s.window += n; s.window > maxWindow {
		return &streamError{f.stream, http2.ErrCodeFlowControl}
	}
	if len(s.queue) > 0 {
		c.pump(s)
	}
	return nil
}

// widen takes a WINDOW_UPDATE of the connection.
func (c *conn) widen(n int64) error {
	if n == 0 {
		return protocolError("WINDOW_UPDATE of nothing")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.window += n; c.out.window > maxWindow {
		return &connError{http2.ErrCodeFlowControl, "the connection's window became too large"}
	}
	c.pumpBlocked()
	return nil
}

// onReset ends a stream by the client's will.
func (c *conn) onReset(f *frame) error {
	if err := c.checkKnown(f); err != nil {
		return err
	}
	if len(f.payload) != 4 {
		return &connError{http2.ErrCodeFrameSize, "RST_STREAM of a wrong length"}
	}
	c.mu.Lock()
	s := c.streams[f.stream]
	if s != nil {
		c.remove(s)
	}
	c.mu.Unlock()
	return c.patience.use(c.now)
}

// resetStream ends a stream for an error of the client's.
func (c *conn) resetStream(id uint32, code http2.ErrCode) error {
	c.mu.Lock()
	s := c.streams[id]
	if s != nil {
		c.remove(s)
	}
	c.out.buf = appendRST(c.out.buf, id, code)
	c.mu.Unlock()
	return c.patience.use(c.now)
}
