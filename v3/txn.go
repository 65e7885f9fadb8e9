package v3

import (
	"context"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/wire"
)

func decodeTxn(c *call) error { return wire.DecodeTxn(c.req, &c.txn) }

// serveTxn answers KV.Txn. A transaction that only reads does not go through the log.
func (d *Door) serveTxn(ctx context.Context, c *call) (*[]byte, error) {
	if err := checkTxn(&c.txn, d.opts.MaxTxnOps); err != nil {
		return nil, err
	}
	if !onlyRanges(&c.txn) {
		return d.propose(ctx, c, command.Txn)
	}
	if !serializable(&c.txn) {
		if err := d.barrier(ctx, c); err != nil {
			return nil, err
		}
	}
	reply := lend(replyBytes)
	b, err := d.backend.AppendReadTxn(ctx, *reply, &c.txn)
	return finish(reply, b, err)
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
