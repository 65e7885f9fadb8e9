package wire

import (
	"bytes"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn"
)

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func randomKV(rnd *rand.Rand) *mvccpb.KeyValue {
	kv := new(mvccpb.KeyValue)
	fill(rnd, kv.ProtoReflect(), 0)
	return kv
}

func randomHeader(rnd *rand.Rand) *pb.ResponseHeader {
	h := new(pb.ResponseHeader)
	fill(rnd, h.ProtoReflect(), 0)
	return h
}

// Every encoder gives the bytes of proto.Marshal.
func TestEncodeAgreesWithProtobuf(t *testing.T) {
	rnd := newRand(t)
	prefix := []byte("what was there before")
	same := func(what string, got, want []byte) {
		t.Helper()
		if !bytes.HasPrefix(got, prefix) || !bytes.Equal(got[len(prefix):], want) {
			t.Fatalf("%s: %x, want %x", what, got[len(prefix):], want)
		}
	}
	for range 3000 {
		kv, h := randomKV(rnd), randomHeader(rnd)
		ourKV, ourH := fromKeyValue(kv), fromHeader(h)
		kvBytes := AppendKeyValue(bytes.Clone(prefix), ourKV)
		same("KeyValue", kvBytes, marshal(t, kv))
		kvBytes = kvBytes[len(prefix):]
		if n := SizeKeyValue(ourKV); n != len(kvBytes) {
			t.Fatalf("SizeKeyValue %d, the encoding has %d bytes", n, len(kvBytes))
		}

		header := AppendHeader(bytes.Clone(prefix), ourH)
		same("header", header, marshal(t, &pb.PutResponse{Header: h}))
		if n := SizeHeader(ourH); n != len(header)-len(prefix) {
			t.Fatalf("SizeHeader %d, want %d", n, len(header)-len(prefix))
		}

		put := &pb.PutResponse{Header: h}
		var prev []byte
		if rnd.IntN(2) == 0 {
			put.PrevKv, prev = kv, kvBytes
		}
		putBytes := AppendPutResponse(bytes.Clone(prefix), ourH, prev)
		same("put", putBytes, marshal(t, put))

		del := &pb.DeleteRangeResponse{Header: h, Deleted: rnd.Int64() >> rnd.IntN(64)}
		var prevs [][]byte
		for range rnd.IntN(3) {
			del.PrevKvs, prevs = append(del.PrevKvs, kv), append(prevs, kvBytes)
		}
		delBytes := AppendDeleteRangeResponse(bytes.Clone(prefix), ourH, del.Deleted, prevs)
		same("delete", delBytes, marshal(t, del))

		checkTxn(t, rnd, same, put, del, putBytes[len(prefix):], delBytes[len(prefix):])
	}
}

func checkTxn(
	t *testing.T, rnd *rand.Rand, same func(string, []byte, []byte),
	put *pb.PutResponse, del *pb.DeleteRangeResponse, putBytes, delBytes []byte,
) {
	t.Helper()
	h := randomHeader(rnd)
	txn := &pb.TxnResponse{Header: h, Succeeded: rnd.IntN(2) == 0}
	var ops []byte
	for range rnd.IntN(4) {
		switch rnd.IntN(4) {
		case 0:
			u := &pb.ResponseOp_ResponsePut{ResponsePut: put}
			txn.Responses = append(txn.Responses, &pb.ResponseOp{Response: u})
			ops = AppendResponseOp(ops, cairn.OpPut, putBytes)
		case 1:
			u := &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: del}
			txn.Responses = append(txn.Responses, &pb.ResponseOp{Response: u})
			ops = AppendResponseOp(ops, cairn.OpDeleteRange, delBytes)
		case 2:
			r := &pb.RangeResponse{Header: h, Count: 3, More: true, Kvs: prevKVs(put)}
			u := &pb.ResponseOp_ResponseRange{ResponseRange: r}
			txn.Responses = append(txn.Responses, &pb.ResponseOp{Response: u})
			b := AppendHeader(nil, fromHeader(h))
			for _, kv := range r.Kvs {
				b = AppendKV(b, RangeKVs, AppendKeyValue(nil, fromKeyValue(kv)))
			}
			b = AppendVarint(AppendBool(b, RangeMore, true), RangeCount, 3)
			ops = AppendResponseOp(ops, cairn.OpRange, b)
		case 3:
			txn.Responses = append(txn.Responses, &pb.ResponseOp{})
			ops = AppendResponseOp(ops, cairn.OpNone, nil)
		}
	}
	got := AppendTxnResponse([]byte("what was there before"), fromHeader(h), txn.Succeeded, ops)
	same("txn", got, marshal(t, txn))
	// And as an operation of another transaction.
	outer := &pb.TxnResponse{Responses: []*pb.ResponseOp{{
		Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: txn},
	}}}
	inner := got[len("what was there before"):]
	nested := AppendTxnResponse([]byte("what was there before"), nil, false,
		AppendResponseOp(nil, cairn.OpTxn, inner))
	same("nested txn", nested, marshal(t, outer))
}

// The watch's field numbers and the string and bytes fields, in one message.
func TestWatchResponseFields(t *testing.T) {
	kv := &mvccpb.KeyValue{Key: []byte("k"), ModRevision: 9}
	want := &pb.WatchResponse{
		Header: &pb.ResponseHeader{Revision: 9}, WatchId: -1, Created: true, Canceled: true,
		CompactRevision: 5, CancelReason: "because", Fragment: true,
		Events: []*mvccpb.Event{{Type: mvccpb.Event_DELETE, Kv: kv, PrevKv: kv}},
	}
	kvBytes := AppendKeyValue(nil, fromKeyValue(kv))
	ev := AppendVarint(nil, EventType, EventTypeDelete)
	ev = AppendKV(AppendKV(ev, EventKV, kvBytes), EventPrevKV, kvBytes)
	b := AppendHeader(nil, &cairn.Header{Revision: 9})
	b = AppendVarint(b, WatchID, ^uint64(0))
	b = AppendBool(AppendBool(b, WatchCreated, true), WatchCanceled, true)
	b = AppendVarint(b, WatchCompactRevision, 5)
	b = AppendString(b, WatchCancelReason, "because")
	b = AppendKV(AppendBool(b, WatchFragment, true), WatchEvents, ev)
	if w := marshal(t, want); !bytes.Equal(b, w) {
		t.Fatalf("%x, want %x", b, w)
	}
	if len(AppendString(AppendBytes(nil, 1, nil), 2, "")) != 0 {
		t.Fatal("empty bytes and strings are not left out")
	}
}

func prevKVs(put *pb.PutResponse) []*mvccpb.KeyValue {
	if put.PrevKv == nil {
		return nil
	}
	return []*mvccpb.KeyValue{put.PrevKv}
}
