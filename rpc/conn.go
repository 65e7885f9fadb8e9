package rpc

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// conn is one connection of a client.
type conn struct {
	srv    *Server
	nc     net.Conn
	direct *directWriter // nil: every write may wait
	tls    *tls.ConnectionState
	ctx    context.Context // of handlers; ends with the connection
	cancel context.CancelFunc
	wake   chan struct{} // has a token while the writer has something to do
	ended  chan struct{} // closed when nothing comes any more
	// written is closed when the writer is done.
	written chan struct{}

	// Of the reader alone:
	in        []byte
	from, to  int // what of in is not parsed
	heads     headParser
	block     []byte // of a request whose headers are not complete
	blockOf   uint32 // its stream; 0: there is none
	blockEnd  bool   // nothing comes after its headers
	blockLen  int    // frames of it
	unparsed  int64  // bytes of data that came and were not returned to the client's window
	window    int64  // bytes of data that the client may send
	patience  patience
	lastPing  time.Time
	strikes   int
	now       time.Time // when the batch was read
	sawClient bool      // SETTINGS came

	lastRead atomic.Int64 // Unix time in ns

	// mu guards what follows, and what says so in stream and its kinds. It is held for moments.
	mu       sync.Mutex
	streams  map[uint32]*stream
	lastID   uint32 // newest stream; written by the reader with mu
	out      outbox
	later    []*Call   // Call.Later was called
	ready    []*Stream // Fill has to be called
	running  int       // handlers on goroutines of their own, whatever became of their streams
	long     int       // calls on goroutines of their own
	longWait []*Call
	buffered int  // bytes of requests that are kept
	reading  bool // the reader is in a batch: it writes at its end
	working  bool // the writer is: the same
	woken    bool // wake has a token
	dirty    bool // is in the server's list of corked connections
	excuses  int  // frames of headers and data that went out, less the pings that came
	earned   int  // patience for what was answered since the last batch
	dead     bool // nothing can be sent any more
	drain    drainState
	due      time.Time // of the next look for deadlines that are over; zero: there is none
	notYet   time.Time // it comes no sooner
	pinged   time.Time // the server's keepalive ping went out; zero: none is open
}

type drainState uint8

const (
	serving  drainState = iota
	warned              // GOAWAY was sent, and a ping
	drained             // the client has seen it: it begins nothing any more
	goneAway            // the last stream has ended, or the connection failed
)

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		srv: s, nc: nc, direct: newDirectWriter(nc),
		wake: make(chan struct{}, 1), ended: make(chan struct{}), written: make(chan struct{}),
		in: make([]byte, readBytes), window: connWindow,
		streams: make(map[uint32]*stream),
	}
	c.ctx, c.cancel = context.WithCancel(s.context(nc))
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
	c.heads.init()
	c.out.init(&c.mu)
	c.now = s.opts.Clock.Now()
	c.lastRead.Store(c.now.UnixNano())
	c.patience.init(c.now)
	return c
}

// serve reads the connection until it ends.
func (c *conn) serve() {
	c.mu.Lock()
	c.out.buf = appendSettings(c.out.buf,
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: c.srv.maxStreams()},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxListBytes},
	)
	c.out.buf = appendWindowUpdate(c.out.buf, 0, connWindow-defaultWindow)
	c.mu.Unlock()
	c.poke()

	err := c.readPreface()
	for err == nil {
		err = c.readBatch()
	}
	c.end(err)
}

// readPreface reads what every client of HTTP/2 begins with.
func (c *conn) readPreface() error {
	deadline := c.srv.opts.Clock.Now().Add(prefaceTime)
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return err
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.nc, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return protocolError("this is not the preface of HTTP/2")
	}
	for !c.sawClient { // SETTINGS have to follow at once
		if err := c.readBatch(); err != nil {
			return err
		}
	}
	return c.nc.SetReadDeadline(time.Time{})
}

// readBatch reads once, handles all frames that are complete, and writes what was answered.
func (c *conn) readBatch() error {
	n, err := c.nc.Read(c.in[c.to:])
	if n == 0 && err != nil {
		return err
	}
	c.to += n
	c.now = c.srv.opts.Clock.Now()
	c.lastRead.Store(c.now.UnixNano())

	c.mu.Lock()
	for c.out.size() > maxOut && !c.dead { // who does not read is not listened to
		c.out.room.Wait()
	}
	c.reading = true
	c.patience.forgive(c.earned)
	c.earned = 0
	c.mu.Unlock()
	err = c.handleAll()
	c.mu.Lock()
	c.reading = false
	c.returnWindow()
	c.flushDirect()
	c.mu.Unlock()
	return err
}

