package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/check"
	"github.com/cairnkv/cairn/command"
	v3 "github.com/cairnkv/cairn/v3"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

const (
	// kvPrefix is of the keys that workers write, and nobody else.
	kvPrefix = "kv/"
	// epochTime is for how long all workers share some keys (Options.Keys): few, so that they meet.
	// Then come new ones, so that the history of each stays short enough to be checked.
	epochTime = 6 * time.Second
	// moderateThink is the pause of a worker while the cluster recovers.
	moderateThink = 150 * time.Millisecond
)

// worker sends one request after the other.
type worker struct {
	s      *Sim
	id     int
	rng    *rand.Rand
	at     *member
	count  int
	known  map[string]int64 // key -> revision of modification, as last seen
	newest int64            // revision, as last seen
}

func (w *worker) run() {
	for w.s.load.working() {
		w.step()
		w.s.rest(between(w.rng, 0, 2*w.think()))
	}
}

// think is how long to wait between requests. While the cluster recovers the load is moderate: with
// next to no entries kept for those that are behind, they could not catch up with more.
func (w *worker) think() time.Duration {
	if w.s.nemesis.over {
		return max(w.s.opts.Think, moderateThink)
	}
	return w.s.opts.Think
}

// isKV says whether a key is one of the workers'.
func isKV(key string) bool { return strings.HasPrefix(key, kvPrefix) }

func (w *worker) key() string {
	return fmt.Sprintf("%s%d/%d", kvPrefix, w.s.now/epochTime, w.rng.IntN(w.s.opts.Keys))
}

// past is a revision that was.
func (w *worker) past() int64 {
	if near := w.s.opts.NearPast; near > 0 && w.newest > near && w.rng.IntN(4) > 0 {
		return w.newest - w.rng.Int64N(near)
	}
	return 1 + w.rng.Int64N(w.newest)
}

// op returns a new operation; a value to put is one that no other has.
func (w *worker) op(kind check.Kind, key string) *check.Op {
	o := &check.Op{Client: w.id, Kind: kind, Key: key}
	if kind == check.Put || kind == check.Swap {
		w.count++
		o.Value = fmt.Sprintf("%d-%d", w.id, w.count)
		if n := w.s.opts.ValueBytes; n > 0 {
			o.Value += strings.Repeat("x", w.rng.IntN(n))
		}
	}
	return o
}

// step sends one request, most often to the member of the last one.
func (w *worker) step() {
	if w.at == nil || w.rng.IntN(8) == 0 {
		w.at = pick(w.rng, w.s.members)
	}
	key := w.key()
	if w.s.opts.Aside {
		if w.id%2 == 0 {
			w.get(w.op(check.Get, key))
			return
		}
		for tries := 0; tries < len(w.s.members) && w.s.nemesis.leads(w.at); tries++ {
			w.at = pick(w.rng, w.s.members)
		}
	}
	switch p := w.rng.IntN(100); {
	case p < 25:
		w.put(w.op(check.Put, key))
	case p < 35:
		w.delete(w.op(check.Delete, key))
	case p < 50:
		w.swap(w.op(check.Swap, key))
	case p < 60:
		w.pair(key)
	case p < 64:
		w.readPair(key)
	case p < 69:
		w.readAll()
	case p < 82:
		w.get(w.op(check.Get, key))
	case p < 93 || w.newest == 0:
		w.get(w.op(check.GetSerializable, key))
	case p < 97:
		o := w.op(check.GetPast, key)
		o.Expect = w.past()
		w.get(o)
	default:
		w.putIfPast(w.op(check.Put, key))
	}
}

// end notes what came of operations.
func (w *worker) end(err error, revision int64, ops ...*check.Op) {
	if err != nil {
		if undone(err) {
			w.s.load.refused(ops...)
		} else {
			w.s.load.unanswered(ops...)
		}
		w.at = nil
		w.s.logf("c%d: %v: %v", w.id, ops[0].Kind, err)
		return
	}
	w.newest = max(w.newest, revision)
	for _, o := range ops {
		switch {
		case o.Writes() && o.Kind != check.Delete:
			w.known[o.Key] = revision
		case o.Kind == check.Get || o.Kind == check.Swap || o.Kind == check.GetSerializable:
			w.known[o.Key] = o.Found.Modified
		}
	}
	w.s.load.answered(revision, ops...)
	w.s.logf("%v", ops[0])
}

