package v3

import (
	"context"
	"errors"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/wire"
)

// Budgets of a range: what is done on the connection's own goroutine, which has other requests to
// look after, and what is built in memory, so that the keys are walked over once. What is longer
// is measured first and then sent piece by piece.
var (
	inlineBudget = Budget{Keys: 32 << 10, Bytes: 256 << 10}
	memoryBudget = Budget{Keys: Unbounded.Keys, Bytes: 1 << 20}
)

func decodeRange(c *call) error { return wire.DecodeRange(c.req, &c.rng) }

// serveRange answers KV.Range.
func (d *Door) serveRange(c *call) {
	if err := checkRange(&c.rng); err != nil {
		c.fail(err)
		return
	}
	c.read(c.rng.Serializable, (*call).answerRange)
}

// answerRange reads on the connection's goroutine, if it does not take long.
func (c *call) answerRange() {
	lent := lend()
	b, err := c.door.backend.AppendRange(context.Background(), *lent, &c.rng, inlineBudget)
	switch {
	case errors.Is(err, ErrLong):
		giveBack(lent, b)
		c.rpc.Go(c.longRange)
		return
	case err != nil:
		c.fail(err)
	default:
		c.reply(b)
	}
	giveBack(lent, b)
}

// longRange has a goroutine of its own.
func (c *call) longRange(r *rpc.Call) {
	ctx := r.Context()
	lent := lend()
	b, err := c.door.backend.AppendRange(ctx, *lent, &c.rng, memoryBudget)
	switch {
	case errors.Is(err, ErrLong):
		c.pieces(r)
	case err != nil:
		c.fail(err)
	default:
		c.reply(b)
	}
	giveBack(lent, b)
}

// pieces sends an answer that is never whole in memory.
func (c *call) pieces(r *rpc.Call) {
	d, m, start := c.door, c.method.Method, c.start
	begun, sent := false, 0
	err := d.backend.WriteRange(r.Context(), &c.rng, func(size int) error {
		if size > maxSendBytes {
			return cairn.ErrRequestTooLarge
		}
		begun, sent = true, size
		return r.Begin(size)
	}, func(piece []byte) error {
		_, err := r.Write(piece)
		return err
	})
	if !begun {
		c.fail(err)
		return
	}
	c.forget()
	taken := r.End(err)
	code := codeOf(err)
	if err == nil && taken {
		d.opts.Hooks.SentBytes(sent)
		d.opts.Hooks.Sent(m)
	}
	d.opts.Hooks.Handled(m, code, d.opts.Clock.Since(start))
}
