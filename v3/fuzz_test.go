package v3

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// FuzzUnary gives any bytes to any unary method, through the whole server: each answers or refuses.
func FuzzUnary(f *testing.F) {
	d, conn := serve(f, newFake(), Options{})
	var methods []*Method
	for _, m := range d.Methods() {
		if m.Kind == Unary {
			methods = append(methods, m)
		}
	}
	for _, cases := range [][]verdictCase{kvCases(), txnCases(), randomCases()[:50]} {
		for _, c := range cases {
			for i, m := range methods {
				msg, ok := c.req.(proto.Message)
				if !ok || c.method != "KV/"+m.Name || proto.Size(msg) > 1<<10 {
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
		var reply rawRequest
		err := conn.Invoke(t.Context(), m.FullName(), rawRequest(b), &reply,
			grpc.ForceCodec(rawCodec{}))
		if s, ok := status.FromError(err); !ok || s.Code() == codes.Canceled {
			t.Errorf("%s: %v", m.Name, err)
		}
	})
}