// valueOf converts what a key was found to have; an empty list is nothing.
func valueOf(kvs ...*mvccpb.KeyValue) check.Value {
	if len(kvs) == 0 || kvs[0].GetModRevision() == 0 {
		return check.Value{}
	}
	kv := kvs[0]
	return check.Value{Value: string(kv.GetValue()), Created: kv.GetCreateRevision(),
		Modified: kv.GetModRevision(), Version: kv.GetVersion()}
}

func (w *worker) put(o *check.Op) {
	w.s.load.begin(o)
	var r pb.PutResponse
	withPrev := w.rng.IntN(2) == 0
	err := w.s.submit(w.at, command.Put,
		&pb.PutRequest{Key: []byte(o.Key), Value: []byte(o.Value), PrevKv: withPrev}, &r)
	o.Found, o.HasFound = valueOf(r.PrevKv), withPrev
	w.end(err, r.GetHeader().GetRevision(), o)
}

func (w *worker) delete(o *check.Op) {
	w.s.load.begin(o)
	var r pb.DeleteRangeResponse
	err := w.s.submit(w.at, command.DeleteRange,
		&pb.DeleteRangeRequest{Key: []byte(o.Key), PrevKv: true}, &r)
	o.Done, o.Found, o.HasFound = r.Deleted > 0, valueOf(r.PrevKvs...), true
	w.end(err, r.GetHeader().GetRevision(), o)
}

// putOp and getOp are operations of a transaction.
func putOp(key, value string, lease int64) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
		Key: []byte(key), Value: []byte(value), Lease: lease,
	}}}
}

func getOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
		RequestRange: &pb.RangeRequest{Key: []byte(key)},
	}}
}

// ifModified and ifCreated are conditions.
func ifModified(key string, revision int64) *pb.Compare {
	return &pb.Compare{Key: []byte(key), Target: pb.Compare_MOD,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: revision}}
}

func ifCreated(key string, revision int64) *pb.Compare {
	return &pb.Compare{Key: []byte(key), Target: pb.Compare_CREATE,
		TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision}}
}

func (w *worker) swap(o *check.Op) {
	o.Expect = w.known[o.Key]
	w.s.load.begin(o)
	var r pb.TxnResponse
	err := w.s.submit(w.at, command.Txn, &pb.TxnRequest{
		Compare: []*pb.Compare{ifModified(o.Key, o.Expect)},
		Success: []*pb.RequestOp{getOp(o.Key), putOp(o.Key, o.Value, 0)},
		Failure: []*pb.RequestOp{getOp(o.Key)},
	}, &r)
	if err == nil {
		o.Done, o.HasFound = r.Succeeded, true
		o.Found = valueOf(r.Responses[0].GetResponseRange().GetKvs()...)
	}
	w.end(err, r.GetHeader().GetRevision(), o)
}

// putIfPast reads the past and puts, in one transaction: where the past is compacted, nothing may
// be put, on no member.
func (w *worker) putIfPast(o *check.Op) {
	past := getOp(o.Key)
	past.GetRequestRange().Revision = w.past()
	w.s.load.begin(o)
	compacted := w.s.load.compacted
	var r pb.TxnResponse
	err := w.s.submit(w.at, command.Txn, &pb.TxnRequest{
		Success: []*pb.RequestOp{past, putOp(o.Key, o.Value, 0)},
	}, &r)
	if err == nil {
		w.s.load.readPast(past.GetRequestRange().Revision, compacted)
	}
	w.end(err, r.GetHeader().GetRevision(), o)
}

// other is another key than key.
func (w *worker) other(key string) string {
	for {
		if o := w.key(); o != key {
			return o
		}
	}
}

// pair puts two keys in one transaction.
func (w *worker) pair(key string) {
	one, two := w.op(check.Put, key), w.op(check.Put, w.other(key))
	w.s.load.begin(one, two)
	var r pb.TxnResponse
	err := w.s.submit(w.at, command.Txn, &pb.TxnRequest{Success: []*pb.RequestOp{
		putOp(one.Key, one.Value, 0), putOp(two.Key, two.Value, 0),
	}}, &r)
	w.end(err, r.GetHeader().GetRevision(), one, two)
}

