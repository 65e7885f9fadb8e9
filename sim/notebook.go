package sim

import (
	"bytes"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// notebook is a store as simple as can be: what the keys have, and what requests answer. Answers
// have no headers.
type notebook map[string]*mvccpb.KeyValue

// between lists what is in [from, to), in order.
func (n notebook) between(from, to []byte) (list []*mvccpb.KeyValue) {
	for _, key := range slices.Sorted(maps.Keys(n)) {
		if key >= string(from) && key < string(to) {
			list = append(list, n[key])
		}
	}
	return list
}

func (n notebook) put(r *pb.PutRequest, rev int64) *pb.PutResponse {
	reply := &pb.PutResponse{}
	kv := &mvccpb.KeyValue{
		Key: r.Key, Value: r.Value, CreateRevision: rev, ModRevision: rev, Version: 1,
	}
	if old := n[string(r.Key)]; old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		if r.IgnoreValue {
			kv.Value = old.Value
		}
		if r.PrevKv {
			reply.PrevKv = old
		}
	}
	n[string(r.Key)] = kv
	return reply
}

func (n notebook) deleteRange(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	reply := &pb.DeleteRangeResponse{}
	for _, kv := range n.between(r.Key, r.RangeEnd) {
		delete(n, string(kv.Key))
		reply.Deleted++
		if r.PrevKv {
			reply.PrevKvs = append(reply.PrevKvs, kv)
		}
	}
	return reply
}

func (n notebook) read(r *pb.RangeRequest) *pb.RangeResponse {
	found := n.between(r.Key, r.RangeEnd)
	reply := &pb.RangeResponse{Count: int64(len(found))}
	if r.CountOnly {
		return reply
	}
	found = slices.DeleteFunc(found, func(kv *mvccpb.KeyValue) bool {
		return kv.ModRevision < r.MinModRevision
	})
	if r.SortTarget == pb.RangeRequest_VALUE {
		slices.SortFunc(found, func(a, b *mvccpb.KeyValue) int {
			return bytes.Compare(a.Value, b.Value)
		})
	}
	if r.SortOrder == pb.RangeRequest_DESCEND {
		slices.Reverse(found)
	}
	if r.Limit > 0 && int64(len(found)) > r.Limit {
		found, reply.More = found[:r.Limit], true
	}
	for _, kv := range found {
		if r.KeysOnly {
			kv = proto.Clone(kv).(*mvccpb.KeyValue)
			kv.Value = nil
		}
		reply.Kvs = append(reply.Kvs, kv)
	}
	return reply
}

// txn does a transaction. All conditions are about the state before it, those of transactions in it
// too.
func (n notebook) txn(r *pb.TxnRequest, rev int64) (reply *pb.TxnResponse, wrote bool) {
	before := maps.Clone(n)
	var do func(r *pb.TxnRequest) *pb.TxnResponse
	do = func(r *pb.TxnRequest) *pb.TxnResponse {
		reply := &pb.TxnResponse{Succeeded: true}
		branch := r.Success
		if slices.ContainsFunc(r.Compare, func(c *pb.Compare) bool { return !before.holds(c) }) {
			reply.Succeeded, branch = false, r.Failure
		}
		for _, op := range branch {
			out := &pb.ResponseOp{}
			switch op := op.Request.(type) {
			case *pb.RequestOp_RequestPut:
				wrote = true
				out.Response = &pb.ResponseOp_ResponsePut{ResponsePut: n.put(op.RequestPut, rev)}
			case *pb.RequestOp_RequestDeleteRange:
				del := n.deleteRange(op.RequestDeleteRange)
				wrote = wrote || del.Deleted > 0
				out.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: del}
			case *pb.RequestOp_RequestRange:
				out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: n.read(op.RequestRange)}
			case *pb.RequestOp_RequestTxn:
				out.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: do(op.RequestTxn)}
			}
			reply.Responses = append(reply.Responses, out)
		}
		return reply
	}
	return do(r), wrote
}

// holds says whether a condition holds: of a range, for every key that is there.
func (n notebook) holds(c *pb.Compare) bool {
	if len(c.RangeEnd) == 0 {
		kv := n[string(c.Key)]
		return (kv != nil || c.Target != pb.Compare_VALUE) && holdsFor(c, kv)
	}
	found := n.between(c.Key, c.RangeEnd)
	if len(found) == 0 {
		return c.Target != pb.Compare_VALUE && holdsFor(c, nil)
	}
	return !slices.ContainsFunc(found, func(kv *mvccpb.KeyValue) bool { return !holdsFor(c, kv) })
}

func holdsFor(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	order := 0
	switch c.Target {
	case pb.Compare_VERSION:
		order = sign(kv.GetVersion() - c.GetVersion())
	case pb.Compare_CREATE:
		order = sign(kv.GetCreateRevision() - c.GetCreateRevision())
	case pb.Compare_MOD:
		order = sign(kv.GetModRevision() - c.GetModRevision())
	case pb.Compare_VALUE:
		order = bytes.Compare(kv.GetValue(), c.GetValue())
	}
	switch c.Result {
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	}
	return order == 0
}

func sign(n int64) int { return int(max(-1, min(n, 1))) }

// clearHeaders takes the headers out of an answer, and out of those in it.
func clearHeaders(m proto.Message) {
	switch m := m.(type) {
	case *pb.PutResponse:
		m.Header = nil
	case *pb.DeleteRangeResponse:
		m.Header = nil
	case *pb.RangeResponse:
		m.Header = nil
	case *pb.TxnResponse:
		m.Header = nil
		for _, op := range m.Responses {
			switch op := op.Response.(type) {
			case *pb.ResponseOp_ResponsePut:
				clearHeaders(op.ResponsePut)
			case *pb.ResponseOp_ResponseDeleteRange:
				clearHeaders(op.ResponseDeleteRange)
			case *pb.ResponseOp_ResponseRange:
				clearHeaders(op.ResponseRange)
			case *pb.ResponseOp_ResponseTxn:
				clearHeaders(op.ResponseTxn)
			}
		}
	}
}
