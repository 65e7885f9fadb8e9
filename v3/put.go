package v3

import (
	"context"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/wire"
)

func decodePut(c *call) error { return wire.DecodePut(c.req, &c.put) }

// servePut answers KV.Put.
func (d *Door) servePut(ctx context.Context, c *call) (*[]byte, error) {
	if err := checkPut(&c.put); err != nil {
		return nil, err
	}
	return d.propose(ctx, c, command.Put)
}
