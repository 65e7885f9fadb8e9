package conform

import (
	"bytes"
	gz "compress/gzip"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// zipped is a compressed message of some bytes as a value.
func zipped(s string) []byte {
	m, err := proto.Marshal(wrapperspb.Bytes([]byte(s)))
	var out bytes.Buffer
	w := gz.NewWriter(&out)
	if err == nil {
		_, err = w.Write(m)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // neither fails
	}
	return append(raw.Prefix(true, uint32(out.Len())), out.Bytes()...)
}

// TestGzip: a client that compresses is understood, and is answered compressed.
func TestGzip(t *testing.T) {
	value := []byte(strings.Repeat("compressible ", 10_000))
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{}, echoes)
		conn := r.dial(grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
		for range 3 {
			if out, err := r.call(conn, value); err != nil || !bytes.Equal(out, value) {
				t.Fatalf("%d bytes, %v", len(out), err)
			}
		}
		s := r.both(r.within(), conn)
		for range 3 {
			r.send(s, value)
			if out := r.recv(s); !bytes.Equal(out, value) {
				t.Fatalf("%d bytes", len(out))
			}
		}

		c := r.raw(raw.Config{})
		for _, path := range []string{unaryMethod, streamMethod} {
			id := c.Open(raw.Request(path, raw.Field("grpc-encoding", "gzip"),
				raw.Field("grpc-accept-encoding", "gzip")), false)
			c.Data(id, true, zipped(string(value)))
			s := r.stream(c, id)
			if s.Field("grpc-status") != "0" || s.Field("grpc-encoding") != "gzip" ||
				len(s.Data) > 5000 || s.Data[0] != 1 {
				t.Fatalf("%s: %v, grpc-encoding %q", path, &s, s.Field("grpc-encoding"))
			}
			reader, err := gz.NewReader(bytes.NewReader(s.Data[5:]))
			if err != nil {
				t.Fatal(err)
			}
			var m bytes.Buffer
			if _, err := m.ReadFrom(reader); err != nil {
				t.Fatal(err)
			}
			out := &wrapperspb.BytesValue{}
			if err = proto.Unmarshal(m.Bytes(), out); err != nil || !bytes.Equal(out.Value, value) {
				t.Errorf("%d bytes, %v", len(out.Value), err)
			}
		}
	})
}

// TestEncodings: what a client says of its messages is believed, and what cannot be is refused in
// grpc-go's words.
func TestEncodings(t *testing.T) {
	plain, err := proto.Marshal(wrapperspb.Bytes([]byte("plain")))
	if err != nil {
		t.Fatal(err)
	}
	garbage := append(raw.Prefix(true, 20), make([]byte, 20)...)
	cut := zipped(string(make([]byte, 5000)))
	cut = append(raw.Prefix(true, uint32(len(cut)-5-4)), cut[5:len(cut)-4]...)
	eachRaw(t, func(t *testing.T, k kind) {
		r := start(t, k, options{maxRecv: 1 << 20}, echoes)
		c := r.raw(raw.Config{})
		for _, test := range []struct {
			name, encoding string
			body           []byte
			code, text     string
		}{
			{"identity", "identity", raw.Message(plain), "0", ""},
			{"none", "", raw.Message(plain), "0", ""},
			{"not compressed after all", "gzip", raw.Message(plain), "0", ""},
			{"compressed", "gzip", zipped("x"), "0", ""},
			{"unknown", "zz", raw.Message(plain), "12",
				`grpc: Decompressor is not installed for grpc-encoding "zz"`},
			{"flag without a name", "", zipped("x"), "13",
				"grpc: compressed flag set with identity or empty encoding"},
			{"flag with identity", "identity", zipped("x"), "13",
				"grpc: compressed flag set with identity or empty encoding"},
			{"garbage", "gzip", garbage, "13", ""},
			{"cut off", "gzip", cut, "13", ""},
			{"too large when opened", "gzip", zipped(string(make([]byte, 2<<20))), "8",
				"grpc: received message after decompression larger than max 1048576"},
		} {
			for _, path := range []string{unaryMethod, streamMethod} {
				fields := raw.Request(path)
				if test.encoding != "" {
					fields = append(fields, raw.Field("grpc-encoding", test.encoding))
				}
				id := c.Open(fields, false)
				c.Data(id, true, test.body)
				s := r.stream(c, id)
				if s.Field("grpc-status") != test.code ||
					test.text != "" && s.Field("grpc-message") != test.text {
					t.Errorf("%s, %s: %v", test.name, path, &s)
				}
				t.Logf("%s, %s: %v, accepts %q", test.name, path, &s,
					s.Field("grpc-accept-encoding"))
			}
		}
	})
}
