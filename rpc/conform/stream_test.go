package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// TestHalfClose: a client that has said all still gets answers.
func TestHalfClose(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, service{stream: func(s grpc.ServerStream) error {
			n := 0
			for ; ; n++ {
				err := s.RecvMsg(&wrapperspb.BytesValue{})
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return err
				}
			}
			if err := s.RecvMsg(&wrapperspb.BytesValue{}); !errors.Is(err, io.EOF) {
				return fmt.Errorf("after the end: %w", err)
			}
			for range n {
				if err := s.SendMsg(wrapperspb.Bytes([]byte("x"))); err != nil {
					return err
				}
			}
			return nil
		}})
		s := r.both(r.within(), r.dial())
		for range 5 {
			r.send(s, nil)
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			r.recv(s)
		}
		if err := end(s); err != io.EOF {
			t.Error(err)
		}
	})
}

// TestHeadersFirst: headers that a handler sends come before any message, trailers with the end.
func TestHeadersFirst(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, service{stream: func(s grpc.ServerStream) error {
			if err := s.SetHeader(metadata.Pairs("x-a", "1")); err != nil {
				return err
			}
			if err := s.SendHeader(metadata.Pairs("x-a", "2", "x-b", "3")); err != nil {
				return err
			}
			if err := s.SendHeader(metadata.Pairs("x-c", "4")); err == nil {
				return errors.New("headers went out twice")
			}
			s.SetTrailer(metadata.Pairs("x-t", "5"))
			s.SetTrailer(metadata.Pairs("x-t", "6"))
			return echoStream(s)
		}})
		s := r.both(r.within(), r.dial())
		header, err := s.Header() // nothing was sent yet
		if err != nil || fmt.Sprint(header["x-a"], header["x-b"]) != "[1 2] [3]" {
			t.Fatalf("%v, %v", header, err)
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := end(s); err != io.EOF || fmt.Sprint(s.Trailer()["x-t"]) != "[5 6]" {
			t.Errorf("%v, %v", s.Trailer(), err)
		}
	})
}

// ended is what a handler saw at its end.
type ended struct{ recv, ctx, cause error }

// waiting returns a service whose streams tell begun when they begin, and over how they end.
func waiting() (s service, begun chan struct{}, over chan ended) {
	begun, over = make(chan struct{}, 10_000), make(chan ended, 10_000)
	return service{unary: echo, stream: func(s grpc.ServerStream) error {
		begun <- struct{}{}
		err := s.RecvMsg(&wrapperspb.BytesValue{})
		<-s.Context().Done()
		over <- ended{err, s.Context().Err(), context.Cause(s.Context())}
		return s.Context().Err()
	}}, begun, over
}

// TestCancel: a client that cancels ends the context of the handler, and what it waits for.
func TestCancel(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s, begun, over := waiting()
		r := start(t, k, options{}, s)
		ctx, cancel := context.WithCancel(r.within())
		r.both(ctx, r.dial())
		<-begun
		cancel()
		if e := <-over; status.Code(e.recv) != codes.Canceled || e.ctx != context.Canceled {
			t.Errorf("by cancelling: %v", e)
		}

		c := r.raw(raw.Config{})
		id := c.Open(raw.Request(streamMethod), false)
		<-begun
		c.Reset(id, http2.ErrCodeCancel)
		if e := <-over; status.Code(e.recv) != codes.Canceled || e.ctx != context.Canceled {
			t.Errorf("by RST_STREAM: %v", e)
		}
		c.Open(raw.Request(streamMethod), false)
		<-begun
		c.Close()
		if e := <-over; status.Code(e.recv) != codes.Canceled || e.ctx != context.Canceled {
			t.Errorf("by closing the connection: %v", e)
		}
	})
}

// late says whether an error is that of a call whose time is up: grpc-go ends the stream itself
// then, so that a handler may see either.
func late(err error) bool {
	return status.Code(err) == codes.DeadlineExceeded || status.Code(err) == codes.Canceled
}

// TestDeadline: the server keeps the client's deadline, whether the client does so or not.
func TestDeadline(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		s, begun, over := waiting()
		r := start(t, k, options{}, s)
		c := r.raw(raw.Config{})
		for _, units := range [][]string{{"40m", "2S", "20S"}, {"40000u"}, {"40000000n"}} {
			for i, timeout := range units {
				id := c.Open(raw.Request(streamMethod, raw.Field("grpc-timeout", timeout)), false)
				st := r.stream(c, id)
				if st.Reset == nil && st.Field("grpc-status") != "4" {
					t.Errorf("timeout %s: %v", timeout, &st)
				}
				select {
				case <-begun:
				case <-time.After(5 * time.Second):
					if len(units) > 1 && i == len(units)-1 {
						t.Error("no handler began")
					}
					continue // it was too late for that: the machine is busy
				}
				if e := <-over; !late(status.FromContextError(e.ctx).Err()) || !late(e.recv) {
					t.Errorf("timeout %s: the handler saw %v", timeout, e)
				}
				break
			}
		}
		for _, timeout := range []string{"", "m", "1", "-1m", "1x", "123456789m", "1.5S", "0x1S"} {
			id := c.Open(raw.Request(streamMethod, raw.Field("grpc-timeout", timeout)), true)
			st := r.stream(c, id)
			t.Logf("timeout %q: %v", timeout, &st)
			if st.Field("grpc-status") != "13" {
				t.Errorf("timeout %q: %v", timeout, &st)
			}
		}
		id := c.Open(raw.Request(streamMethod, raw.Field("grpc-timeout", "0m")), true)
		st := r.stream(c, id)
		if st.Reset == nil && st.Field("grpc-status") != "4" {
			t.Errorf("no time at all: %v", &st)
		}
		for _, timeout := range []string{"99999999H", "1H", "99999999S"} {
			id := c.Open(raw.Request(unaryMethod, raw.Field("grpc-timeout", timeout)), false)
			c.Data(id, true, raw.Message(nil))
			if st := r.stream(c, id); st.Field("grpc-status") != "0" {
				t.Errorf("timeout %s: %v", timeout, &st)
			}
		}
	})
}

