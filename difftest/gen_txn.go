package difftest

import (
	"bytes"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// txnDepth is how deep a random txn may nest.
	txnDepth = 3

	// tooManyOps is more operations than a txn may have in any configuration of a script.
	tooManyOps = 129
)

// txn returns a txn. Most keep to the rules; some have empty operations, duplicate keys (the keys
// are few, so those come by themselves) or too many operations.
func (g *generator) txn() *pb.TxnRequest {
	t := g.nested(txnDepth)
	if g.chance(0.005) {
		t = deep(t, []int{6, 7, 9, 60, 126, 127, 129, 500}[g.rng.IntN(8)])
	}
	switch {
	case g.chance(0.01):
		for range tooManyOps {
			t.Success = append(t.Success, g.rangeOp())
		}
	case g.chance(0.01):
		for range tooManyOps {
			t.Compare = append(t.Compare, g.compare())
		}
	case g.chance(0.01):
		t.Failure = append(t.Failure, &pb.RequestOp{})
	}
	if puts(t) {
		closeRanges(t)
	}
	return t
}

// deep puts a txn into as many others as levels says. Each level takes from the operations that the
// ones below may have.
func deep(t *pb.TxnRequest, levels int) *pb.TxnRequest {
	for range levels {
		t = &pb.TxnRequest{Success: []*pb.RequestOp{{
			Request: &pb.RequestOp_RequestTxn{RequestTxn: t},
		}}}
	}
	return t
}

// puts tells whether a txn, or one in it, puts a key.
func puts(t *pb.TxnRequest) bool {
	return slices.ContainsFunc(slices.Concat(t.Success, t.Failure), func(op *pb.RequestOp) bool {
		n := op.GetRequestTxn()
		return op.GetRequestPut() != nil || n != nil && puts(n)
	})
}

// closeRanges gives an end to every delete in a txn that has none. Etcd 3.7.3 does not see that
// such a delete meets a put of the same txn, and then goes wrong: if the put is to keep the value
// or the lease of a key that is gone by then, etcd panics, and again at each start; and a
// compaction to the revision of such a txn loses the key that it put.
func closeRanges(t *pb.TxnRequest) {
	for _, op := range slices.Concat(t.Success, t.Failure) {
		if d := op.GetRequestDeleteRange(); d != nil && bytes.Equal(d.RangeEnd, []byte{0}) {
			d.RangeEnd = []byte{0xff, 0xff, 0xff}
		}
		if n := op.GetRequestTxn(); n != nil {
			closeRanges(n)
		}
	}
}

// nested returns a txn whose own txns are at most depth-1 deep.
func (g *generator) nested(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range g.small() {
		t.Compare = append(t.Compare, g.compare())
	}
	readOnly := g.chance(0.15)
	for range g.small() + 1 {
		t.Success = append(t.Success, g.requestOp(depth, readOnly))
	}
	for range g.small() {
		t.Failure = append(t.Failure, g.requestOp(depth, readOnly))
	}
	return t
}

// small returns 0, 1, 2 or 3.
func (g *generator) small() int { return g.rng.IntN(4) * g.rng.IntN(3) / 2 }

// requestOp returns an operation of a txn.
func (g *generator) requestOp(depth int, readOnly bool) *pb.RequestOp {
	p := g.rng.IntN(100)
	switch {
	case readOnly || p < 35:
		return g.rangeOp()
	case p < 70:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: g.put()}}
	case p < 85:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: g.deleteRange(),
		}}
	case depth > 1:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.nested(depth - 1)}}
	}
	return g.rangeOp()
}

// rangeOp returns a range for a txn. One that cannot be answered fails the whole txn, so those are
// rarer than outside of one.
func (g *generator) rangeOp() *pb.RequestOp {
	r := g.rangeRequest()
	if g.chance(0.8) {
		r.Revision = 0
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

// compare returns a comparison of any target with any result, sometimes over a range, sometimes
// with the value of another target than it names, or with none.
func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{
		Key:    g.key(),
		Result: pb.Compare_CompareResult(g.rng.IntN(4)),
		Target: pb.Compare_CompareTarget(g.rng.IntN(5)),
	}
	if g.chance(0.2) {
		c.Key, c.RangeEnd = g.span()
	}
	if g.chance(0.01) {
		c.Result = 9
	}
	if g.chance(0.01) {
		c.Target = 9
	}
	target := c.Target
	if g.chance(0.03) {
		target = pb.Compare_CompareTarget(g.rng.IntN(6))
	}
	switch target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: int64(g.rng.IntN(4))}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.compareRevision()}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.compareRevision()}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.compareLease()}
	}
	return c
}

// compareRevision returns a revision to compare with: none, new or old.
func (g *generator) compareRevision() int64 {
	if g.chance(0.4) {
		return 0
	}
	return Rev(-int64(g.rng.IntN(60)))
}

// compareLease returns a lease to compare with, never one whose id a server picked: which of two
// such ids is the greater one is chance.
func (g *generator) compareLease() int64 {
	if g.chance(0.4) {
		return 0
	}
	return firstLease + int64(g.rng.IntN(leaseCount))
}
