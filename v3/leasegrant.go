package v3

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/command"
)

// serveLeaseGrant answers Lease.LeaseGrant. What every member must do alike is decided before the
// request is replicated: the id, if the client leaves it open, and the shortest time to live.
func (d *Door) serveLeaseGrant(ctx context.Context, c *call) (*[]byte, error) {
	r := c.msg.(*pb.LeaseGrantRequest)
	if r.ID == 0 || r.TTL < d.opts.MinLeaseTTL {
		for r.ID == 0 {
			r.ID = d.opts.NewLeaseID()
		}
		r.TTL = max(r.TTL, d.opts.MinLeaseTTL)
		b, err := proto.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("v3: encode a lease grant: %w", err)
		}
		c.req = b
	}
	return d.propose(ctx, c, command.LeaseGrant)
}
