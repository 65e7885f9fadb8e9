package server

import (
	"context"
	"errors"
	"sync"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/peer"
	"github.com/cairnkv/cairn/task"
	v3 "github.com/cairnkv/cairn/v3"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// leaderRetry is the pause before the leader is asked again that did not answer or is none.
const leaderRetry = 50 * time.Millisecond

// KeepAlive renews a lease at the leader, wherever it is. A lease that has run out is waited for:
// its end is under way, and a client that is told so finds its keys gone (etcd waits too).
func (b *backend) KeepAlive(ctx context.Context, id cairn.LeaseID) (int64, error) {
	var ttl int64
	err := b.atLeader(ctx, func(ctx context.Context, leader cairn.MemberID) (err error) {
		if leader == b.machine.Local() {
			var ttls []int64
			if ttls, err = b.Renew(ctx, []cairn.LeaseID{id}); err == nil {
				ttl = ttls[0]
			}
			return err
		}
		ttl, err = b.renewer.renew(ctx, b.cluster.client, leader, id)
		return err
	})
	if err != nil {
		return 0, err
	}
	if ttl <= 0 {
		return 0, cairn.ErrLeaseNotFound
	}
	return ttl, nil
}

// atLeader calls fn with the leader until it is not ErrNotLeader or a failure to reach it. The
// errors are ErrTimeout, ctx's and fn's.
func (b *backend) atLeader(
	ctx context.Context, fn func(ctx context.Context, leader cairn.MemberID) error,
) error {
	bounded, cancel := clock.WithTimeout(ctx, b.clk, b.timeout)
	defer cancel()
	for {
		leader := b.node.Status().Leader
		err := error(cairn.ErrNoLeader)
		if leader != 0 {
			err = fn(bounded, leader)
		}
		api := (*cairn.Error)(nil)
		final := errors.As(err, &api) && api != cairn.ErrNotLeader && api != cairn.ErrNoLeader &&
			api != cairn.ErrLeaderChanged &&
			(api != cairn.ErrStopped || leader == b.machine.Local())
		if err == nil || final {
			return err
		}
		timer := b.clk.NewTimer(leaderRetry)
		if b.cluster.tasks.Wait(timer.C(), bounded.Done()) != task.Timer {
			timer.Stop()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return cairn.ErrTimeout
		}
	}
}

// Renew renews leases here, if this member leads (peer.Backend). The renewals count only if it
// still led when it had made them: one that was paused meanwhile may have a successor that has
// ended the leases. A read point alone does not tell: a member that follows by now gets one too.
//
// A leader whose disk is slow applies its entries later than the members that have made them
// durable: it may not know yet of a lease that one of them has granted. When it has heard that it
// leads it has applied what was answered before, and looks once more.
func (b *backend) Renew(ctx context.Context, ids []cairn.LeaseID) ([]int64, error) {
	ttls, unknown, err := b.renewKnown(ctx, ids)
	if err == nil && unknown {
		ttls, _, err = b.renewKnown(ctx, ids)
	}
	return ttls, err
}

// renewKnown renews leases as far as this member has applied that they were granted; unknown says
// that some are not there.
func (b *backend) renewKnown(
	ctx context.Context, ids []cairn.LeaseID,
) (ttls []int64, unknown bool, err error) {
	term := b.leading.since()
	if term == 0 {
		return nil, false, cairn.ErrNotLeader
	}
	ttls = make([]int64, len(ids))
	clear := &etcdserverpb.LeaseCheckpointRequest{}
	for i, id := range ids {
		r, err := b.lessor.Renew(b.clk.Now(), id)
		if err != nil {
			return nil, false, err
		}
		ttls[i] = r.TTL
		unknown = unknown || r.TTL <= 0 && r.Ending == nil
		if r.Ending != nil {
			if ttls[i], err = b.awaitEnd(ctx, r.Ending, len(ids) == 1); err != nil {
				return nil, false, err
			}
		}
		if r.ClearCheckpoint {
			clear.Checkpoints = append(clear.Checkpoints, &etcdserverpb.LeaseCheckpoint{ID: id})
		}
		if r.TTL > 0 {
			b.metrics.LeasesRenewed.Inc()
		}
	}
	if len(clear.Checkpoints) > 0 {
		if err := b.proposeAndWait(ctx, command.LeaseCheckpoint, clear); err != nil {
			return nil, false, err
		}
	} else if err := b.barrier(ctx); err != nil {
		return nil, false, err
	}
	if b.leading.since() != term {
		return nil, false, cairn.ErrNotLeader
	}
	return ttls, unknown, nil
}

// awaitEnd waits for the end of a lease that has run out, unless others are renewed with it.
func (b *backend) awaitEnd(
	ctx context.Context, ending <-chan struct{}, alone bool,
) (int64, error) {
	if !alone {
		return peer.Ending, nil
	}
	if b.cluster.tasks.Wait(nil, ending, ctx.Done()) == 0 {
		return peer.NotFound, nil
	}
	return 0, ctx.Err()
}

// renewer gathers the renewals that clients ask of a follower: one request to the leader is under
// way at a time, and what comes meanwhile goes with the next.
type renewer struct {
	clk   clock.Clock
	tasks task.Tasks

	mu      sync.Mutex // guards what follows
	waiting []*renewal
	busy    bool
}

type renewal struct {
	id     cairn.LeaseID
	client peer.Client
	leader cairn.MemberID
	done   chan struct{} // closed when the rest is set
	ttl    int64
	err    error
}

func (r *renewer) renew(
	ctx context.Context, client peer.Client, leader cairn.MemberID, id cairn.LeaseID,
) (int64, error) {
	w := &renewal{id: id, client: client, leader: leader, done: make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, w)
	if !r.busy {
		r.busy = true
		r.tasks.Go("renewals", r.run)
	}
	r.mu.Unlock()
	if r.tasks.Wait(nil, w.done, ctx.Done()) != 0 {
		return 0, ctx.Err()
	}
	if w.err == nil && w.ttl == peer.Ending {
		ttls, err := client.Renew(ctx, leader, []cairn.LeaseID{id}) // alone, and waits for the end
		if err != nil {
			return 0, err
		}
		return ttls[0], nil
	}
	return w.ttl, w.err
}

// renewTimeout bounds one request for renewals: who waits asks again.
const renewTimeout = 2 * time.Second

// run sends requests until nobody waits.
func (r *renewer) run() {
	for {
		r.mu.Lock()
		batch := r.waiting[:min(len(r.waiting), peer.MaxRenewals)]
		r.waiting = r.waiting[len(batch):]
		if len(batch) == 0 {
			r.waiting, r.busy = nil, false
		}
		r.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		ids := make([]cairn.LeaseID, len(batch))
		for i, w := range batch {
			ids[i] = w.id
		}
		last := batch[len(batch)-1] // knows the leader best
		ctx, cancel := clock.WithTimeout(context.Background(), r.clk, renewTimeout)
		ttls, err := last.client.Renew(ctx, last.leader, ids)
		cancel()
		for i, w := range batch {
			if w.err = err; err == nil {
				w.ttl = ttls[i]
			}
			close(w.done)
		}
	}
}

// Lease describes a lease, if this member leads (peer.Backend).
func (b *backend) Lease(ctx context.Context, id cairn.LeaseID, keys bool) (peer.Lease, error) {
	term := b.leading.since()
	if term == 0 {
		return peer.Lease{}, cairn.ErrNotLeader
	}
	if err := b.barrier(ctx); err != nil {
		return peer.Lease{}, err
	}
	info, ok := b.machine.Leases().Lookup(id)
	left := b.lessor.Remaining(b.clk.Now(), id)
	if b.leading.since() != term { // whose clocks are others', and were asked for nothing
		return peer.Lease{}, cairn.ErrNotLeader
	}
	if !ok || left < 0 {
		return peer.Lease{}, cairn.ErrLeaseNotFound
	}
	l := peer.Lease{TTL: left, Granted: info.TTL}
	if keys {
		for _, k := range b.machine.Leases().Keys(id) {
			l.Keys = append(l.Keys, []byte(k))
		}
	}
	return l, nil
}

func (b *backend) TimeToLive(
	ctx context.Context, id cairn.LeaseID, keys bool,
) (l v3.Lease, err error) {
	err = b.atLeader(ctx, func(ctx context.Context, leader cairn.MemberID) error {
		var got peer.Lease
		var err error
		if leader == b.machine.Local() {
			got, err = b.Lease(ctx, id, keys)
		} else {
			got, err = b.cluster.client.Lease(ctx, leader, id, keys)
		}
		l = v3.Lease(got)
		return err
	})
	return l, err
}
