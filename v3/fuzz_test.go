package v3

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// FuzzUnary gives any bytes to any unary method: each answers or refuses.
func FuzzUnary(f *testing.F) {
	d, err := New(newFake(), Options{})
	if err != nil {
		f.Fatal(err)
	}
	var methods []grpc.MethodDesc
	for _, s := range d.services {
		methods = append(methods, s.desc.Methods...)
	}
	for _, cases := range [][]verdictCase{kvCases(), txnCases(), randomCases()[:50]} {
		for _, c := range cases {
			for i, m := range methods {
				msg, ok := c.req.(proto.Message)
				if !ok || c.method != "KV/"+m.MethodName || proto.Size(msg) > 1<<10 {
					continue
				}
				b, err := proto.Marshal(msg)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(uint8(i), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		m := methods[int(i)%len(methods)]
		dec := func(v any) error {
			return d.codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, v)
		}
		reply, err := m.Handler(d, context.Background(), dec, nil)
		if err != nil {
			if _, ok := status.FromError(err); !ok {
				t.Errorf("%s: %v is no status", m.MethodName, err)
			}
			return
		}
		if _, err := d.codec.Marshal(reply); err != nil {
			t.Errorf("%s: %v", m.MethodName, err)
		}
	})
}
