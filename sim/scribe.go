package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	v3 "github.com/cairnkv/cairn/v3"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

const (
	// scribePrefix is of the keys of scribes; keysOfScribe is how many one has.
	scribePrefix = "scribe/"
	keysOfScribe = 7
	scribeThink  = 80 * time.Millisecond
)

// scribe is a client with keys that nobody else knows of. It keeps notes of what they have, so that
// it may ask for anything and knows the answer: every field of it. When it does not know whether
// something was done it goes on with other keys.
type scribe struct {
	s       *Sim
	number  int
	rng     *rand.Rand
	chapter int
	count   int
	notes   notebook
	newest  int64 // revision, as last seen
}

func (c *scribe) run() {
	c.notes = notebook{}
	for c.s.load.working() && c.s.failure == nil {
		var err error
		switch c.rng.IntN(6) {
		case 0:
			err = c.put()
		case 1:
			err = c.deleteRange()
		case 2, 3:
			err = c.txn()
		default:
			err = c.read()
		}
		if err != nil && !undone(err) {
			c.chapter++
			c.notes = notebook{}
		}
		c.s.rest(between(c.rng, 0, scribeThink))
	}
}

func (c *scribe) key(i int) []byte {
	return fmt.Appendf(nil, "%s%d/%d/%c", scribePrefix, c.number, c.chapter, 'a'+i)
}

// keys are some in a row: [from, to).
func (c *scribe) keys() (from, to []byte) {
	i := c.rng.IntN(keysOfScribe)
	return c.key(i), c.key(i + 1 + c.rng.IntN(keysOfScribe-i))
}

func (c *scribe) value() []byte {
	c.count++
	return fmt.Appendf(nil, "%03d of %d", c.rng.IntN(1000), c.count)
}

// answered holds an answer against the notes, in which the request is done only now. wrote says
// that it has changed something.
func (c *scribe) answered(
	what string, h *pb.ResponseHeader, wrote bool, want, got proto.Message,
) {
	if rev := h.GetRevision(); rev < c.newest || wrote && rev == c.newest {
		c.s.fail(fmt.Errorf("scribe %d: %s has revision %d after %d", c.number, what, rev,
			c.newest))
	}
	c.newest = h.GetRevision()
	clearHeaders(got)
	c.s.logf("scribe %d: %s", c.number, what)
	if !proto.Equal(want, got) {
		c.s.fail(fmt.Errorf("scribe %d: the answer to %s\nis     %v\nand not %v", c.number, what,
			got, want))
	}
}

func (c *scribe) put() error {
	r := &pb.PutRequest{Key: c.key(c.rng.IntN(keysOfScribe)), PrevKv: c.rng.IntN(2) == 0}
	if c.notes[string(r.Key)] != nil && c.rng.IntN(4) == 0 {
		r.IgnoreValue = true
	} else {
		r.Value = c.value()
	}
	var reply pb.PutResponse
	err := c.s.submit(pick(c.rng, c.s.members), command.Put, r, &reply)
	if err == nil {
		h := reply.Header
		c.answered(fmt.Sprint(r), h, true, c.notes.put(r, h.GetRevision()), &reply)
	}
	return err
}

func (c *scribe) deleteRange() error {
	r := &pb.DeleteRangeRequest{PrevKv: c.rng.IntN(2) == 0}
	r.Key, r.RangeEnd = c.keys()
	var reply pb.DeleteRangeResponse
	err := c.s.submit(pick(c.rng, c.s.members), command.DeleteRange, r, &reply)
	if err == nil {
		want := c.notes.deleteRange(r)
		c.answered(fmt.Sprint(r), reply.Header, want.Deleted > 0, want, &reply)
	}
	return err
}

func (c *scribe) txn() error {
	r := c.newTxn(c.rng.Perm(keysOfScribe), true)
	var reply pb.TxnResponse
	err := c.s.submit(pick(c.rng, c.s.members), command.Txn, r, &reply)
	if err == nil {
		want, wrote := c.notes.txn(r, reply.Header.GetRevision())
		c.answered(fmt.Sprint(r), reply.Header, wrote, want, &reply)
	}
	return err
}

