package ctl

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// quiet is a client's log that nobody reads.
var quiet = zap.NewNop()

// rawCodec passes messages as bytes.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "raw" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// replayServer plays recorded calls.
type replayServer struct {
	lis  *bufconn.Listener
	grpc *grpc.Server
	vars *vars

	mu   sync.Mutex // guards what follows
	next []*call
	errs []error
}

// pipeSize is the buffer of a connection in memory.
const pipeSize = 1 << 20

// startReplay serves calls, in their order, on a connection in memory.
func startReplay(t *testing.T, calls []*call, v *vars) *replayServer {
	t.Helper()
	s := &replayServer{lis: bufconn.Listen(pipeSize), vars: v, next: calls}
	s.grpc = grpc.NewServer(grpc.ForceServerCodec(rawCodec{}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			err := s.play(method, stream)
			if _, ok := status.FromError(err); !ok {
				s.mu.Lock()
				s.errs = append(s.errs, fmt.Errorf("%s: %w", method, err))
				s.mu.Unlock()
			}
			return err
		}))
	go s.grpc.Serve(s.lis) // ends with an error when stopped
	return s
}

func (s *replayServer) stop() { s.grpc.Stop() }

// dialOptions lead every client to the server, whatever address it dials.
func (s *replayServer) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return s.lis.DialContext(ctx)
		}),
	}
}

// take returns the next call, which must be of the method.
func (s *replayServer) take(method string) (*call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.next) == 0 {
		return nil, fmt.Errorf("no call recorded")
	}
	c := s.next[0]
	if c.method != method {
		return nil, fmt.Errorf("recorded is %s", c.method)
	}
	s.next = s.next[1:]
	return c, nil
}

// play plays one call. An error that is no status is a difference to the recording.
func (s *replayServer) play(method string, stream grpc.ServerStream) error {
	c, err := s.take(method)
	if err != nil {
		// A client may open a stream and give it up before it asks for anything.
		if err := stream.RecvMsg(new([]byte)); err != nil {
			return status.FromContextError(stream.Context().Err()).Err()
		}
		return err
	}
	in, out, err := messageTypes(method)
	if err != nil {
		return err
	}
	for _, m := range c.messages {
		if m.request {
			want := in.New().Interface()
			if err := protojson.Unmarshal([]byte(m.text), want); err != nil {
				return err
			}
			if err := expect(stream, want, in.New().Interface()); err != nil {
				return err
			}
			continue
		}
		answer := out.New()
		if err := protojson.Unmarshal([]byte(m.text), answer.Interface()); err != nil {
			return err
		}
		s.mu.Lock()
		s.vars.learn(answer)
		s.mu.Unlock()
		b, err := proto.Marshal(answer.Interface())
		if err != nil {
			return err
		}
		if err := stream.SendMsg(&b); err != nil {
			return err
		}
	}
	return endOf(c, stream)
}

// expect receives one message, which must equal want.
func expect(stream grpc.ServerStream, want, got proto.Message) error {
	var b []byte
	if err := stream.RecvMsg(&b); err != nil {
		if err == io.EOF {
			return fmt.Errorf("no more requests, recorded is %v", want)
		}
		return err
	}
	if err := proto.Unmarshal(b, got); err != nil {
		return err
	}
	if !proto.Equal(want, got) {
		return fmt.Errorf("request %v, recorded is %v", got, want)
	}
	return nil
}

// endOf ends a call as recorded.
func endOf(c *call, stream grpc.ServerStream) error {
	switch c.end {
	case "OK":
		return nil
	case "canceled":
		<-stream.Context().Done()
		return status.FromContextError(stream.Context().Err()).Err()
	}
	number, text, _ := strings.Cut(c.end, " ")
	code, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	return status.Error(codes.Code(code), text)
}

// finish makes sure that all calls were made and were as recorded.
func (s *replayServer) finish(t *testing.T, x *exchange) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, err := range s.errs {
		t.Errorf("%q: %v", x.args, err)
	}
	for _, c := range s.next {
		t.Errorf("%q: no call of %s", x.args, c.method)
	}
}
