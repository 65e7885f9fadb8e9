package v3

import (
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/wire"
)

func decodePut(c *call) error { return wire.DecodePut(c.req, &c.put) }

// servePut answers KV.Put.
func (d *Door) servePut(c *call) {
	if err := checkPut(&c.put); err != nil {
		c.fail(err)
		return
	}
	c.propose(command.Put)
}
