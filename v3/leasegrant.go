package v3

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/command"
)

// serveLeaseGrant answers Lease.LeaseGrant. What every member must do alike is decided before the
// request is replicated: the id, if the client leaves it open, and the shortest time to live.
func (d *Door) serveLeaseGrant(c *call) {
	r := c.msg.(*pb.LeaseGrantRequest)
	if r.ID == 0 || r.TTL < d.opts.MinLeaseTTL {
		for r.ID == 0 {
			r.ID = d.opts.NewLeaseID()
		}
		r.TTL = max(r.TTL, d.opts.MinLeaseTTL)
		b, err := proto.Marshal(r)
		if err != nil {
			c.fail(fmt.Errorf("v3: encode a lease grant: %w", err))
			return
		}
		c.req = b
	}
	c.propose(command.LeaseGrant)
}
