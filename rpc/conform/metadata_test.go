package conform

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// mirror answers with the metadata that it got under names that begin with "x-", in headers and in
// trailers.
func mirror(ctx context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	maps.DeleteFunc(md, func(k string, _ []string) bool { return !strings.HasPrefix(k, "x-") })
	if err := grpc.SetHeader(ctx, md); err != nil {
		return nil, err
	}
	return in, grpc.SetTrailer(ctx, md)
}

// TestMetadata: what is sent as metadata, text or bytes, short or long, comes through, in order,
// and goes back in headers and trailers.
func TestMetadata(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	visible := ""
	for c := byte(' ' + 1); c <= '~'; c++ {
		visible += string(rune(c))
	}
	long := strings.Repeat("0123456789abcdef", 8<<10) // eight frames: CONTINUATION both ways
	for name, pairs := range map[string][]string{
		"text":   {"x-a", visible, "x-a", "with spaces in it", "x-b", ""},
		"binary": {"x-a-bin", string(every), "x-a-bin", "", "x-a-bin", "\x00", "x-b-bin", "ab"},
		"long":   {"x-long", long, "x-long-bin", string(bytes.Repeat(every, 300))},
		"many":   many(3000),
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, k kind) {
				r := start(t, k, options{}, service{unary: mirror, stream: echoStream})
				conn := r.dial(grpc.WithMaxHeaderListSize(4 << 20))
				want := metadata.Pairs(pairs...)
				out := &wrapperspb.BytesValue{}
				var header, trailer metadata.MD
				err := conn.Invoke(metadata.NewOutgoingContext(r.within(), want), unaryMethod,
					wrapperspb.Bytes([]byte("x")), out, grpc.Header(&header),
					grpc.Trailer(&trailer))
				if err != nil {
					t.Fatal(err)
				}
				for where, got := range map[string]metadata.MD{"header": header,
					"trailer": trailer} {
					for key, values := range want {
						if !slices.Equal(got[key], values) {
							t.Errorf("%s: %s is %.80q, want %.80q", where, key, got[key], values)
						}
					}
				}
			})
		})
	}
}

// many is n pairs of names and values.
func many(n int) (pairs []string) {
	for i := range n {
		name := "x-" + strings.Repeat("n", i%7) + string(rune('a'+i%26))
		pairs = append(pairs, name, strings.Repeat("v", i%50))
	}
	return pairs
}

// TestMetadataSeen: a handler sees the metadata of a request, what gRPC needs itself left out.
func TestMetadataSeen(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		seen := make(chan metadata.MD, 10)
		r := start(t, k, options{}, service{unary: func(ctx context.Context,
			in *wrapperspb.BytesValue,
		) (*wrapperspb.BytesValue, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			seen <- md
			return in, nil
		}})
		c := r.raw(raw.Config{})
		ask := func(fields []hpack.HeaderField) metadata.MD {
			id := c.Open(fields, false)
			c.Data(id, true, raw.Message(nil))
			if s := r.stream(c, id); s.Field("grpc-status") != "0" {
				t.Fatalf("%v", &s)
			}
			return <-seen
		}
		got := ask(raw.Request(unaryMethod, raw.Field("user-agent", "me/1"),
			raw.Field("grpc-timeout", "1H"), raw.Field("grpc-encoding", "identity"),
			raw.Field("x-a", "1"), raw.Field("x-b-bin", "AAE="), raw.Field("x-a", "2"),
			raw.Field("x-c-bin", "AAE"), raw.Field("authorization", "Bearer x")))
		want := metadata.MD{":authority": {"localhost"}, "content-type": {"application/grpc"},
			"user-agent": {"me/1"}, "x-a": {"1", "2"}, "x-b-bin": {"\x00\x01"},
			"x-c-bin": {"\x00\x01"}, "authorization": {"Bearer x"}}
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("got %q, want %q", got, want)
		}
		fields := raw.Request(unaryMethod, raw.Field("host", "elsewhere"))
		if got := ask(fields)[":authority"]; !slices.Equal(got, []string{"localhost"}) {
			t.Errorf("with a host beside it :authority is %q", got)
		}
		fields = slices.DeleteFunc(fields, func(f hpack.HeaderField) bool {
			return f.Name == ":authority"
		})
		if got := ask(fields)[":authority"]; !slices.Equal(got, []string{"elsewhere"}) {
			t.Errorf("with host alone :authority is %q", got)
		}
	})
}

