package rpc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn/clock"
)

// rawClient speaks frames, and says what no client library would.
type rawClient struct {
	*http2.Framer
	t    testing.TB
	conn net.Conn
	head bytes.Buffer
	enc  *hpack.Encoder
	dec  *hpack.Decoder
	got  map[uint32]*answer
	last *http2.GoAwayFrame // the last GOAWAY
	text string             // its debug data
	acks int                // of pings
	err  error              // the connection is over
}

// answer is what came of a stream.
type answer struct {
	fields map[string]string
	block  []byte // of the first headers
	data   []byte
	ended  bool
	reset  bool
	code   http2.ErrCode
}

func (r *running) raw(t testing.TB, settings ...http2.Setting) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	c := &rawClient{Framer: http2.NewFramer(conn, conn), t: t, conn: conn,
		got: make(map[uint32]*answer)}
	c.enc = hpack.NewEncoder(&c.head)
	c.dec = hpack.NewDecoder(4096, nil)
	c.AllowIllegalWrites = true
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	c.do(c.WriteSettings(settings...))
	return c
}

// do takes the result of a write: that the server has closed the connection shows in reads.
func (c *rawClient) do(err error) {
	if err != nil && c.err == nil {
		c.err = err
	}
}

// block encodes headers; names and values in turn.
func (c *rawClient) block(fields ...string) []byte {
	c.head.Reset()
	for i := 0; i < len(fields); i += 2 {
		c.do(c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return bytes.Clone(c.head.Bytes())
}

// call is the headers of a call of the echo service.
func (c *rawClient) call(method string, more ...string) []byte {
	return c.block(append([]string{":method", "POST", ":scheme", "http",
		":path", "/" + echoService + "/" + method, ":authority", "x", "te", "trailers",
		"content-type", "application/grpc"}, more...)...)
}

func (c *rawClient) headers(id uint32, block []byte, end bool) {
	c.do(c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: end}))
}

// message is a message with what stands before it.
func message(msg string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg)))
	return append(b, msg...)
}

// ask sends a whole call.
func (c *rawClient) ask(id uint32, method, msg string, more ...string) {
	c.headers(id, c.call(method, more...), false)
	c.do(c.WriteData(id, true, message(msg)))
}

// read reads frames until ok holds or the connection is over.
func (c *rawClient) read(ok func() bool) {
	c.t.Helper()
	for !ok() && c.err == nil {
		f, err := c.ReadFrame()
		if err != nil {
			c.err = err
			return
		}
		c.take(f)
	}
}

func (c *rawClient) of(id uint32) *answer {
	a := c.got[id]
	if a == nil {
		a = &answer{fields: map[string]string{}}
		c.got[id] = a
	}
	return a
}

func (c *rawClient) take(f http2.Frame) {
	a := c.of(f.Header().StreamID)
	switch f := f.(type) {
	case *http2.HeadersFrame:
		fields, err := c.dec.DecodeFull(f.HeaderBlockFragment())
		if err != nil || !f.HeadersEnded() {
			c.t.Fatalf("headers of stream %d: %v", f.StreamID, err)
		}
		if a.block == nil {
			a.block = bytes.Clone(f.HeaderBlockFragment())
		}
		for _, h := range fields {
			a.fields[h.Name] = h.Value
		}
		a.ended = a.ended || f.StreamEnded()
	case *http2.DataFrame:
		a.data = append(a.data, f.Data()...)
		a.ended = a.ended || f.StreamEnded()
	case *http2.RSTStreamFrame:
		if !a.ended || f.ErrCode != http2.ErrCodeNo {
			a.reset, a.code = true, f.ErrCode
		}
	case *http2.GoAwayFrame:
		c.last, c.text = f, string(f.DebugData())
	case *http2.PingFrame:
		if f.IsAck() {
			c.acks++
		}
	case *http2.SettingsFrame:
		if !f.IsAck() {
			c.do(c.WriteSettingsAck())
		}
	}
}

