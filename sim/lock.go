package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/check"
	"github.com/cairnkv/cairn/command"
	v3 "github.com/cairnkv/cairn/v3"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

const (
	// lockPrefix is of the keys of those who wait for the one lock; fencedKey is what its holder
	// writes, under the condition that it still is the holder.
	lockPrefix = "lock/"
	fencedKey  = "fenced"
	// lockPoll is how often one who waits looks; lockPatience for how long.
	lockPoll     = 100 * time.Millisecond
	lockPatience = 15 * time.Second
)

// locker takes and releases the lock.
type locker struct {
	s      *Sim
	number int
	rng    *rand.Rand
	count  int
	t      *tenant
}

func (k *locker) run() {
	for k.s.load.working() {
		if !k.hold() {
			k.s.rest(retryPause)
		}
	}
}

// hold takes the lock once, writes some times as its holder, and lets it go, or lets it end with
// its lease.
func (k *locker) hold() bool {
	k.count++
	k.t = &tenant{Tenancy: check.Tenancy{ID: int64(k.number+1)<<48 | int64(k.count)}}
	k.t.Key = fmt.Sprintf("%s%x", lockPrefix, k.t.ID)
	began := k.s.now
	var granted pb.LeaseGrantResponse
	if k.s.submit(k.member(), command.LeaseGrant,
		&pb.LeaseGrantRequest{ID: k.t.ID, TTL: leaseTTL}, &granted) != nil {
		return false
	}
	k.t.Until = k.s.promised(began, granted.TTL)
	var put pb.TxnResponse
	if k.s.submit(k.member(), command.Txn, &pb.TxnRequest{
		Compare: []*pb.Compare{ifCreated(k.t.Key, 0)},
		Success: []*pb.RequestOp{putOp(k.t.Key, "", k.t.ID)},
	}, &put) != nil || !put.Succeeded {
		return false
	}
	created := put.Header.Revision
	for end := k.s.now + lockPatience; !k.oldest(created); k.s.rest(lockPoll) {
		if k.s.now > end || !k.s.load.working() {
			return false
		}
		k.s.renew(k.member(), k.t)
	}
	turn := check.Turn{Holder: k.t.Key, From: k.s.now}
	k.use(created)
	turn.To = min(k.s.now, k.t.Until)
	if turn.To > turn.From {
		k.s.load.turns = append(k.s.load.turns, turn)
		k.s.Stats.Turns++
	}
	if k.rng.IntN(3) > 0 {
		var r pb.DeleteRangeResponse
		err := k.s.submit(k.member(), command.DeleteRange,
			&pb.DeleteRangeRequest{Key: []byte(k.t.Key)}, &r)
		return err == nil
	}
	return true
}

func (k *locker) member() *member { return pick(k.rng, k.s.members) }

// use writes as the holder.
func (k *locker) use(created int64) {
	for range 1 + k.rng.IntN(5) {
		var r pb.TxnResponse
		err := k.s.submit(k.member(), command.Txn, &pb.TxnRequest{
			Compare: []*pb.Compare{ifCreated(k.t.Key, created)},
			Success: []*pb.RequestOp{putOp(fencedKey, k.t.Key, 0)},
		}, &r)
		if err != nil || !r.Succeeded {
			return // whoever lost the lock may not write, and did not
		}
		k.s.load.guarded = append(k.s.load.guarded,
			check.Guarded{Holder: k.t.Key, Revision: r.Header.Revision})
		k.s.rest(between(k.rng, 0, lockPoll))
		k.s.renew(k.member(), k.t)
	}
}

// oldest says whether no one was there before.
func (k *locker) oldest(created int64) bool {
	v, err := k.s.rpc(k.member(), "lock", callTimeout,
		func(ctx context.Context, l *life, b v3.Backend) (any, error) {
			if err := barrier(l, b); err != nil {
				return nil, err
			}
			reply, err := b.AppendRange(ctx, nil, &cairn.RangeRequest{
				Key: []byte(lockPrefix), End: []byte("lock0"), Limit: 1,
				SortTarget: cairn.SortByCreate, SortOrder: cairn.SortAscend,
			}, v3.Unbounded)
			if err != nil {
				return nil, err
			}
			var r pb.RangeResponse
			return &r, proto.Unmarshal(reply, &r)
		})
	if err != nil {
		return false
	}
	kvs := v.(*pb.RangeResponse).Kvs
	return len(kvs) > 0 && kvs[0].CreateRevision == created
}
