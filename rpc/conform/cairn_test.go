package conform

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// cairn is the product's server.
type cairn struct{ *rpc.Server }

func openCairn(o options) door {
	return cairn{rpc.New(rpc.Options{
		MaxRecvBytes: o.maxRecv, MaxSendBytes: o.maxSend, MaxStreams: o.maxStreams,
		KeepaliveMinTime: o.minTime, KeepaliveInterval: o.interval, KeepaliveTimeout: o.lastCall,
	})}
}

// Drain lets what goes on end, and then stops, as grpc-go's GracefulStop does.
func (c cairn) Drain(ctx context.Context) {
	_ = c.Server.Drain(ctx) // the error is that of ctx
	c.Stop()
}

func serveCairn(t *testing.T, l net.Listener, h http.Handler) {
	s := rpc.New(rpc.Options{HTTP: h})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // rpc.ErrStopped
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
}

// rawCairn is the same with the methods that the hot requests of the product go through, for
// services that are plain.
type rawCairn struct{ cairn }

func openRaw(o options) door { return rawCairn{openCairn(o).(cairn)} }

func (c rawCairn) RegisterService(d *grpc.ServiceDesc, impl any) {
	if s, ok := impl.(service); ok && s.plain {
		count := s.count
		if count == nil {
			count = func(int32) {}
		}
		c.Unary(d.ServiceName, "Unary", func(call *rpc.Call) { call.Reply(call.Message()) })
		c.Stream(d.ServiceName, "Stream", func(s *rpc.Stream) (rpc.Receiver, error) {
			count(1)
			return &rawStream{stream: s, count: count, echo: true}, nil
		})
		c.Stream(d.ServiceName, "Down", func(s *rpc.Stream) (rpc.Receiver, error) {
			count(1)
			return &rawStream{stream: s, count: count}, nil
		})
	}
	c.cairn.RegisterService(d, impl)
}

// rawStream answers as echoStream does, or as down.
type rawStream struct {
	stream *rpc.Stream
	count  func(int32)
	echo   bool

	mu      sync.Mutex // guards what follows
	pending [][]byte   // what waits to be sent
	refused bool
	over    bool // nothing comes any more
	left    int  // of size bytes, that down still has to send
	size    int
}

// maxPending is how many messages of an echo may wait.
const maxPending = 100

func (r *rawStream) Message(msg []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.echo {
		if r.refused = len(r.pending) >= maxPending; r.refused {
			return false
		}
		r.pending = append(r.pending, bytes.Clone(msg))
	} else {
		in := &wrapperspb.BytesValue{}
		err := proto.Unmarshal(msg, in)
		if err == nil {
			_, err = fmt.Sscan(string(in.Value), &r.left, &r.size)
		}
		if err != nil {
			r.stream.Finish(status.Convert(err))
			return true
		}
		r.over = true
	}
	r.stream.Wake()
	return true
}

func (r *rawStream) HalfClosed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.stream.Wake()
}

func (r *rawStream) Fill(room int) (more bool) {
	r.mu.Lock()
	for room > 0 {
		var msg []byte
		switch {
		case len(r.pending) > 0:
			msg, r.pending = r.pending[0], r.pending[1:]
		case r.left > 0:
			msg, _ = proto.Marshal(wrapperspb.Bytes(make([]byte, r.size))) // cannot fail
			r.left--
		}
		if msg == nil {
			break
		}
		r.stream.Send(msg)
		room -= len(msg) + 1
	}
	more = len(r.pending) > 0 || r.left > 0
	if !more && r.over {
		r.stream.Finish(status.New(codes.OK, ""))
	}
	again := r.refused && len(r.pending) == 0
	if again {
		r.refused = false
	}
	r.mu.Unlock()
	if again {
		r.stream.Resume()
	}
	return more
}

func (r *rawStream) Ended() { r.count(-1) }

// TestEndBeforeBegin: a raw stream that is over before its receiver is there (its deadline was
// short) ends as others do, and takes nobody with it.
func TestEndBeforeBegin(t *testing.T) {
	ended := make(chan struct{}, 2)
	r := startWith(t, kind{"raw", openRaw}, options{}, func(s grpc.ServiceRegistrar) {
		s.RegisterService(desc(), echoes)
		s.(rawCairn).Stream("conform.Late", "Late", func(s *rpc.Stream) (rpc.Receiver, error) {
			for !s.Over() {
				runtime.Gosched()
			}
			return &rawStream{stream: s, count: func(int32) { ended <- struct{}{} }}, nil
		})
	})
	c := r.raw(raw.Config{})
	for range 20 {
		id := c.Open(raw.Request("/conform.Late/Late", raw.Field("grpc-timeout", "1m")), false)
		if s := r.stream(c, id); s.Field("grpc-status") != "4" {
			t.Fatalf("%v", &s)
		}
		<-ended
	}
	id := c.Open(raw.Request(unaryMethod), false)
	c.Data(id, true, raw.Message(nil))
	if s := r.stream(c, id); s.Field("grpc-status") != "0" || len(ended) > 0 {
		t.Errorf("%v; ended twice: %v", &s, len(ended) > 0)
	}
}
