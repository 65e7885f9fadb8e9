package v3

import (
	"context"

	"github.com/cairnkv/cairn/wire"
)

// replyBytes is the room that a reply starts with; it grows as needed.
const replyBytes = 4 << 10

func decodeRange(c *call) error { return wire.DecodeRange(c.req, &c.rng) }

// serveRange answers KV.Range.
func (d *Door) serveRange(ctx context.Context, c *call) (*[]byte, error) {
	if err := checkRange(&c.rng); err != nil {
		return nil, err
	}
	if !c.rng.Serializable {
		if err := d.barrier(ctx, c); err != nil {
			return nil, err
		}
	}
	reply := lend(replyBytes)
	b, err := d.backend.AppendRange(ctx, *reply, &c.rng)
	return finish(reply, b, err)
}

// finish makes b, appended to the lent reply, the reply; on an error the loan goes back.
func finish(reply *[]byte, b []byte, err error) (*[]byte, error) {
	if err != nil {
		pool.Put(reply)
		return nil, err
	}
	if cap(b) != cap(*reply) { // it has outgrown the loan
		pool.Put(reply)
		reply = new([]byte)
	}
	*reply = b
	return reply, nil
}
