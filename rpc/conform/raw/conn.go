// Package raw is an HTTP/2 client that sends what it is told to, whether that is allowed or not:
// the other end of tests that look at single frames, or that do what no honest client does.
//
//	c, err := raw.Dial(ctx, addr, raw.Config{})
//	id := c.Open(raw.Request("/conform.Test/Unary"), false) // HEADERS, and CONTINUATION as needed
//	c.Data(id, true, raw.Message(payload))
//	err = c.Await(ctx, func(s *raw.State) bool { return s.Done(id) })
//
// Writers return no error: one that fails is kept and told by Await and Err, for a test of an enemy
// expects it. A goroutine reads all that comes, keeps what the state holds, acknowledges settings,
// answers pings and gives windows back, each of which Config can turn off.
package raw

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Preface is what a client begins with.
const Preface = http2.ClientPreface

// maxFrame is the largest frame that every server takes.
const maxFrame = 16 << 10

// outBytes is how much Together sends at once.
const outBytes = 16 << 10

// Config is how a connection behaves. The zero value is a client that does what it must.
type Config struct {
	TLS      *tls.Config     // nil: plain
	Settings []http2.Setting // of the first SETTINGS frame
	Silent   bool            // send nothing at first: no preface, no settings
	Deaf     bool            // nobody reads
	NoAck    bool            // settings are not acknowledged
	NoPong   bool            // pings are not answered
	NoGrant  bool            // windows are not given back
	Count    bool            // streams are counted, what comes on them is not kept
	// WriteTimeout bounds each write; 0: none. One that takes longer fails, and all after it.
	WriteTimeout time.Duration
}

// Conn is a connection. All methods are safe for concurrent use.
type Conn struct {
	net  net.Conn
	conf Config
	done chan struct{} // closed when nobody reads any more

	wmu     sync.Mutex // guards the writing side
	out     *bufio.Writer
	corked  bool
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer // what encoder writes to
	next    uint32       // the stream that Open takes

	mu      sync.Mutex // guards the fields below
	changed *sync.Cond
	state   State
	werr    error // the first write that failed
}

// Dial connects to a server; ctx bounds the dialling alone.
func Dial(ctx context.Context, addr string, conf Config) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if conf.TLS != nil {
		secured := tls.Client(conn, conf.TLS)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // the handshake's error says more
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		conn = secured
	}
	c := &Conn{net: conn, conf: conf, done: make(chan struct{}), next: 1}
	c.changed = sync.NewCond(&c.mu)
	c.state.Streams = make(map[uint32]*Stream)
	c.state.Granted = make(map[uint32]int)
	c.state.Settings = make(map[http2.SettingID]uint32)
	c.out = bufio.NewWriterSize(conn, outBytes)
	c.framer = http2.NewFramer(c.out, conn)
	c.framer.AllowIllegalWrites = true
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = 32 << 20
	c.framer.SetMaxReadFrameSize(maxFrame) // as was not announced otherwise
	c.encoder = hpack.NewEncoder(&c.block)
	if !conf.Silent {
		c.Bytes([]byte(Preface))
		c.Settings(conf.Settings...)
	}
	if conf.Deaf {
		close(c.done)
	} else {
		go c.read()
	}
	return c, nil
}

// Close ends the connection and waits until its goroutine has.
func (c *Conn) Close() {
	_ = c.net.Close() // it may be closed by the other end
	<-c.done
}

// write runs fn with the writing side; what fails is kept, and nothing is written after it.
func (c *Conn) write(fn func() error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.Err() != nil {
		return
	}
	if c.conf.WriteTimeout > 0 {
		_ = c.net.SetWriteDeadline(time.Now().Add(c.conf.WriteTimeout)) // the write tells
	}
	err := fn()
	if err == nil && !c.corked {
		err = c.out.Flush()
	}
	if err != nil {
		c.mu.Lock()
		c.werr = err
		c.changed.Broadcast()
		c.mu.Unlock()
	}
}

// Err is the error of the first write that failed.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.werr
}

// Bytes sends bytes as they are.
func (c *Conn) Bytes(b []byte) {
	c.write(func() error {
		_, err := c.out.Write(b)
		return err
	})
}

// Together holds back what fn sends until there is much of it, or fn returns.
func (c *Conn) Together(fn func()) {
	c.cork(true)
	fn()
	c.cork(false)
}

func (c *Conn) cork(on bool) {
	c.write(func() error {
		c.corked = on
		return nil
	})
}

// Frame sends a frame of any kind.
func (c *Conn) Frame(kind http2.FrameType, flags http2.Flags, id uint32, payload []byte) {
	c.write(func() error { return c.framer.WriteRawFrame(kind, flags, id, payload) })
}

