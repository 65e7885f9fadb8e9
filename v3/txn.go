package v3

import (
	"context"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/wire"
)

func decodeTxn(c *call) error { return wire.DecodeTxn(c.req, &c.txn) }

// serveTxn answers KV.Txn. A transaction that only reads does not go through the log.
func (d *Door) serveTxn(c *call) {
	if err := checkTxn(&c.txn, d.opts.MaxTxnOps); err != nil {
		c.fail(err)
		return
	}
	if !onlyRanges(&c.txn) {
		c.propose(command.Txn)
		return
	}
	c.read(serializable(&c.txn), (*call).answerTxn)
}

// answerTxn answers a transaction that only reads: single keys on the connection's goroutine,
// longer ranges on one of its own.
func (c *call) answerTxn() {
	if hasRange(&c.txn) {
		c.rpc.Go(func(r *rpc.Call) { c.readTxn(r.Context()) })
		return
	}
	c.readTxn(context.Background())
}

func (c *call) readTxn(ctx context.Context) {
	lent := lend()
	b, err := c.door.backend.AppendReadTxn(ctx, *lent, &c.txn)
	if err != nil {
		c.fail(err)
	} else {
		c.reply(b)
	}
	giveBack(lent, b)
}

// hasRange says whether some operation asks for more than one key.
func hasRange(t *cairn.TxnRequest) bool {
	for _, ops := range [...][]cairn.Op{t.Success, t.Failure} {
		for i := range ops {
			if len(ops[i].Range.End) > 0 {
				return true
			}
		}
	}
	return false
}

// onlyRanges says whether both branches consist of ranges alone: a nested transaction counts as
// a write, whatever is in it (etcd server/etcdserver/txn.IsTxnReadonly).
func onlyRanges(t *cairn.TxnRequest) bool {
	for _, ops := range [...][]cairn.Op{t.Success, t.Failure} {
		for i := range ops {
			if ops[i].Kind != cairn.OpRange {
				return false
			}
		}
	}
	return true
}

// serializable says of a transaction of ranges whether all of them ask for no more than that; so
// does one without any (etcd server/etcdserver/txn.IsTxnSerializable).
func serializable(t *cairn.TxnRequest) bool {
	for _, ops := range [...][]cairn.Op{t.Success, t.Failure} {
		for i := range ops {
			if !ops[i].Range.Serializable {
				return false
			}
		}
	}
	return true
}
