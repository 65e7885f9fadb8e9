package conform

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// sends is a service that answers with so many messages of so many bytes.
func sends(messages, size int) service {
	b := wrapperspb.Bytes(bytes.Repeat([]byte("s"), size))
	return service{
		unary: func(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
			return b, nil
		},
		stream: func(s grpc.ServerStream) error {
			for range messages {
				if err := s.SendMsg(b); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// pong waits until the server has done all that came before: it answers in order.
func (r *rig) pong(c *raw.Conn) {
	r.t.Helper()
	var before int
	c.Look(func(s *raw.State) { before = s.Pongs })
	c.Ping(false, [8]byte{1})
	r.wait(c, func(s *raw.State) bool { return s.Pongs > before })
}

// TestWindows: a server sends as much as the windows of the stream and of the connection allow, no
// more, and goes on when there is more of them.
func TestWindows(t *testing.T) {
	const connection = 65535
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{minTime: time.Nanosecond}, sends(3, 1<<20))
		c := r.raw(raw.Config{NoGrant: true,
			Settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1000}}})
		one := c.Open(raw.Request(streamMethod), true)
		got := func(want int) {
			t.Helper()
			r.wait(c, func(s *raw.State) bool { return s.DataBytes >= want })
			r.pong(c)
			c.Look(func(s *raw.State) {
				if s.DataBytes != want {
					t.Errorf("%d bytes came, the windows allow %d", s.DataBytes, want)
				}
			})
		}
		got(1000)
		c.Grant(one, 1)
		got(1001)
		c.Grant(one, 999)
		got(2000)
		// The window of all streams changes by the difference, to below nothing too.
		c.Settings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		c.Grant(one, 1000) // from -1000 to 0
		got(2000)
		c.Grant(one, 3)
		got(2003)
		c.Settings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 500})
		got(2503)
		two := c.Open(raw.Request(streamMethod), true)
		got(3003)
		c.Grant(one, 1<<20)
		c.Grant(two, 1<<20)
		got(connection) // the connection's
		c.Grant(0, 100)
		got(connection + 100)
		for _, id := range []uint32{one, two} {
			c.Grant(id, 10<<20)
		}
		c.Grant(0, 20<<20)
		for _, id := range []uint32{one, two} {
			if s := r.stream(c, id); s.Field("grpc-status") != "0" || len(s.Data) < 3<<20 {
				t.Errorf("%v", &s)
			}
		}
	})
}

// TestWindowTooLarge: a window beyond 2^31-1 is an error of the stream or of the connection.
func TestWindowTooLarge(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		if k.name == "reference" {
			return // grpc-go does not look
		}
		r := start(t, k, options{}, echoes)
		c := r.raw(raw.Config{})
		id := c.Open(raw.Request(streamMethod), false)
		c.Grant(id, 1<<31-1)
		if s := r.stream(c, id); s.Reset == nil || *s.Reset != http2.ErrCodeFlowControl {
			t.Errorf("of a stream: %v", &s)
		}
		c.Grant(0, 1<<31-1)
		r.wait(c, func(s *raw.State) bool { return s.Closed != nil })
		c.Look(func(s *raw.State) {
			if len(s.GoAways) == 0 || s.GoAways[0].Code != http2.ErrCodeFlowControl {
				t.Errorf("of the connection: %v", s)
			}
		})
	})
}

// TestUnread: streams whose messages the server does not read keep nobody else on the connection
// from being served.
func TestUnread(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		release := make(chan struct{})
		r := start(t, k, options{}, service{unary: echo, stream: func(s grpc.ServerStream) error {
			<-release
			return echoStream(s)
		}})
		conn := r.dial()
		const streams, messages, size = 20, 10, 30_000
		errs := make(chan error)
		for range streams {
			s := r.both(r.within(), conn)
			go func() {
				for range messages {
					if err := s.SendMsg(wrapperspb.Bytes(make([]byte, size))); err != nil {
						errs <- err
						return
					}
				}
				errs <- s.CloseSend()
			}()
			go func() {
				var err error
				for err == nil {
					err = end(s)
				}
				errs <- err
			}()
		}
		for range 20 {
			if _, err := r.call(conn, make([]byte, 100_000)); err != nil {
				t.Error(err)
			}
		}
		close(release)
		for range 2 * streams {
			if err := <-errs; err != nil && status.Code(err) != codes.OK && err.Error() != "EOF" {
				t.Error(err)
			}
		}
	})
}

