package wire

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn"
)

var (
	benchKey   = bytes.Repeat([]byte("k"), 32)
	benchValue = bytes.Repeat([]byte("v"), 256)
)

// benchTxn is what Kubernetes sends to update an object.
func benchTxn() *pb.TxnRequest {
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Target: pb.Compare_MOD, Key: benchKey,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: 123456},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: benchKey, Value: benchValue},
		}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: benchKey},
		}}},
	}
}

func BenchmarkDecode(b *testing.B) {
	put := marshal(b, &pb.PutRequest{Key: benchKey, Value: benchValue, Lease: 12345})
	rng := marshal(b, &pb.RangeRequest{Key: benchKey, RangeEnd: benchKey, Limit: 500})
	txn := marshal(b, benchTxn())
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		var r cairn.PutRequest
		for b.Loop() {
			if DecodePut(put, &r) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("range", func(b *testing.B) {
		b.ReportAllocs()
		var r cairn.RangeRequest
		for b.Loop() {
			if DecodeRange(rng, &r) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("txn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var r cairn.TxnRequest
			if DecodeTxn(txn, &r) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("txn-reused", func(b *testing.B) {
		b.ReportAllocs()
		var r cairn.TxnRequest
		for b.Loop() {
			if DecodeTxn(txn, &r) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("txn-protobuf", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if proto.Unmarshal(txn, new(pb.TxnRequest)) != nil {
				b.Fatal("refused")
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	h := &cairn.Header{ClusterID: 1 << 60, MemberID: 1 << 61, Revision: 1 << 20, RaftTerm: 2}
	kv := &cairn.KeyValue{
		Key: benchKey, Value: benchValue, CreateRevision: 1 << 20, ModRevision: 1 << 20, Version: 1,
	}
	buf := make([]byte, 0, 4096)
	b.Run("keyvalue", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = AppendKeyValue(buf[:0], kv)
		}
	})
	b.Run("put-response", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = AppendPutResponse(buf[:0], h, nil)
		}
	})
}