func (c *conn) handleAll() error {
	for {
		f, n, err := parseFrame(c.in[c.from:c.to])
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		c.from += n
		if err = c.handle(&f); err != nil {
			if se := (*streamError)(nil); errors.As(err, &se) {
				err = c.resetStream(se.stream, se.code)
			}
			if err != nil {
				return err
			}
		}
	}
	c.to = copy(c.in, c.in[c.from:c.to])
	c.from = 0
	return nil
}

// spawn runs a handler on a goroutine of its own, which must take itself off c.running at its end.
func (c *conn) spawn(run func()) {
	c.mu.Lock()
	c.running++
	c.mu.Unlock()
	c.srv.handlers.Go(run)
}

// returnWindow gives the client's window back what was read; mu is held.
func (c *conn) returnWindow() {
	if c.unparsed >= connWindow/4 {
		c.out.buf = appendWindowUpdate(c.out.buf, 0, c.unparsed)
		c.window += c.unparsed
		c.unparsed = 0
	}
}

// end is the last that the reader does: it tells the client why, and everybody else that the
// connection is over.
func (c *conn) end(cause error) {
	code, text := http2.ErrCodeNo, ""
	if ce := (*connError)(nil); errors.As(cause, &ce) {
		code, text = ce.code, ce.text
		c.srv.opts.Log.Debug("connection ended for its client's error",
			"remote-addr", c.nc.RemoteAddr().String(), "error", cause)
	}
	c.mu.Lock()
	tell := code != http2.ErrCodeNo || c.drain == goneAway
	if code != http2.ErrCodeNo {
		c.out.buf = appendGoAway(c.out.buf, c.lastID, code, text)
	}
	c.mu.Unlock()
	if tell {
		c.flushLast()
	}
	c.cancel()
	c.mu.Lock()
	c.dead = true
	for _, s := range c.streams {
		s.finish()
	}
	clear(c.streams)
	c.out.drop()
	c.mu.Unlock()
	_ = c.nc.Close() // it is over, however that went
	close(c.ended)
	<-c.written
	c.mu.Lock()
	waiting := c.longWait
	c.longWait = nil
	c.work() // what was left for the writer is told that it is over
	c.mu.Unlock()
	for _, call := range waiting {
		call.then(call)
	}
	c.srv.forget(c)
}

// flushLast writes what is in the out buffer before the connection is closed, and waits a moment
// for the client to close it: closing with unread bytes would take the last ones away.
func (c *conn) flushLast() {
	deadline := c.srv.opts.Clock.Now().Add(closeTime)
	if c.nc.SetDeadline(deadline) != nil {
		return
	}
	c.mu.Lock()
	for c.out.writing {
		c.out.room.Wait()
	}
	ok := c.flush(closeTime)
	c.mu.Unlock()
	if half, can := c.nc.(interface{ CloseWrite() error }); ok && can && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c.nc, connWindow) // until the deadline
	}
}

// handle handles one frame.
func (c *conn) handle(f *frame) error {
	if c.blockOf != 0 && (f.kind != http2.FrameContinuation || f.stream != c.blockOf) {
		return protocolError("a header block was not finished")
	}
	if !c.sawClient && f.kind != http2.FrameSettings {
		return protocolError("the first frame is no SETTINGS")
	}
	switch f.kind {
	case http2.FrameData:
		return c.onData(f)
	case http2.FrameHeaders:
		return c.onHeaders(f)
	case http2.FrameContinuation:
		return c.onContinuation(f)
	case http2.FrameWindowUpdate:
		return c.onWindowUpdate(f)
	case http2.FrameRSTStream:
		return c.onReset(f)
	case http2.FrameSettings:
		return c.onSettings(f)
	case http2.FramePing:
		return c.onPing(f)
	case http2.FrameGoAway:
		if f.stream != 0 {
			return protocolError("GOAWAY of a stream")
		}
		if len(f.payload) < 8 {
			return &connError{http2.ErrCodeFrameSize, "GOAWAY too short"}
		}
		return c.patience.use(c.now)
	case http2.FramePriority:
		return c.onPriority(f)
	case http2.FramePushPromise:
		return protocolError("clients do not push")
	}
	return c.patience.use(c.now) // unknown kinds are ignored (RFC 9113, 4.1)
}