// end waits for the end of a stream.
func (c *rawClient) end(id uint32) *answer {
	c.t.Helper()
	c.read(func() bool { return c.of(id).ended || c.of(id).reset })
	return c.of(id)
}

// expect waits for the answer to a call.
func (c *rawClient) expect(id uint32, msg string) {
	c.t.Helper()
	if a := c.end(id); a.fields["grpc-status"] != "0" || string(a.data) != string(message(msg)) {
		c.t.Errorf("stream %d: %v, reset %v (%v), %d bytes; connection: %v", id, a.fields, a.reset,
			a.code, len(a.data), c.err)
	}
}

// expectGoAway waits for the end of the connection.
func (c *rawClient) expectGoAway(code http2.ErrCode, text string) {
	c.t.Helper()
	c.read(func() bool { return false })
	if c.last == nil || c.last.ErrCode != code || !strings.Contains(c.text, text) {
		c.t.Errorf("want GOAWAY with %v, got %v %q (%v)", code, c.last, c.text, c.err)
	}
}

// Small windows hold answers up, and WINDOW_UPDATEs and SETTINGS let them go, byte by byte.
func TestTinyWindows(t *testing.T) {
	for _, method := range []string{"Now", "Pieces", "Elsewhere"} {
		c := start(t, newEcho(Options{})).raw(t,
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		msg := strings.Repeat("0123456789", 1000)
		c.ask(1, method, msg)
		for i := range 100 {
			c.read(func() bool { return len(c.of(1).data) > i })
			if n := len(c.of(1).data); n != i+1 {
				t.Fatalf("%s: %d bytes came, the window was %d", method, n, i+1)
			}
			c.do(c.WriteWindowUpdate(1, 1))
		}
		c.do(c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5000}))
		c.read(func() bool { return len(c.of(1).data) == 5100 })
		c.do(c.WriteWindowUpdate(1, 1<<20))
		c.expect(1, msg)
		// The connection's own window is what is left.
		big := strings.Repeat("x", 100_000)
		c.headers(3, c.call(method), false)
		for rest := message(big); ; {
			n := min(len(rest), 16<<10)
			c.do(c.WriteData(3, n == len(rest), rest[:n]))
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
		c.do(c.WriteWindowUpdate(3, 1<<20))
		left := defaultWindow - len(message(msg))
		c.read(func() bool { return len(c.of(3).data) == left })
		c.do(c.WritePing(false, [8]byte{1}))
		c.read(func() bool { return c.acks > 0 })
		if n := len(c.of(3).data); n != left {
			t.Errorf("%s: %d bytes came, the connection's window was %d", method, n, left)
		}
		c.do(c.WriteWindowUpdate(0, 1<<20))
		c.expect(3, big)
	}
}

