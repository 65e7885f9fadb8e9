package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// fails is a service whose every call ends with what err returns.
func fails(err func() error) service {
	return service{
		unary: func(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
			return nil, err()
		},
		stream: func(grpc.ServerStream) error { return err() },
	}
}

// TestStatus: what a handler returns is what the client gets: code, text, details.
func TestStatus(t *testing.T) {
	detailed, err := status.New(codes.FailedPrecondition, "see details").WithDetails(
		wrapperspb.String("one"), wrapperspb.Bytes(make([]byte, 3000)))
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, k kind) {
		var next error
		r := start(t, k, options{}, fails(func() error { return next }))
		conn := r.dial()
		for _, c := range []struct {
			err  error
			code codes.Code
			text string
		}{
			{status.Error(codes.NotFound, "no such thing"), codes.NotFound, "no such thing"},
			{status.Error(codes.DataLoss, ""), codes.DataLoss, ""},
			{status.Error(codes.Aborted, "100% ☺ \n\t\r\x00\x7f~ 日本 %E2"), codes.Aborted,
				"100% ☺ \n\t\r\x00\x7f~ 日本 %E2"},
			{status.Error(codes.Internal, strings.Repeat("long ☺", 5000)), codes.Internal,
				strings.Repeat("long ☺", 5000)},
			{status.Error(codes.Code(77), "own code"), codes.Code(77), "own code"},
			{errors.New("no status"), codes.Unknown, "no status"},
			{io.EOF, codes.Unknown, "EOF"},
			{context.Canceled, codes.Canceled, "context canceled"},
			{context.DeadlineExceeded, codes.DeadlineExceeded, "context deadline exceeded"},
			{fmt.Errorf("wrapped: %w", status.Error(codes.NotFound, "inner")), codes.NotFound,
				"wrapped: rpc error: code = NotFound desc = inner"},
			{detailed.Err(), codes.FailedPrecondition, "see details"},
		} {
			next = c.err
			_, unary := r.call(conn, nil)
			streamed := end(r.both(r.within(), conn))
			for kind, err := range map[string]error{"unary": unary, "stream": streamed} {
				got := status.Convert(err)
				if got.Code() != c.code || got.Message() != c.text {
					t.Errorf("%s %.60v: got %v, %.80q", kind, c.err, got.Code(), got.Message())
				}
				if c.err == detailed.Err() && !proto.Equal(got.Proto(), detailed.Proto()) {
					t.Errorf("%s: details %v", kind, got.Details())
				}
			}
		}
	})
}

// TestStatusOnWire: an error before anything was sent is one block of headers alone; one after that
// comes in trailers. Texts are encoded as gRPC says.
func TestStatusOnWire(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, service{
			unary: fails(func() error { return status.Error(codes.Aborted, "a%b ☺\n~") }).unary,
			stream: func(s grpc.ServerStream) error {
				if err := s.SendHeader(metadata.Pairs("x-a", "1")); err != nil {
					return err
				}
				s.SetTrailer(metadata.Pairs("x-b", "2"))
				return status.Error(codes.OutOfRange, "later")
			},
		})
		c := r.raw(raw.Config{})
		id := c.Open(raw.Request(unaryMethod), false)
		c.Data(id, true, raw.Message(nil))
		s := r.stream(c, id)
		if len(s.Blocks) != 1 || s.Field(":status") != "200" || s.Field("grpc-status") != "10" ||
			s.Field("content-type") != "application/grpc" ||
			s.Field("grpc-message") != "a%25b %E2%98%BA%0A~" {
			t.Errorf("%v", s.Blocks)
		}
		s = r.stream(c, c.Open(raw.Request(streamMethod), true))
		if len(s.Blocks) != 2 || s.Field("x-a") != "1" || s.Field("grpc-status") != "11" ||
			s.Field("grpc-message") != "later" || s.Field("x-b") != "2" {
			t.Errorf("%v", s.Blocks)
		}
	})
}

// TestUnknownMethods: grpc-go's words for what is not there.
func TestUnknownMethods(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		conn := r.dial()
		for path, want := range map[string]string{
			"/no.Service/Method":    "unknown service no.Service",
			"/conform.Test/Other":   "unknown method Other for service conform.Test",
			"/conform.Test/":        "unknown method  for service conform.Test",
			"/conform.Tes/Unary":    "unknown service conform.Tes",
			"/conform.Test/x/Unary": "unknown service conform.Test/x",
			"/Unary":                `malformed method name: "/Unary"`,
			"/":                     `malformed method name: "/"`,
			"//Unary":               "unknown service ",
			"/conform.Test/Unary/":  "unknown service conform.Test/Unary",
			"/conform.Test/Unary?a": "unknown method Unary?a for service conform.Test",
			"/conform.Test/%55nary": "unknown method %55nary for service conform.Test",
			"/CONFORM.Test/Unary":   "unknown service CONFORM.Test",
			"/conform.Test/unary":   "unknown method unary for service conform.Test",
			"/conform.Test//Unary":  "unknown service conform.Test/",
		} {
			err := conn.Invoke(r.within(), path, &wrapperspb.BytesValue{}, &wrapperspb.BytesValue{})
			got := status.Convert(err)
			if got.Code() != codes.Unimplemented || got.Message() != want {
				t.Errorf("%s: %v, %q; want %q", path, got.Code(), got.Message(), want)
			}
		}
		c := r.raw(raw.Config{})
		for _, path := range []string{"conform.Test/Unary", "x"} {
			s := r.stream(c, c.Open(raw.Request(path), true))
			if s.Reset == nil && s.Field("grpc-status") != "12" {
				t.Errorf("path %q: %v", path, &s)
			}
		}
	})
}

// TestContentTypes: what is gRPC is served under the name that the client gave it; what is not, is
// refused and comes to no handler.
func TestContentTypes(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		c := r.raw(raw.Config{})
		for kind, want := range map[string]string{
			"application/grpc":           "application/grpc",
			"application/grpc+proto":     "application/grpc+proto",
			"application/grpc+nonsense":  "application/grpc+nonsense",
			"application/grpc;charset=x": "application/grpc+charset=x",
			"application/grpc-web":       "",
			"application/grpcx":          "",
			"application/json":           "",
			"text/plain":                 "",
			"":                           "",
		} {
			var fields []hpack.HeaderField
			for _, f := range raw.Request(unaryMethod) {
				if f.Name == "content-type" {
					if f.Value = kind; kind == "" {
						continue
					}
				}
				fields = append(fields, f)
			}
			id := c.Open(fields, false)
			c.Data(id, true, raw.Message(nil))
			s := r.stream(c, id)
			if want == "" {
				if s.Reset == nil && s.Field(":status") == "200" {
					t.Errorf("%q: %v", kind, &s)
				}
				t.Logf("%q: %v", kind, &s)
				continue
			}
			if s.Field("grpc-status") != "0" || s.Field("content-type") != want {
				t.Errorf("%q: %v, content-type %q", kind, &s, s.Field("content-type"))
			}
		}
	})
}
