package difftest

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// TestCut cuts a request until nothing is left and counts the ways at each step.
func TestCut(t *testing.T) {
	var m proto.Message = &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a")}, {Key: []byte("b")}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: []byte("k"), Value: []byte("v")},
		}}},
	}
	ways := func() (n int) {
		for {
			shorter, ok := cut(m, n)
			if !ok {
				return n
			}
			if proto.Size(shorter) >= proto.Size(m) {
				t.Fatalf("cut %d of %v is not shorter: %v", n, m, shorter)
			}
			n++
		}
	}
	for _, want := range []int{8, 6, 4, 0} {
		if got := ways(); got != want {
			t.Fatalf("%d cuts of %v, not %d", got, m, want)
		}
		m, _ = cut(m, 0)
	}
}

// TestScript writes scripts and reads them back.
func TestScript(t *testing.T) {
	for seed := range uint64(5) {
		want := Generate(seed, 500)
		var text bytes.Buffer
		if _, err := want.WriteTo(&text); err != nil {
			t.Fatal(err)
		}
		got, err := ReadScript(&text)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Ops) != len(want.Ops) || got.Config.MaxTxnOps != want.Config.MaxTxnOps ||
			got.Config.MaxRequestBytes != want.Config.MaxRequestBytes {
			t.Fatalf("seed %d: %d operations and %+v became %d and %+v", seed, len(want.Ops),
				want.Config, len(got.Ops), got.Config)
		}
		for i, op := range want.Ops {
			o := got.Ops[i]
			if !proto.Equal(o.Request, op.Request) || o.Kind != op.Kind || o.Stream != op.Stream ||
				o.Var != op.Var || o.Signal != op.Signal || o.Repeat != op.Repeat {
				t.Fatalf("seed %d, operation %d: %v became %v", seed, i, op, o)
			}
		}
	}
}
