package v3

import (
	"bytes"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/wire"
)

func decodeCompact(c *call) error { return wire.DecodeCompact(c.req, &c.compact) }

// serveCompact answers KV.Compact. A physical compaction waits for the work with a goroutine of its
// own.
func (d *Door) serveCompact(c *call) {
	if !c.compact.Physical {
		c.propose(command.Compact)
		return
	}
	d.backend.Propose(command.Compact, c.req, func(reply []byte, err error) {
		if err != nil {
			c.fail(err)
			return
		}
		reply = bytes.Clone(reply)
		c.rpc.Go(func(r *rpc.Call) {
			if err := d.backend.WaitCompacted(r.Context(), c.compact.Revision); err != nil {
				c.fail(err)
				return
			}
			c.reply(reply)
		})
	})
}
