package v3

import (
	"context"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/wire"
)

func decodeDeleteRange(c *call) error { return wire.DecodeDeleteRange(c.req, &c.del) }

// serveDeleteRange answers KV.DeleteRange.
func (d *Door) serveDeleteRange(ctx context.Context, c *call) (*[]byte, error) {
	if err := checkDeleteRange(&c.del); err != nil {
		return nil, err
	}
	return d.propose(ctx, c, command.DeleteRange)
}
