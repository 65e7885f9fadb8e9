package rpc

import (
	"bytes"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/cairnkv/cairn/clock"
)

// TestWideWindows: a client with wide windows asks at once for more than the server has in hand.
// All of it comes, though the client says no more.
func TestWideWindows(t *testing.T) {
	const asked, size = 8, 300 << 10
	s := New(Options{})
	s.Unary(echoService, "Big", func(c *Call) { c.Reply(make([]byte, size)) })
	r := start(t, s)
	for range 5 {
		c := r.raw(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
		if err := c.conn.(*net.TCPConn).SetReadBuffer(2 * asked * size); err != nil {
			t.Fatal(err)
		}
		c.do(c.WriteWindowUpdate(0, 1<<30))
		c.read(func() bool { return c.got[0] != nil }) // the settings have come
		var all bytes.Buffer
		f := http2.NewFramer(&all, nil)
		for id := uint32(1); id < 2*asked; id += 2 {
			c.do(f.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: c.call("Big"), EndHeaders: true}))
			c.do(f.WriteData(id, true, message("")))
		}
		_, err := c.conn.Write(all.Bytes())
		c.do(err)
		for id := uint32(1); id < 2*asked; id += 2 {
			if a := c.end(id); len(a.data) != prefixBytes+size {
				t.Fatalf("stream %d: %d bytes, %v", id, len(a.data), c.err)
			}
		}
	}
}

// TestWindowsOnce: of the initial windows in a frame the last one counts. To change those of all
// streams takes a while, and a frame has room for thousands.
func TestWindowsOnce(t *testing.T) {
	c := start(t, newEcho(Options{})).raw(t)
	c.headers(1, c.call("Now"), false)
	c.do(c.WriteWindowUpdate(1, 1)) // too large, with the largest
	c.do(c.WriteSettings(
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}))
	c.do(c.WriteData(1, true, message("hello")))
	c.read(func() bool { return len(c.of(1).data) == 4 })
	c.do(c.WriteWindowUpdate(1, 100))
	c.expect(1, "hello")
}

// TestEndedKeepsNothing: a stream that has ended and waits for its client's window keeps nothing of
// what still comes.
func TestEndedKeepsNothing(t *testing.T) {
	s := newEcho(Options{})
	opened := make(chan *Stream, 1)
	s.Stream(echoService, "Waits", func(s *Stream) (Receiver, error) {
		s.Send([]byte("a message that waits"))
		opened <- s
		return ignore{}, nil
	})
	c := start(t, s).raw(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	c.headers(1, c.call("Waits"), false)
	c.do(c.WriteData(1, false, []byte{2, 0, 0, 0, 0})) // no message begins so
	for range 10 {
		c.do(c.WriteData(1, false, make([]byte, maxFrameBytes)))
	}
	c.do(c.WritePing(false, [8]byte{}))
	c.read(func() bool { return c.acks > 0 })
	st := <-opened
	st.inMu.Lock()
	if n := len(st.in); n > 0 {
		t.Errorf("%d bytes are kept", n)
	}
	st.inMu.Unlock()
	c.do(c.WriteWindowUpdate(1, 100))
	if a := c.end(1); string(a.data) != string(message("a message that waits")) ||
		a.fields["grpc-status"] == "0" {
		t.Errorf("%q, %v", a.data, a.fields)
	}
}

// alarmed is the sink of a stream whose deadline is watched.
type alarmed struct {
	ignore
	rang func()
}

func (alarmed) begin()            {}
func (alarmed) data([]byte, bool) {}
func (a alarmed) expired()        { a.rang() }
func (alarmed) drained()          {}
func (alarmed) ended()            {}

// TestManyDeadlines: deadlines that follow each other closely are kept together, none of them early
// and all soon; each look goes over all streams.
func TestManyDeadlines(t *testing.T) {
	const streams, apart = 10_000, 100 * time.Microsecond
	begin := time.Unix(1e9, 0)
	now := begin
	c := newConn(New(Options{Clock: clock.NewManual(begin)}), &tape{})
	left, worst := streams, time.Duration(0)
	for i := range streams {
		s, deadline := &stream{}, begin.Add(time.Duration(i)*apart)
		s.init(c, uint32(2*i+1), nil, alarmed{rang: func() {
			if left--; now.Before(deadline) {
				t.Fatal("a call ends before its time")
			}
			worst = max(worst, now.Sub(deadline))
		}})
		c.streams[s.id] = s
		c.endAt(s, deadline)
	}
	looks := 0
	for ; left > 0; looks++ {
		now = c.due
		c.expire(now)
	}
	if looks > 110 || worst > streams*lookTime {
		t.Errorf("%d looks, a call ended %v late", looks, worst)
	}
	if !c.due.IsZero() {
		t.Error("there is another deadline")
	}
}

// TestSlowPieces: an answer that its client takes too slowly is given up, even if something of it
// goes on all the time.
func TestSlowPieces(t *testing.T) {
	const piece, slowness = 64 << 10, 100 * time.Second
	clk := clock.NewManual(time.Unix(1e9, 0))
	s := New(Options{Clock: clk})
	s.Unary(echoService, "Pieces", func(c *Call) {
		c.Go(func(c *Call) {
			err := c.Begin(20 * piece)
			for i := 0; i < 20 && err == nil; i++ {
				_, err = c.Write(make([]byte, piece))
			}
			c.End(err)
		})
	})
	c := start(t, s).raw(t)
	c.ask(1, "Pieces", "x")
	a := c.of(1)
	for taken := defaultWindow; !a.ended && !a.reset && c.err == nil; taken += piece {
		c.read(func() bool { return len(a.data) >= taken || a.ended || a.reset })
		clk.Advance(slowness)
		c.do(c.WriteWindowUpdate(0, piece))
		c.do(c.WriteWindowUpdate(1, piece))
	}
	if !a.reset {
		t.Errorf("all of it came: %d bytes in %v, %v", len(a.data), clk.Now(), c.err)
	}
}
