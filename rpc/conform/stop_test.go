package conform

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// TestDrain: a server that drains takes leave, refuses new streams, lets those under way go on to
// their end, and then closes the connection.
func TestDrain(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		c := r.raw(raw.Config{})
		old := c.Open(raw.Request(streamMethod), false)
		c.Data(old, false, raw.Message(nil))
		r.wait(c, func(s *raw.State) bool { return s.DataBytes == 5 })
		s := r.both(r.within(), r.dial())
		r.send(s, []byte("before"))
		r.recv(s)
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			r.door.Drain(r.ctx)
		}()
		r.wait(c, func(s *raw.State) bool { return len(s.GoAways) > 0 })
		c.Look(func(s *raw.State) {
			if g := s.GoAways[0]; g.Code != http2.ErrCodeNo || g.Last < old {
				t.Errorf("%v", g)
			}
		})
		for n := 2; n < 5; n++ {
			c.Data(old, false, raw.Message(nil))
			r.wait(c, func(s *raw.State) bool { return s.DataBytes == 5*n })
			r.send(s, []byte("meanwhile"))
			r.recv(s)
		}
		select {
		case <-drained:
			t.Error("drained while streams go on")
		default:
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := end(s); err != io.EOF {
			t.Error(err)
		}
		c.Data(old, true, nil)
		r.wait(c, func(s *raw.State) bool { return s.Done(old) && s.Closed != nil })
		c.Look(func(s *raw.State) {
			if s.Streams[old].Field("grpc-status") != "0" {
				t.Errorf("%v", s.Streams[old])
			}
		})
		<-drained
		if conn, err := net.Dial("tcp", r.addr); err == nil {
			t.Error("connections are taken after Drain")
			_ = conn.Close() // nothing was sent
		}
	})
}

// TestDrainInTime: the context of Drain ends it.
func TestDrainInTime(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s, begun, over := waiting()
		r := start(t, k, options{}, s)
		c := r.raw(raw.Config{})
		c.Open(raw.Request(streamMethod), false)
		<-begun
		ctx, cancel := context.WithCancel(t.Context())
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			r.door.Drain(ctx)
		}()
		r.wait(c, func(s *raw.State) bool { return len(s.GoAways) > 0 })
		cancel()
		<-drained
		r.stop()
		if e := <-over; e.ctx != context.Canceled {
			t.Errorf("%v", e)
		}
		r.wait(c, func(s *raw.State) bool { return s.Closed != nil })
	})
}

// TestDrainNew: streams that come while a server drains are not answered, or in full; a client of
// grpc-go loses no call by it.
func TestDrainNew(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		conn := r.dial()
		if _, err := r.call(conn, nil); err != nil {
			t.Fatal(err)
		}
		var failed atomic.Value
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := r.call(conn, nil); err != nil {
					failed.Store(err)
					return
				}
			}
		}()
		r.door.Drain(r.ctx)
		<-done
		// What was under way was answered: the end of service shows in dialling alone.
		if err := failed.Load().(error); status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
	})
}

// TestStop: a server that stops ends the calls under way, and waits for their handlers.
func TestStop(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		var running atomic.Int32
		begun := make(chan struct{}, 100)
		r := start(t, k, options{}, service{stream: func(s grpc.ServerStream) error {
			running.Add(1)
			defer running.Add(-1)
			begun <- struct{}{}
			<-s.Context().Done()
			return s.Context().Err()
		}})
		conn := r.dial()
		var streams []grpc.ClientStream
		for range 20 {
			streams = append(streams, r.both(r.within(), conn))
			<-begun
		}
		quiet := r.raw(raw.Config{})
		half := r.raw(raw.Config{Silent: true})
		half.Bytes([]byte(raw.Preface[:10]))
		r.stop()
		if n := running.Load(); n != 0 {
			t.Errorf("%d handlers run after Stop", n)
		}
		for _, s := range streams {
			if err := end(s); status.Code(err) != codes.Unavailable &&
				status.Code(err) != codes.Canceled {
				t.Errorf("%v", err)
			}
		}
		for _, c := range []*raw.Conn{quiet, half} {
			r.wait(c, func(s *raw.State) bool { return s.Closed != nil })
		}
		r.stop() // once more does nothing
		if _, err := r.call(conn, nil); status.Code(err) != codes.Unavailable {
			t.Errorf("a call after Stop: %v", err)
		}
	})
}

// TestStopWhileBusy stops a server in the middle of calls: each succeeds or fails, none hangs.
func TestStopWhileBusy(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		const clients = 8
		var calls atomic.Int32
		over := make(chan error, clients)
		for range clients {
			conn := r.dial()
			go func() {
				for {
					if _, err := r.call(conn, make([]byte, 50_000)); err != nil {
						over <- err
						return
					}
					calls.Add(1)
				}
			}()
		}
		if !poll(func() bool { return calls.Load() > 50 }) {
			t.Error("the calls do not go on")
		}
		r.stop()
		for range clients {
			if err := <-over; status.Code(err) != codes.Unavailable {
				t.Errorf("%v", err)
			}
		}
	})
}

// TestServeTwo: a server serves several listeners, and none after it was stopped.
func TestServeTwo(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- r.door.Serve(l) }()
		second := *r
		second.addr = l.Addr().String()
		for _, r := range []*rig{r, &second} {
			if _, err := r.call(r.dial(), nil); err != nil {
				t.Error(err)
			}
		}
		r.stop()
		<-served
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		go func() { served <- r.door.Serve(l) }()
		<-served
		if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
			t.Error("the listener is open after Serve returned")
			_ = conn.Close() // nothing was sent
		}
	})
}
