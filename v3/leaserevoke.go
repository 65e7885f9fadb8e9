package v3

import "github.com/cairnkv/cairn/command"

// serveLeaseRevoke answers Lease.LeaseRevoke.
func (d *Door) serveLeaseRevoke(c *call) { c.propose(command.LeaseRevoke) }