// TestDeadlineSeen: a handler sees the client's deadline.
func TestDeadlineSeen(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		left := make(chan time.Duration, 1)
		r := start(t, k, options{}, service{unary: func(ctx context.Context,
			in *wrapperspb.BytesValue,
		) (*wrapperspb.BytesValue, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				return nil, errors.New("there is no deadline")
			}
			left <- time.Until(deadline)
			return in, nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := r.dial().Invoke(ctx, unaryMethod, &wrapperspb.BytesValue{},
			&wrapperspb.BytesValue{})
		if err != nil {
			t.Fatal(err)
		}
		if d := <-left; d > time.Hour || d < 58*time.Minute {
			t.Errorf("%v are left", d)
		}
	})
}

// TestEarlyEnd: a server may end a stream before the client has said all; what the client still
// sends on it harms nobody.
func TestEarlyEnd(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, service{unary: echo, stream: func(grpc.ServerStream) error {
			return status.Error(codes.Aborted, "enough")
		}})
		c := r.raw(raw.Config{})
		for range 50 {
			id := c.Open(raw.Request(streamMethod), false)
			s := r.stream(c, id)
			if s.Field("grpc-status") != "10" || s.Reset != nil && *s.Reset != http2.ErrCodeNo {
				t.Fatalf("%v", &s)
			}
			c.Data(id, false, make([]byte, 10_000))
			c.Grant(id, 5)
			c.Reset(id, http2.ErrCodeCancel)
		}
		id := c.Open(raw.Request(unaryMethod), false)
		c.Data(id, true, raw.Message(nil))
		if s := r.stream(c, id); s.Field("grpc-status") != "0" {
			t.Errorf("a call afterwards: %v", &s)
		}
	})
}

// TestMaxStreams: a connection has no more streams than was announced; one too many is refused, and
// may come again when another has ended.
func TestMaxStreams(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		const limit = 5
		var now, most atomic.Int32
		r := start(t, k, options{maxStreams: limit}, service{
			stream: func(s grpc.ServerStream) error {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				return echoStream(s)
			},
		})
		c := r.raw(raw.Config{})
		r.wait(c, func(s *raw.State) bool {
			return s.Settings[http2.SettingMaxConcurrentStreams] == limit
		})
		var ids []uint32
		for range limit {
			ids = append(ids, c.Open(raw.Request(streamMethod), false))
		}
		extra := r.stream(c, c.Open(raw.Request(streamMethod), false))
		if extra.Reset == nil || *extra.Reset != http2.ErrCodeRefusedStream {
			t.Errorf("one too many: %v", &extra)
		}
		for _, id := range ids {
			c.Data(id, true, nil)
			if s := r.stream(c, id); s.Field("grpc-status") != "0" {
				t.Errorf("%v", &s)
			}
		}
		s := r.stream(c, c.Open(raw.Request(streamMethod), true))
		if s.Field("grpc-status") != "0" {
			t.Errorf("afterwards: %v", &s)
		}

		// A client of grpc-go waits by itself.
		conn := r.dial()
		errs := make(chan error)
		for range 10 * limit {
			go func() {
				s, err := conn.NewStream(r.ctx, &grpc.StreamDesc{ServerStreams: true,
					ClientStreams: true}, streamMethod)
				if err == nil {
					err = errors.Join(s.SendMsg(wrapperspb.Bytes(nil)), s.CloseSend())
				}
				for err == nil {
					err = end(s)
				}
				errs <- err
			}()
		}
		for range 10 * limit {
			if err := <-errs; err != io.EOF {
				t.Error(err)
			}
		}
		if most.Load() > limit {
			t.Errorf("%d streams at once", most.Load())
		}
	})
}

// TestManyStreams exchanges messages on many streams of one connection at once, in both directions
// at the same time.
func TestManyStreams(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		conn := r.dial()
		errs := make(chan error)
		const streams, messages = 200, 20
		for i := range streams {
			s := r.both(r.within(), conn)
			go func() {
				for j := range messages {
					if err := s.SendMsg(wrapperspb.Bytes(fmt.Append(nil, i, j))); err != nil {
						errs <- err
						return
					}
				}
				errs <- s.CloseSend()
			}()
			go func() {
				m := &wrapperspb.BytesValue{}
				var err error
				for j := range messages {
					err = s.RecvMsg(m)
					if err != nil || !bytes.Equal(m.Value, fmt.Append(nil, i, j)) {
						err = fmt.Errorf("stream %d, message %d: %q, %w", i, j, m.Value, err)
						break
					}
				}
				if err == nil {
					if err = end(s); err == io.EOF {
						err = nil
					}
				}
				errs <- err
			}()
		}
		for range 2 * streams {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}
