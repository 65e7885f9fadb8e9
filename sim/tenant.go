package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/check"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/task"
	v3 "github.com/cairnkv/cairn/v3"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// leasePrefix is of keys that live as long as their leases.
	leasePrefix = "lease/"
	// leaseTTL is what is asked for, in seconds; leaseLife for how long one is kept alive at most.
	leaseTTL  = 3
	leaseLife = 8 * time.Second
	keepEvery = 700 * time.Millisecond
	// keepTimeout is how long one waits for a renewal before another member is asked.
	keepTimeout = 600 * time.Millisecond
)

// tenant is a lease with its key.
type tenant struct {
	check.Tenancy
	// Of a leaseholder: keys that hang on the lease besides the first, and those that have left it.
	more, freed []*check.Tenancy
	unsure      bool // there may be other keys
}

// promised is when a lease may end that was asked for, or renewed, at a time: clocks run fast.
func (s *Sim) promised(at time.Duration, ttl int64) time.Duration {
	return at + time.Duration(float64(ttl)*float64(time.Second)/(1+s.opts.Faults.Drift))
}

// tenants grants leases, puts a key with each, keeps it alive for a while through members at
// random, and then takes it back or leaves it to end.
type tenants struct {
	s      *Sim
	number int
	rng    *rand.Rand
	count  int
	holder bool // of more than one key
}

func (c *tenants) run() {
	for c.s.load.working() {
		t, ok := c.grant()
		if !ok {
			c.s.rest(retryPause)
			continue
		}
		if c.holder {
			c.furnish(t)
		}
		end := c.s.now + between(c.rng, 0, leaseLife)
		for c.s.load.working() && c.s.now < end {
			c.s.rest(between(c.rng, keepEvery/4, keepEvery))
			if c.holder && c.rng.IntN(2) == 0 {
				c.describe(t)
				continue
			}
			c.s.renew(pick(c.rng, c.s.members), t)
		}
		if c.rng.IntN(3) == 0 {
			c.revoke(t)
		}
	}
}

// newID is an id that no other lease has.
func (c *tenants) newID() int64 {
	c.count++
	return int64(c.number+1)<<32 | int64(c.count)
}

func (c *tenants) grant() (*tenant, bool) {
	t := &tenant{Tenancy: check.Tenancy{ID: c.newID()}}
	t.Key = fmt.Sprintf("%s%d/%x", leasePrefix, c.number, t.ID)
	m := pick(c.rng, c.s.members)
	began := c.s.now
	var r pb.LeaseGrantResponse
	err := c.s.submit(m, command.LeaseGrant, &pb.LeaseGrantRequest{ID: t.ID, TTL: leaseTTL}, &r)
	if err != nil {
		return nil, false
	}
	t.Until = c.s.promised(began, r.TTL)
	var put pb.PutResponse
	err = c.s.submit(m, command.Put, &pb.PutRequest{Key: []byte(t.Key), Lease: t.ID}, &put)
	c.s.ended(t, err)
	if err != nil {
		return nil, false
	}
	t.Since, t.Bound = put.Header.Revision, true
	c.s.load.tenants = append(c.s.load.tenants, t)
	c.s.Stats.Leases++
	return t, true
}

// renew keeps a lease alive once. An answer is a promise that counts from before the question.
func (s *Sim) renew(m *member, t *tenant) {
	began := s.now
	ttl, err := s.keepAlive(m, t.ID)
	s.logf("renewal of %x by %s: %d %v", t.ID, m.name, ttl, err)
	s.ended(t, err)
	if err == nil {
		t.Until = max(t.Until, s.promised(began, ttl))
		s.Stats.Renewals++
	}
}

func (s *Sim) keepAlive(m *member, id int64) (int64, error) {
	ttl, err := s.rpc(m, "keep alive", keepTimeout,
		func(ctx context.Context, l *life, b v3.Backend) (any, error) {
			if b.Learner() {
				return int64(0), cairn.ErrNotForLearner
			}
			type outcome struct {
				ttl int64
				err error
			}
			renewed := make(chan outcome, 1)
			if b.TryKeepAlive(id, func(ttl int64, err error) { renewed <- outcome{ttl, err} }) {
				o, _ := task.Receive(l.on(), renewed)
				return o.ttl, o.err
			}
			return b.KeepAlive(ctx, id)
		})
	if err != nil {
		return 0, err
	}
	return ttl.(int64), nil
}

// revoke takes a lease back: its key is gone with the answer.
func (c *tenants) revoke(t *tenant) {
	t.Ended = true
	for c.s.load.working() {
		var r pb.LeaseRevokeResponse
		err := c.s.submit(pick(c.rng, c.s.members), command.LeaseRevoke,
			&pb.LeaseRevokeRequest{ID: t.ID}, &r)
		if err == nil || errors.Is(err, cairn.ErrLeaseNotFound) {
			return
		}
		c.s.rest(retryPause)
	}
}

// compact compacts from time to time.
func (l *load) compact() {
	rng := stream(l.s.opts.Seed, 5000)
	for l.working() {
		l.s.rest(between(rng, l.s.opts.CompactEvery/4, l.s.opts.CompactEvery))
		newest := l.s.truth.history.Revision
		keep := rng.Int64N(40)
		if newest-keep < 2 {
			continue
		}
		err := l.s.submit(pick(rng, l.s.members), command.Compact,
			&pb.CompactionRequest{Revision: newest - keep}, &pb.CompactionResponse{})
		l.s.logf("compaction of %d: %v", newest-keep, err)
		if err == nil {
			l.compacted = max(l.compacted, newest-keep)
			l.s.Stats.Compactions++
		}
	}
}