// TestMalformedRequests: a request that HTTP/2 calls malformed does not reach a handler, its stream
// ends, and the connection goes on.
func TestMalformedRequests(t *testing.T) {
	good := raw.Request(unaryMethod)
	without := func(name string) []hpack.HeaderField {
		return slices.DeleteFunc(slices.Clone(good), func(f hpack.HeaderField) bool {
			return f.Name == name
		})
	}
	first := func(name, value string, rest []hpack.HeaderField) []hpack.HeaderField {
		return append([]hpack.HeaderField{raw.Field(name, value)}, rest...)
	}
	cases := map[string][]hpack.HeaderField{
		"no path":                 without(":path"),
		"no method":               without(":method"),
		"no authority":            without(":authority"),
		"upper case":              append(slices.Clone(good), raw.Field("X-Upper", "1")),
		"connection":              append(slices.Clone(good), raw.Field("connection", "close")),
		"pseudo after the others": append(without(":path"), raw.Field(":path", unaryMethod)),
		"unknown pseudo":          first(":x", "1", good),
		"two paths":               first(":path", "/", good),
		"response pseudo":         first(":status", "200", good),
		"line end in a value":     append(slices.Clone(good), raw.Field("x-a", "b\r\nc")),
		"space in a name":         append(slices.Clone(good), raw.Field("x a", "b")),
		"two authorities":         first(":authority", "b", good),
		"two hosts": append(slices.Clone(good), raw.Field("host", "a"),
			raw.Field("host", "b")),
		"bad bytes": append(slices.Clone(good), raw.Field("x-bin", "=!=")),
		"get":       first(":method", "GET", without(":method")),
	}
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, service{unary: func(ctx context.Context,
			in *wrapperspb.BytesValue,
		) (*wrapperspb.BytesValue, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			t.Errorf("a handler got %q", md)
			return in, nil
		}, stream: echoStream})
		c := r.raw(raw.Config{})
		for _, name := range slices.Sorted(maps.Keys(cases)) {
			id := c.Open(cases[name], false)
			c.Data(id, true, raw.Message(nil))
			s := r.stream(c, id)
			if code := s.Field("grpc-status"); s.Reset == nil && s.Field(":status") == "200" &&
				(code == "0" || code == "") {
				t.Errorf("%s: %v", name, &s)
			}
			t.Logf("%s: %v", name, &s)
		}
		id := c.Open(raw.Request(streamMethod), true)
		if s := r.stream(c, id); s.Field("grpc-status") != "0" {
			t.Errorf("a good one afterwards: %v", &s)
		}
	})
}

// TestReservedMetadata: a handler cannot send what is gRPC's.
func TestReservedMetadata(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, service{unary: func(ctx context.Context,
			in *wrapperspb.BytesValue,
		) (*wrapperspb.BytesValue, error) {
			md := metadata.Pairs("grpc-status", "13", "grpc-message", "no", "content-type", "no",
				"te", "no", "grpc-encoding", "no", "x-a", "yes")
			if err := grpc.SetHeader(ctx, md); err != nil {
				return nil, err
			}
			return in, grpc.SetTrailer(ctx, md)
		}})
		c := r.raw(raw.Config{})
		id := c.Open(raw.Request(unaryMethod), false)
		c.Data(id, true, raw.Message(nil))
		s := r.stream(c, id)
		if len(s.Blocks) != 2 {
			t.Fatalf("%d blocks: %v", len(s.Blocks), s.Blocks)
		}
		for i, want := range [][]string{
			{":status=200", "content-type=application/grpc", "x-a=yes"},
			{"grpc-status=0", "x-a=yes"},
		} {
			var got []string
			for _, f := range s.Blocks[i] {
				if f != raw.Field("grpc-message", "") {
					got = append(got, f.Name+"="+f.Value)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("block %d: %q, want %q", i, got, want)
			}
		}
	})
}