// Settings sends a SETTINGS frame.
func (c *Conn) Settings(s ...http2.Setting) {
	c.write(func() error { return c.framer.WriteSettings(s...) })
}

// Data sends a DATA frame, or several if it is longer than a frame may be; without heed of windows.
func (c *Conn) Data(id uint32, end bool, b []byte) {
	c.write(func() error {
		for len(b) > maxFrame {
			if err := c.framer.WriteData(id, false, b[:maxFrame]); err != nil {
				return err
			}
			b = b[maxFrame:]
		}
		return c.framer.WriteData(id, end, b)
	})
}

// Reset sends RST_STREAM.
func (c *Conn) Reset(id uint32, code http2.ErrCode) {
	c.write(func() error { return c.framer.WriteRSTStream(id, code) })
}

// Grant sends WINDOW_UPDATE.
func (c *Conn) Grant(id, n uint32) {
	c.write(func() error { return c.framer.WriteWindowUpdate(id, n) })
}

// Ping sends PING, or an answer to one.
func (c *Conn) Ping(ack bool, data [8]byte) {
	c.write(func() error { return c.framer.WritePing(ack, data) })
}

// Open begins the next stream with HEADERS, and CONTINUATION as needed, and returns its number.
func (c *Conn) Open(fields []hpack.HeaderField, end bool) (id uint32) {
	c.write(func() error {
		id = c.next
		c.next += 2
		return c.headers(id, fields, end)
	})
	return id
}

// Headers sends HEADERS, and CONTINUATION as needed, on any stream.
func (c *Conn) Headers(id uint32, fields []hpack.HeaderField, end bool) {
	c.write(func() error { return c.headers(id, fields, end) })
}

// Encode returns the block of some fields, by the connection's table. It must be sent next.
func (c *Conn) Encode(fields []hpack.HeaderField) []byte {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return bytes.Clone(c.encode(fields))
}

func (c *Conn) encode(fields []hpack.HeaderField) []byte {
	c.block.Reset()
	for _, f := range fields {
		_ = c.encoder.WriteField(f) // a bytes.Buffer does not fail
	}
	return c.block.Bytes()
}

func (c *Conn) headers(id uint32, fields []hpack.HeaderField, end bool) error {
	block := c.encode(fields)
	first := block[:min(len(block), maxFrame)]
	block = block[len(first):]
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first,
		EndStream: end, EndHeaders: len(block) == 0})
	for err == nil && len(block) > 0 {
		n := min(len(block), maxFrame)
		err = c.framer.WriteContinuation(id, n == len(block), block[:n])
		block = block[n:]
	}
	return err
}

// read takes in what comes until the connection ends.
func (c *Conn) read() {
	defer close(c.done)
	for {
		frame, err := c.framer.ReadFrame()
		var broken http2.StreamError
		if err != nil && !errors.As(err, &broken) {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			c.mu.Lock()
			c.state.Closed = err
			c.changed.Broadcast()
			c.mu.Unlock()
			return
		}
		if err == nil {
			c.answer(frame)
		}
		c.mu.Lock()
		if err != nil {
			c.state.stream(broken.StreamID).Malformed = err
		} else {
			c.state.take(frame, c.conf.Count)
		}
		c.changed.Broadcast()
		c.mu.Unlock()
	}
}

// answer sends what a frame asks for.
func (c *Conn) answer(frame http2.Frame) {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() && !c.conf.NoAck {
			c.write(c.framer.WriteSettingsAck)
		}
	case *http2.PingFrame:
		if !f.IsAck() && !c.conf.NoPong {
			c.Ping(true, f.Data)
		}
	case *http2.DataFrame:
		if f.Length > 0 && !c.conf.NoGrant {
			c.Grant(0, f.Length)
			if !f.StreamEnded() {
				c.Grant(f.StreamID, f.Length)
			}
		}
	}
}

// Await waits until ok says so of what has come, or nothing more can come. It is an error if ok
// never did. ok must not keep the state.
func (c *Conn) Await(ctx context.Context, ok func(*State) bool) error {
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !ok(&c.state) {
		switch {
		case c.state.Closed != nil:
			return fmt.Errorf("the connection ended (%w) with %v", c.state.Closed, &c.state)
		case ctx.Err() != nil:
			return fmt.Errorf("waited in vain: %w (%v; write: %v)", ctx.Err(), &c.state, c.werr)
		}
		c.changed.Wait()
	}
	return nil
}

// Look runs fn with what has come until now; fn must not keep the state.
func (c *Conn) Look(fn func(*State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(&c.state)
}
