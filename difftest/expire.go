package difftest

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// expireTimeout is how long a lease of the least TTL may live, expirePoll how often it is
	// looked at.
	expireTimeout = 20 * time.Second
	expirePoll    = 20 * time.Millisecond
)

// expire grants a lease, ties keys to it and waits until both sides have let it expire. What came
// of it, the deleted keys and their one revision, later operations and the watches tell.
func (r *runner) expire(ctx context.Context, op Op) (string, error) {
	id := op.Request.(*pb.LeaseGrantRequest).ID
	what := r.exchange(ctx, Op{
		Kind: "grant", Member: op.Member, Request: op.Request,
	})
	for _, key := range []string{"/r/z", "/r/expire", "a", "/r/expire/2"} {
		if what == "" {
			what = r.exchange(ctx, Op{Kind: "put", Member: op.Member, Request: &pb.PutRequest{
				Key: []byte(key), Lease: id,
			}})
		}
	}
	if what != "" {
		return what, nil
	}
	err := both(func(i int) error { return r.sides[i].Side(op.Member).awaitExpiry(ctx, id) })
	if err != nil {
		return err.Error(), nil
	}
	return r.exchange(ctx, Op{Kind: "range", Member: op.Member, Request: &pb.RangeRequest{
		Key: []byte{0}, RangeEnd: []byte{0},
	}}), nil
}

// awaitExpiry waits until a lease is gone.
func (s *Side) awaitExpiry(ctx context.Context, id int64) error {
	ctx, cancel := context.WithTimeout(ctx, expireTimeout)
	defer cancel()
	poll := time.NewTicker(expirePoll)
	defer poll.Stop()
	for {
		resp, err := pb.NewLeaseClient(s.conn).LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		if err != nil {
			return fmt.Errorf("side %s: lease %d has not expired: %w", s.Name, id, err)
		}
		found := false
		for _, l := range resp.Leases {
			found = found || l.ID == id
		}
		if !found {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("side %s: lease %d still lives after %v", s.Name, id, expireTimeout)
		}
	}
}