// TestListLimitOfClient: what a client says of the longest list of headers that it takes is advice.
// The stream ends, with the list or without it.
func TestListLimitOfClient(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, service{unary: mirror})
		c := r.raw(raw.Config{Settings: []http2.Setting{{ID: http2.SettingMaxHeaderListSize,
			Val: 1000}}})
		for _, n := range []int{10, 20_000} {
			id := c.Open(raw.Request(unaryMethod, raw.Field("x-a", strings.Repeat("a", n))), false)
			c.Data(id, true, raw.Message(nil))
			s := r.stream(c, id)
			if n == 10 && s.Field("grpc-status") != "0" || s.Malformed != nil {
				t.Errorf("%d bytes: %v", n, &s)
			}
		}
	})
}

// TestListLimitOfServer: a list of headers that is longer than the server's limit comes to no
// handler, and one within it does. What the server does not announce is 16 MiB, as of grpc-go.
func TestListLimitOfServer(t *testing.T) {
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		probe := r.raw(raw.Config{})
		r.wait(probe, func(s *raw.State) bool { return s.SettingsAcks > 0 })
		limit := uint32(16 << 20)
		probe.Look(func(s *raw.State) {
			if announced, ok := s.Settings[http2.SettingMaxHeaderListSize]; ok {
				limit = announced
			}
		})
		t.Logf("a limit of %d bytes", limit)
		for _, size := range []uint32{limit / 2, limit + 100_000} {
			c := r.raw(raw.Config{WriteTimeout: patience})
			fields := raw.Request(unaryMethod)
			for total := uint32(0); total < size; {
				f := hpack.HeaderField{Name: "x-a", Value: strings.Repeat("a", 4000),
					Sensitive: true}
				fields, total = append(fields, f), total+f.Size()
			}
			id := c.Open(fields, false)
			c.Data(id, true, raw.Message(nil))
			r.wait(c, func(s *raw.State) bool { return s.Done(id) || s.Gone() })
			c.Look(func(s *raw.State) {
				done := s.Streams[id] != nil && s.Streams[id].Field("grpc-status") == "0"
				if done != (size < limit) {
					t.Errorf("%d bytes: %v", size, s)
				}
			})
		}
	})
}

// TestPeer: a handler learns who calls.
func TestPeer(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		for _, secure := range []bool{false, true} {
			got := make(chan *peer.Peer, 1)
			r := start(t, k, options{secure: secure}, service{unary: func(ctx context.Context,
				in *wrapperspb.BytesValue,
			) (*wrapperspb.BytesValue, error) {
				p, _ := peer.FromContext(ctx)
				got <- p
				return in, nil
			}})
			if _, err := r.call(r.dial(), nil); err != nil {
				t.Fatal(err)
			}
			p := <-got
			if p == nil || p.Addr == nil || !strings.HasPrefix(p.Addr.String(), "127.0.0.1:") {
				t.Fatalf("peer %v", p)
			}
			info, ok := p.AuthInfo.(credentials.TLSInfo)
			if ok != secure {
				t.Errorf("TLS: %v, the peer is %v", secure, p)
			}
			if ok && info.State.VerifiedChains[0][0].Subject.CommonName != "conform" {
				t.Errorf("the certificate is not known: %v", info)
			}
		}
	})
}

// TestMethodName: a handler can ask which method was called.
func TestMethodName(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		got := make(chan string, 1)
		r := start(t, k, options{}, service{unary: func(ctx context.Context,
			in *wrapperspb.BytesValue,
		) (*wrapperspb.BytesValue, error) {
			name, _ := grpc.Method(ctx)
			got <- name
			return in, nil
		}, stream: func(s grpc.ServerStream) error {
			name, _ := grpc.MethodFromServerStream(s)
			got <- name
			return nil
		}})
		conn := r.dial()
		if _, err := r.call(conn, nil); err != nil {
			t.Fatal(err)
		}
		if name := <-got; name != unaryMethod {
			t.Errorf("the method is %q", name)
		}
		s := r.both(r.within(), conn)
		_ = end(s) // io.EOF
		if name := <-got; name != streamMethod {
			t.Errorf("the method is %q", name)
		}
	})
}