func (c *conn) onPriority(f *frame) error {
	if f.stream == 0 {
		return protocolError("PRIORITY without a stream")
	}
	if len(f.payload) != 5 {
		return &streamError{f.stream, http2.ErrCodeFrameSize}
	}
	if err := checkDependency(f.stream, f.payload); err != nil {
		return err
	}
	return c.patience.use(c.now)
}

func (c *conn) onSettings(f *frame) error {
	c.sawClient = true
	switch {
	case f.stream != 0:
		return protocolError("SETTINGS of a stream")
	case f.flags.Has(http2.FlagSettingsAck):
		if len(f.payload) != 0 {
			return &connError{http2.ErrCodeFrameSize, "SETTINGS acknowledged with a payload"}
		}
		return c.patience.use(c.now)
	case len(f.payload)%6 != 0:
		return &connError{http2.ErrCodeFrameSize, "SETTINGS of a wrong length"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	initial := c.out.initial
	for p := f.payload; len(p) > 0; p = p[6:] {
		id := http2.SettingID(binary.BigEndian.Uint16(p))
		s := http2.Setting{ID: id, Val: binary.BigEndian.Uint32(p[2:])}
		if err := c.set(s, &initial); err != nil {
			return err
		}
	}
	if initial != c.out.initial { // once for a frame: it goes over all streams
		c.patience.left -= len(c.streams) / streamsPerNuisance
		if err := c.setInitialWindow(initial); err != nil {
			return err
		}
	}
	c.out.buf = appendFrameHeader(c.out.buf, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	return c.patience.use(c.now)
}

// set takes one setting of the client, and leaves it to the caller to change the windows of the
// streams to initial; mu is held.
func (c *conn) set(s http2.Setting, initial *int64) error {
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.out.enc.setLimit(s.Val)
	case http2.SettingEnablePush:
		if s.Val > 1 {
			return protocolError("SETTINGS_ENABLE_PUSH is neither 0 nor 1")
		}
	case http2.SettingInitialWindowSize:
		if s.Val > maxWindow {
			return &connError{http2.ErrCodeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE too large"}
		}
		*initial = int64(s.Val)
	case http2.SettingMaxFrameSize:
		if s.Val < maxFrameBytes || s.Val > 1<<24-1 {
			return protocolError("SETTINGS_MAX_FRAME_SIZE out of range")
		}
		// The smallest that may be asked for is what the server sends anyway.
	}
	return nil
}

func (c *conn) onPing(f *frame) error {
	switch {
	case f.stream != 0:
		return protocolError("PING of a stream")
	case len(f.payload) != 8:
		return &connError{http2.ErrCodeFrameSize, "PING of a wrong length"}
	case f.flags.Has(http2.FlagPingAck):
		c.mu.Lock()
		c.pinged = time.Time{}
		if string(f.payload) == drainPing {
			c.goAwayNow()
		}
		c.mu.Unlock()
		return c.patience.use(c.now)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.buf = appendPing(c.out.buf, http2.FlagPingAck, f.payload)
	return c.checkPing()
}

// checkPing is grpc-go's enforcement of keepalives: who pings too often is sent away.
func (c *conn) checkPing() error {
	last := c.lastPing
	c.lastPing = c.now
	if c.excuses > 0 { // pings measure the line while data flows, one for each frame at most
		c.excuses, c.strikes = min(c.excuses-1, maxExcuses), 0
		return nil
	}
	least := c.srv.opts.KeepaliveMinTime
	if len(c.streams) == 0 {
		least = idlePingTime
	}
	if c.now.Sub(last) < least {
		if c.strikes++; c.strikes > maxPingStrikes {
			return &connError{http2.ErrCodeEnhanceYourCalm, "too_many_pings"}
		}
	}
	return c.patience.use(c.now)
}

// patience is what a connection has with frames that bring nothing on.
type patience struct {
	left int
	at   time.Time // of the last forgiveness
}

func (p *patience) init(now time.Time) { p.left, p.at = nuisances, now }

// use takes one; with none left the connection ends.
func (p *patience) use(now time.Time) error {
	if p.left--; p.left > 0 {
		return nil
	}
	p.left += int(min(now.Sub(p.at), time.Minute).Seconds() * nuisanceRate)
	p.left = min(p.left, nuisances)
	if p.at = now; p.left > 0 {
		return nil
	}
	return &connError{http2.ErrCodeEnhanceYourCalm, "too many frames that ask for nothing"}
}

// forgive gives n back.
func (p *patience) forgive(n int) { p.left = min(p.left+n, nuisances) }