// readPair reads two keys in one transaction that only reads, or in one range.
func (w *worker) readPair(key string) {
	one, two := w.op(check.Get, key), w.op(check.Get, w.other(key))
	w.s.load.begin(one, two)
	var r pb.TxnResponse
	_, err := w.s.rpc(w.at, "read txn", callTimeout,
		func(_ context.Context, l *life, b v3.Backend) (any, error) {
			if err := barrier(l, b); err != nil {
				return nil, err
			}
			reply, err := b.AppendReadTxn(context.Background(), nil, &cairn.TxnRequest{
				Success: []cairn.Op{
					{Kind: cairn.OpRange, Range: &cairn.RangeRequest{Key: []byte(one.Key)}},
					{Kind: cairn.OpRange, Range: &cairn.RangeRequest{Key: []byte(two.Key)}},
				},
			})
			if err != nil {
				return nil, err
			}
			return nil, proto.Unmarshal(reply, &r)
		})
	if err == nil {
		for i, o := range []*check.Op{one, two} {
			o.Found, o.HasFound = valueOf(r.Responses[i].GetResponseRange().GetKvs()...), true
		}
	}
	w.end(err, r.GetHeader().GetRevision(), one, two)
}

// readAll reads all keys of now in one range.
func (w *worker) readAll() {
	prefix := fmt.Sprintf("%s%d/", kvPrefix, w.s.now/epochTime)
	ops := make([]*check.Op, w.s.opts.Keys)
	for i := range ops {
		ops[i] = w.op(check.Get, fmt.Sprintf("%s%d", prefix, i))
	}
	w.s.load.begin(ops...)
	var r pb.RangeResponse
	_, err := w.s.rpc(w.at, "range", callTimeout,
		func(ctx context.Context, l *life, b v3.Backend) (any, error) {
			if err := barrier(l, b); err != nil {
				return nil, err
			}
			reply, err := b.AppendRange(ctx, nil, &cairn.RangeRequest{
				Key: []byte(prefix), End: []byte(prefix[:len(prefix)-1] + "0"),
			}, v3.Unbounded)
			if err != nil {
				return nil, err
			}
			return nil, proto.Unmarshal(reply, &r)
		})
	for _, o := range ops {
		o.HasFound = true
		for _, kv := range r.Kvs {
			if string(kv.Key) == o.Key {
				o.Found = valueOf(kv)
			}
		}
	}
	w.end(err, r.GetHeader().GetRevision(), ops...)
}

// refused takes the error of a read of the past, which was behind a barrier: what is not compacted,
// and was there before, must be read. By a task of the member.
func (w *worker) refused(l *life, revision int64, err error) {
	compacted := l.server.Machine().Store().CompactRev()
	if errors.Is(err, cairn.ErrFutureRev) ||
		errors.Is(err, cairn.ErrCompacted) && revision >= compacted {
		w.s.fail(fmt.Errorf("%s refuses to read revision %d, compacted at %d: %w", l.m.name,
			revision, compacted, err))
	}
}

// get reads one key, of the newest state, of what the member has, or of the past.
func (w *worker) get(o *check.Op) {
	w.s.load.begin(o)
	compacted := w.s.load.compacted
	var r pb.RangeResponse
	_, err := w.s.rpc(w.at, o.Kind.String(), callTimeout,
		func(ctx context.Context, l *life, b v3.Backend) (any, error) {
			req := &cairn.RangeRequest{Key: []byte(o.Key)}
			if o.Kind == check.GetPast {
				req.Revision = o.Expect
			}
			if o.Kind != check.GetSerializable {
				if err := barrier(l, b); err != nil {
					return nil, err
				}
			}
			reply, err := b.AppendRange(ctx, nil, req, v3.Unbounded)
			if err != nil {
				w.refused(l, req.Revision, err)
				return nil, err
			}
			return nil, proto.Unmarshal(reply, &r)
		})
	o.Found, o.HasFound = valueOf(r.Kvs...), true
	if err == nil && o.Kind == check.GetPast {
		w.s.load.readPast(o.Expect, compacted)
	}
	w.end(err, r.GetHeader().GetRevision(), o)
}