// TestBlockedSender: a handler that waits for a window is told when the client has gone.
func TestBlockedSender(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		over := make(chan error, 10)
		begun := make(chan struct{}, 10)
		r := start(t, k, options{}, service{stream: func(s grpc.ServerStream) error {
			b := wrapperspb.Bytes(make([]byte, 1<<20))
			begun <- struct{}{}
			for {
				if err := s.SendMsg(b); err != nil {
					over <- err
					return err
				}
			}
		}})
		c := r.raw(raw.Config{NoGrant: true})
		for _, leave := range []func(id uint32){
			func(id uint32) { c.Reset(id, http2.ErrCodeCancel) },
			func(uint32) { c.Close() },
		} {
			id := c.Open(raw.Request(streamMethod), true)
			<-begun
			leave(id)
			if err := <-over; status.Code(err) != codes.Canceled &&
				status.Code(err) != codes.Unavailable {
				t.Errorf("%v", err)
			}
		}
	})
}

// TestTooMuch: a client that sends more than the windows allow is stopped.
func TestTooMuch(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, service{stream: func(s grpc.ServerStream) error {
			<-s.Context().Done() // nothing is read
			return s.Context().Err()
		}})
		c := r.raw(raw.Config{WriteTimeout: patience})
		id := c.Open(raw.Request(streamMethod), false)
		for range 3000 {
			c.Data(id, false, make([]byte, 16<<10))
		}
		r.wait(c, func(s *raw.State) bool { return s.Done(id) || s.Gone() })
		c.Look(func(s *raw.State) { t.Log(s) })
	})
}

// TestPadding: padding takes part in flow control, and its windows come back like those of data.
func TestPadding(t *testing.T) {
	const frames = 10_000
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		c := r.raw(raw.Config{WriteTimeout: patience})
		r.wait(c, func(s *raw.State) bool { return s.SettingsAcks > 0 })
		id := c.Open(raw.Request(streamMethod), false)
		padded := slices.Concat([]byte{250}, raw.Message(nil), make([]byte, 250))
		sent := 0
		for range frames {
			r.wait(c, func(s *raw.State) bool { return s.Window(id)-sent >= len(padded) })
			c.Frame(http2.FrameData, http2.FlagDataPadded, id, padded)
			sent += len(padded)
		}
		c.Data(id, true, nil)
		if s := r.stream(c, id); s.Field("grpc-status") != "0" || len(s.Data) != 5*frames {
			t.Errorf("%v", &s)
		}
	})
}

// TestChatter: many small messages one after the other, each of which lets the client measure the
// line and give small windows back, are no nuisance.
func TestChatter(t *testing.T) {
	const messages = 15_000
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		conn := r.dial()
		s := r.both(r.within(), conn)
		for range messages {
			r.send(s, nil)
			r.recv(s)
		}
		for range messages {
			if _, err := r.call(conn, nil); err != nil {
				t.Fatal(err)
			}
		}
		r.send(s, nil)
		r.recv(s) // it is the same connection still
	})
}

// TestRefusals: requests that are refused while they still come are no nuisance either.
func TestRefusals(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{maxRecv: 1 << 20}, echoes)
		conn := r.dial()
		s := r.both(r.within(), conn)
		large := make([]byte, 4<<20)
		for range 300 {
			if _, err := r.call(conn, large); status.Code(err) != codes.ResourceExhausted {
				t.Fatal(err)
			}
		}
		r.send(s, nil)
		r.recv(s) // it is the same connection still
	})
}
