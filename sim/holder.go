package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/check"
	"github.com/cairnkv/cairn/command"
	v3 "github.com/cairnkv/cairn/v3"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// keysOfLease is how many keys a leaseholder puts with a lease, besides the first.
const keysOfLease = 3

// furnish puts more keys with a lease. Some are put again, so that they stay with it or leave it.
func (c *tenants) furnish(t *tenant) {
	for i := range keysOfLease {
		k := &check.Tenancy{ID: t.ID, Key: fmt.Sprintf("%s+%d", t.Key, i), Bound: true}
		rev, _, err := c.put(t, &pb.PutRequest{Key: []byte(k.Key), Lease: t.ID})
		if err != nil {
			t.unsure = true
			return
		}
		k.Since = rev
		switch c.rng.IntN(4) {
		case 0:
			err = c.putAgain(t, k)
		case 1:
			err = c.free(t, k)
		case 2:
			err = c.replace(t, k)
		}
		if err != nil {
			t.unsure = true // nobody knows what the key hangs on
			return
		}
		if k.Until == check.Forever {
			t.freed = append(t.freed, k)
		} else {
			t.more = append(t.more, k)
		}
	}
}

// put puts a key by any member.
func (c *tenants) put(t *tenant, r *pb.PutRequest) (rev int64, prevLease int64, err error) {
	var reply pb.PutResponse
	err = c.s.submit(pick(c.rng, c.s.members), command.Put, r, &reply)
	c.s.ended(t, err)
	return reply.GetHeader().GetRevision(), reply.GetPrevKv().GetLease(), err
}

// putAgain puts a key so that it stays with the lease.
func (c *tenants) putAgain(t *tenant, k *check.Tenancy) error {
	_, _, err := c.put(t, &pb.PutRequest{
		Key: []byte(k.Key), IgnoreLease: true, IgnoreValue: c.rng.IntN(2) == 0,
	})
	return err
}

// free puts a key without its lease: it stays for good.
func (c *tenants) free(t *tenant, k *check.Tenancy) error {
	rev, had, err := c.put(t, &pb.PutRequest{Key: []byte(k.Key), PrevKv: true})
	if err != nil {
		return err
	}
	if had != t.ID && c.s.now < t.Until {
		c.s.fail(fmt.Errorf("%s was put with the lease %x, and has %x", k.Key, t.ID, had))
	}
	k.Since, k.Until, k.Bound = rev, check.Forever, false
	return nil
}

// replace deletes a key, and puts it without its lease.
func (c *tenants) replace(t *tenant, k *check.Tenancy) error {
	err := c.s.submit(pick(c.rng, c.s.members), command.DeleteRange,
		&pb.DeleteRangeRequest{Key: []byte(k.Key)}, &pb.DeleteRangeResponse{})
	if err != nil {
		return err
	}
	rev, _, err := c.put(t, &pb.PutRequest{Key: []byte(k.Key)})
	k.Since, k.Until, k.Bound = rev, check.Forever, false
	return err
}

// ended takes an error. Of a lease that was promised to live nobody may say that it is gone.
func (s *Sim) ended(t *tenant, err error) {
	if errors.Is(err, cairn.ErrLeaseNotFound) && s.now < t.Until && !t.Ended {
		s.fail(fmt.Errorf("lease %x is said to be gone %v before the time that was promised", t.ID,
			t.Until-s.now))
	}
}

// describe asks how long a lease lives, and which keys it has.
func (c *tenants) describe(t *tenant) {
	m := pick(c.rng, c.s.members)
	v, err := c.s.rpc(m, "time to live", keepTimeout,
		func(ctx context.Context, _ *life, b v3.Backend) (any, error) {
			if b.Learner() {
				return nil, cairn.ErrNotForLearner
			}
			return b.TimeToLive(ctx, t.ID, true)
		})
	c.s.logf("time to live of %x by %s: %v %v", t.ID, m.name, v, err)
	c.s.ended(t, err)
	if err != nil || t.Ended {
		return
	}
	l := v.(v3.Lease)
	// It is rounded down to seconds, of a clock that may go fast.
	left := time.Duration(float64(l.TTL+1) / (1 - c.s.opts.Faults.Drift) * float64(time.Second))
	if c.s.now+left < t.Until {
		c.s.fail(fmt.Errorf("lease %x is said to have %d s left, and was promised %v more", t.ID,
			l.TTL, t.Until-c.s.now))
	}
	var want []string
	for _, k := range append(t.more, &t.Tenancy) {
		want = append(want, k.Key)
	}
	slices.Sort(want)
	var got []string
	for _, k := range l.Keys {
		got = append(got, string(k))
	}
	if !t.unsure && !slices.Equal(got, want) {
		c.s.fail(fmt.Errorf("lease %x is said to have the keys %q, and has %q", t.ID, got, want))
	}
}
