package v3

import (
	"context"

	"github.com/cairnkv/cairn/command"
)

// serveLeaseRevoke answers Lease.LeaseRevoke.
func (d *Door) serveLeaseRevoke(ctx context.Context, c *call) (*[]byte, error) {
	return d.propose(ctx, c, command.LeaseRevoke)
}
