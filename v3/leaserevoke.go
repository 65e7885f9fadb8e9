package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/command"
)

func decodeLeaseRevoke(c *call) error {
	return proto.Unmarshal(c.req, new(pb.LeaseRevokeRequest))
}

// serveLeaseRevoke answers Lease.LeaseRevoke.
func (d *Door) serveLeaseRevoke(ctx context.Context, c *call) (*[]byte, error) {
	return d.propose(ctx, c, command.LeaseRevoke)
}