// Answers are understood whatever size the client wants its header table to have.
func TestHeaderTableSizes(t *testing.T) {
	c := start(t, newEcho(Options{})).raw(t)
	id, last := uint32(1), uint32(4096)
	for _, size := range []uint32{4096, 0, 50, 104, 103, 4096, 1 << 20, 0} {
		c.do(c.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
		c.dec.SetAllowedMaxDynamicTableSize(size)
		for i := range 3 {
			c.ask(id, "Now", "x")
			c.expect(id, "x")
			told := c.of(id).block[0]&0xe0 == resize
			if changed := min(size, 4096) != last; told != (changed && i == 0) {
				t.Errorf("table of %d after %d: the change is told: %v", size, last, told)
			}
			last = min(size, 4096)
			if kind := c.of(id).fields["content-type"]; kind != "application/grpc" {
				t.Errorf("table of %d: %q", size, kind)
			}
			c.ask(id+2, "Fail", "x")
			if a := c.end(id + 2); a.fields["grpc-status"] != "15" {
				t.Errorf("table of %d: %v", size, a.fields)
			}
			id += 4
		}
	}
}

// A client that leaves its deadline to the server is told by it.
func TestDeadline(t *testing.T) {
	s := newEcho(Options{})
	s.Unary(echoService, "Put", func(*Call) {})
	s.Late(echoService, "Put", status.New(codes.Unavailable, "too late"))
	c := start(t, s).raw(t)
	c.ask(11, "Put", "x", "grpc-timeout", "20m")
	if a := c.end(11); a.fields["grpc-status"] != "14" || a.fields["grpc-message"] != "too late" {
		t.Errorf("%v", a.fields)
	}
	c = start(t, newEcho(Options{})).raw(t)
	c.ask(1, "Never", "x", "grpc-timeout", "20m")
	c.ask(3, "Now", "x", "grpc-timeout", "10H")
	c.headers(5, c.call("Stream", "grpc-timeout", "30m"), false)
	c.headers(7, c.call("Now", "grpc-timeout", "10m"), false) // the message never comes
	c.expect(3, "x")
	for _, id := range []uint32{1, 5, 7} {
		if a := c.end(id); a.fields["grpc-status"] != "4" ||
			a.fields["grpc-message"] != "context deadline exceeded" {
			t.Errorf("stream %d: %v, reset %v", id, a.fields, a.code)
		}
	}
	c.ask(9, "Now", "x", "grpc-timeout", "10 H")
	if a := c.end(9); a.fields["grpc-status"] != "13" || a.fields[":status"] != "400" {
		t.Errorf("%v", a.fields)
	}
}

// A client that asks and does not read is not heard for long, and others are.
func TestSlowReader(t *testing.T) {
	r := start(t, newEcho(Options{}))
	slow := r.raw(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
	slow.do(slow.WriteWindowUpdate(0, maxWindow-defaultWindow))
	msg := strings.Repeat("x", 16<<10-prefixBytes)
	if err := slow.conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for id := uint32(1); slow.err == nil && asked < 1<<16; id += 2 {
		slow.ask(id, "Elsewhere", msg)
		asked++
	}
	if asked == 1<<16 {
		t.Errorf("%d MiB were asked for by a client that reads nothing", asked*len(msg)>>20)
	}
	other := r.raw(t)
	other.ask(1, "Now", "x")
	other.expect(1, "x")
}

// The table of a client's headers changes while requests repeat themselves.
func TestRepeatedHeads(t *testing.T) {
	c := start(t, newEcho(Options{})).raw(t)
	id := uint32(1)
	for i := range 50 {
		for j := range 4 {
			var more []string
			if (i+j)%5 == 0 { // a new entry of the table: all references mean something else
				more = []string{fmt.Sprint("x-", i), strings.Repeat("y", 10*i)}
			}
			c.ask(id, []string{"Now", "Later"}[j%2], fmt.Sprint(id), more...)
			c.expect(id, fmt.Sprint(id))
			id += 2
		}
	}
}

// An answer that its client does not take is given up after a while, for what it reads is pinned.
func TestStalledPieces(t *testing.T) {
	clk := clock.NewManual(time.Unix(1e9, 0))
	s := New(Options{Clock: clk})
	ended := make(chan error, 1)
	s.Unary(echoService, "Pieces", func(c *Call) {
		c.Go(func(c *Call) {
			err := c.Begin(1 << 20)
			for err == nil {
				_, err = c.Write(make([]byte, 64<<10))
			}
			c.End(err)
			ended <- err
		})
	})
	c := start(t, s).raw(t)
	c.ask(1, "Pieces", "x")
	c.read(func() bool { return len(c.of(1).data) == defaultWindow })
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case err := <-ended:
			if a := c.end(1); err == nil || !a.reset {
				t.Errorf("%v, %+v", err, a.code)
			}
			return
		case <-poll.C:
			clk.Advance(time.Second)
		case <-time.After(testTimeout):
			t.Fatal("the call holds on to what it reads")
		}
	}
}
