package v3

import (
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/wire"
)

func decodeDeleteRange(c *call) error { return wire.DecodeDeleteRange(c.req, &c.del) }

// serveDeleteRange answers KV.DeleteRange.
func (d *Door) serveDeleteRange(c *call) {
	if err := checkDeleteRange(&c.del); err != nil {
		c.fail(err)
		return
	}
	c.propose(command.DeleteRange)
}
