package v3

import (
	"context"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/wire"
)

func decodeCompact(c *call) error { return wire.DecodeCompact(c.req, &c.compact) }

// serveCompact answers KV.Compact.
func (d *Door) serveCompact(ctx context.Context, c *call) (*[]byte, error) {
	reply, err := d.propose(ctx, c, command.Compact)
	if err != nil || !c.compact.Physical {
		return reply, err
	}
	if err := d.backend.WaitCompacted(ctx, c.compact.Revision); err != nil {
		pool.Put(reply)
		return nil, err
	}
	return reply, nil
}