// newTxn makes a transaction; no two of its operations write one of the keys, which are numbers.
func (c *scribe) newTxn(keys []int, outer bool) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range c.rng.IntN(4) {
		t.Compare = append(t.Compare, c.compare())
	}
	for _, branch := range []*[]*pb.RequestOp{&t.Success, &t.Failure} {
		free := keys
		for range c.rng.IntN(4) {
			var op *pb.RequestOp
			switch p := c.rng.IntN(8); {
			case p < 3:
				op = putOp(string(c.key(free[0])), string(c.value()), 0)
				op.GetRequestPut().PrevKv = p == 0
			case p < 5:
				op = &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
					RequestDeleteRange: &pb.DeleteRangeRequest{
						Key: c.key(free[0]), RangeEnd: c.key(free[0] + 1), PrevKv: p == 3,
					},
				}}
			case p == 5 && outer:
				op = &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{
					RequestTxn: c.newTxn(free[:len(free)/2], false),
				}}
				free = free[len(free)/2-1:]
			default:
				op = &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: c.newRange()}}
			}
			*branch = append(*branch, op)
			if free = free[1:]; len(free) < 2 {
				break
			}
		}
	}
	return t
}

// compare is a condition that mostly holds.
func (c *scribe) compare() *pb.Compare {
	key := c.key(c.rng.IntN(keysOfScribe))
	kv := c.notes[string(key)]
	cmp := &pb.Compare{Key: key, Target: pick(c.rng, []pb.Compare_CompareTarget{
		pb.Compare_VERSION, pb.Compare_CREATE, pb.Compare_MOD, pb.Compare_VALUE,
	})}
	switch off := c.rng.Int64N(2) * c.rng.Int64N(2); cmp.Target {
	case pb.Compare_VERSION:
		cmp.TargetUnion = &pb.Compare_Version{Version: kv.GetVersion() + off}
	case pb.Compare_CREATE:
		cmp.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: kv.GetCreateRevision() + off}
	case pb.Compare_MOD:
		cmp.TargetUnion = &pb.Compare_ModRevision{ModRevision: kv.GetModRevision() + off}
	default:
		cmp.TargetUnion = &pb.Compare_Value{Value: append(kv.GetValue(), make([]byte, off)...)}
	}
	if c.rng.IntN(4) == 0 {
		cmp.Result = pb.Compare_CompareResult(c.rng.IntN(4))
	}
	if c.rng.IntN(4) == 0 {
		cmp.Key, cmp.RangeEnd = c.keys()
		cmp.Result = pb.Compare_GREATER
	}
	return cmp
}

// newRange is a question about some keys.
func (c *scribe) newRange() *pb.RangeRequest {
	r := &pb.RangeRequest{Limit: c.rng.Int64N(2) * c.rng.Int64N(keysOfScribe)}
	r.Key, r.RangeEnd = c.keys()
	switch c.rng.IntN(6) {
	case 0:
		r.KeysOnly = true
	case 1:
		r.CountOnly = true
	case 2:
		r.SortOrder = pb.RangeRequest_DESCEND
	case 3:
		r.SortOrder, r.SortTarget = pb.RangeRequest_ASCEND, pb.RangeRequest_VALUE
	case 4:
		r.MinModRevision = max(c.newest-c.rng.Int64N(100), 0)
	}
	return r
}

// read asks for a range in one of the ways that there are.
func (c *scribe) read() error {
	r := c.newRange()
	q := &cairn.RangeRequest{
		Key: r.Key, End: r.RangeEnd, Limit: r.Limit, KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
		SortOrder: cairn.SortOrder(r.SortOrder), SortTarget: cairn.SortTarget(r.SortTarget),
		MinModRevision: r.MinModRevision,
	}
	streamed := r.SortOrder == 0 && r.MinModRevision == 0 && c.rng.IntN(2) == 0
	var reply pb.RangeResponse
	_, err := c.s.rpc(pick(c.rng, c.s.members), "scribe's range", callTimeout,
		func(ctx context.Context, l *life, b v3.Backend) (any, error) {
			if err := barrier(l, b); err != nil {
				return nil, err
			}
			merge := func(piece []byte) error {
				return proto.UnmarshalOptions{Merge: true}.Unmarshal(piece, &reply)
			}
			if streamed {
				return nil, b.StreamRange(ctx, q, merge)
			}
			whole, err := b.AppendRange(ctx, nil, q, v3.Unbounded)
			if err != nil {
				return nil, err
			}
			return nil, merge(whole)
		})
	if err != nil {
		return nil // nothing was changed
	}
	c.answered(fmt.Sprint(r), reply.Header, false, c.notes.read(r), &reply)
	return nil
}
