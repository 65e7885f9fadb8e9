package conform

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// filled is a message of exactly n bytes on the wire.
func filled(n int) []byte {
	b := make([]byte, n)
	for proto.Size(wrapperspb.Bytes(b)) > n {
		b = b[:len(b)-1]
	}
	return b
}

// TestReceiveLimit: a message of the limit is taken, one more byte is refused in grpc-go's words,
// on unary calls and on streams, and the connection goes on.
func TestReceiveLimit(t *testing.T) {
	const limit = 1 << 20
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{maxRecv: limit}, echoes)
		conn := r.dial(grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20),
			grpc.MaxCallRecvMsgSize(64<<20)))
		for _, n := range []int{limit, limit + 1, limit, 20 * limit, 0} {
			want := fmt.Sprintf("grpc: received message larger than max (%d vs. %d)", n, limit)
			_, unary := r.call(conn, filled(n))
			s := r.both(r.within(), conn)
			_ = s.SendMsg(wrapperspb.Bytes(filled(n))) // refused already: the end tells
			streamed := end(s)
			for kind, err := range map[string]error{"unary": unary, "stream": streamed} {
				got := status.Convert(err)
				if n <= limit && err != nil || n > limit && (got.Message() != want ||
					got.Code() != codes.ResourceExhausted) {
					t.Errorf("%s of %d bytes: %v", kind, n, err)
				}
			}
		}
	})
}

// TestSendLimit is the same for what the server sends.
func TestSendLimit(t *testing.T) {
	const limit = 1 << 20
	each(t, func(t *testing.T, k kind) {
		size := 0
		r := start(t, k, options{maxSend: limit}, service{
			unary: func(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
				return wrapperspb.Bytes(filled(size)), nil
			},
			stream: func(s grpc.ServerStream) error {
				return s.SendMsg(wrapperspb.Bytes(filled(size)))
			},
		})
		conn := r.dial()
		for _, size = range []int{limit, limit + 1, limit} {
			want := fmt.Sprintf("trying to send message larger than max (%d vs. %d)", size, limit)
			_, unary := r.call(conn, nil)
			streamed := end(r.both(r.within(), conn))
			for kind, err := range map[string]error{"unary": unary, "stream": streamed} {
				got := status.Convert(err)
				if size <= limit && err != nil || size > limit && (got.Message() != want ||
					got.Code() != codes.ResourceExhausted) {
					t.Errorf("%s of %d bytes: %v", kind, size, err)
				}
			}
		}
	})
}

// TestLarge sends messages that are much larger than any window, both ways, on several streams of
// one connection at once.
func TestLarge(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		for _, secure := range []bool{false, true} {
			r := start(t, k, options{maxRecv: 64 << 20, secure: secure}, echoes)
			conn := r.dial(grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20)))
			errs := make(chan error)
			const calls = 4
			for i := range calls {
				go func() {
					in := bytes.Repeat([]byte{byte(i), 1, 2, 3, 5, 7, 11}, 1<<20)
					out, err := r.call(conn, in)
					if err == nil && !bytes.Equal(in, out) {
						err = fmt.Errorf("call %d came back different", i)
					}
					errs <- err
				}()
			}
			for range calls {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// TestPieces: however messages are cut into frames, they are the same messages.
func TestPieces(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	eachRaw(t, func(t *testing.T, k kind) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		r := start(t, k, options{}, echoes)
		c := r.raw(raw.Config{})
		for round := range 20 {
			var stream []byte
			for range 1 + rnd.IntN(20) {
				m, _ := proto.Marshal(wrapperspb.Bytes(make([]byte, rnd.IntN(200)))) // cannot fail
				stream = append(stream, raw.Message(m)...)
			}
			id := c.Open(raw.Request(streamMethod), false)
			for rest := stream; len(rest) > 0; {
				n := min(len(rest), rnd.IntN(1+rnd.IntN(300)))
				if rnd.IntN(2) == 0 {
					c.Data(id, false, rest[:n])
				} else { // padded
					pad := rnd.IntN(100)
					c.Frame(http2.FrameData, http2.FlagDataPadded, id,
						append(append([]byte{byte(pad)}, rest[:n]...), make([]byte, pad)...))
				}
				rest = rest[n:]
			}
			c.Data(id, true, nil)
			s := r.stream(c, id)
			if s.Field("grpc-status") != "0" || !bytes.Equal(s.Data, stream) {
				t.Fatalf("round %d: %v, want %d bytes", round, &s, len(stream))
			}
		}
	})
}

// TestWrongCounts: a unary call with no message, with two, and messages that are cut off, end with
// an error, and the handler of a unary call does not see them.
func TestWrongCounts(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{maxRecv: 1 << 20}, service{
			unary: func(_ context.Context, in *wrapperspb.BytesValue) (
				*wrapperspb.BytesValue, error,
			) {
				t.Errorf("a handler got %v", in)
				return in, nil
			},
			stream: echoStream,
		})
		c := r.raw(raw.Config{})
		for _, test := range []struct {
			name, path string
			body       []byte
			code, text string
		}{
			{"no message", unaryMethod, nil, "13", ""},
			{"two messages", unaryMethod, append(raw.Message(nil), raw.Message(nil)...), "13", ""},
			{"half a prefix", unaryMethod, []byte{0, 0}, "13", ""},
			{"half a message", unaryMethod, append(raw.Prefix(false, 9), 1, 2, 3), "13", ""},
			{"half a prefix, stream", streamMethod, []byte{0, 0}, "13", ""},
			{"half a message, stream", streamMethod, append(raw.Prefix(false, 9), 1, 2, 3), "13",
				""},
			{"no protobuf", unaryMethod, raw.Message([]byte{0xff}), "13", ""},
			{"no protobuf, stream", streamMethod, raw.Message([]byte{0xff}), "13", ""},
			{"a lie", unaryMethod, raw.Prefix(false, 1<<32-1), "8",
				"grpc: received message larger than max (4294967295 vs. 1048576)"},
			{"a lie, stream", streamMethod, raw.Prefix(false, 1<<32-1), "8",
				"grpc: received message larger than max (4294967295 vs. 1048576)"},
			{"flags", unaryMethod, []byte{2, 0, 0, 0, 0}, "13", ""},
		} {
			id := c.Open(raw.Request(test.path), false)
			c.Data(id, true, test.body)
			s := r.stream(c, id)
			t.Logf("%s: %v", test.name, &s)
			if s.Field("grpc-status") != test.code ||
				test.text != "" && s.Field("grpc-message") != test.text {
				t.Errorf("%s: %v", test.name, &s)
			}
		}
	})
}
