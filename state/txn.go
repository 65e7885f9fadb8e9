package state

import (
	"bytes"
	"cmp"
	"errors"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/wire"
)

// txnRunner executes one transaction as etcd does (server/etcdserver/txn/txn.go): first all
// compares, of nested transactions too, on the state before it; then the checks of every operation
// on the chosen path, so that nothing was written when one fails; then the operations.
type txnRunner struct {
	m        *Machine
	r        mvcc.Reader
	w        *mvcc.Tx // nil in a read-only transaction
	path     []bool   // outcome of the compares, in the order of execution
	next     int      // position in path
	replyErr error    // a reply that cannot be built; the writes happen all the same
}

func (m *Machine) applyTxn(dst, request []byte) ([]byte, error) {
	t := &m.txn
	if err := wire.DecodeTxn(request, t); err != nil {
		return dst, err
	}
	if m.alarms.Active(alarm.NoSpace) && puts(t) {
		return dst, cairn.ErrNoSpace
	}
	if n := len(t.Success); mutate.On(mutate.HalfTxn) && n > 1 && m.index%32 == 0 {
		t.Success = t.Success[:n-1]
	}
	tx := m.store.Begin()
	defer tx.End()
	m.counts.Txns++
	run := &m.runner
	*run = txnRunner{m: m, r: tx, w: tx, path: run.path[:0]}
	return run.run(dst, t)
}

// ReadTxn executes a read-only transaction at the newest published revision and appends the
// response to dst. Safe on any goroutine.
func (m *Machine) ReadTxn(dst []byte, t *cairn.TxnRequest) ([]byte, error) {
	view := m.store.View()
	defer view.Close()
	run := txnRunner{m: m, r: view}
	return run.run(dst, t)
}

// puts says whether a branch of t, of a nested one too, puts: those are what a full store refuses.
func puts(t *cairn.TxnRequest) bool {
	for _, ops := range [2][]cairn.Op{t.Success, t.Failure} {
		for i := range ops {
			if ops[i].Kind == cairn.OpPut || ops[i].Kind == cairn.OpTxn && puts(ops[i].Txn) {
				return true
			}
		}
	}
	return false
}

func (x *txnRunner) run(dst []byte, t *cairn.TxnRequest) ([]byte, error) {
	if err := x.decide(t); err != nil {
		return dst, err
	}
	if err := x.check(t); err != nil {
		return dst, err
	}
	x.next = 0
	succeeded, ops, err := x.execute(t)
	if err := errors.Join(err, x.replyErr); err != nil {
		return dst, err
	}
	h := x.m.header(x.r.Rev())
	return wire.AppendTxnResponse(dst, &h, succeeded, ops), nil
}

// take returns the next outcome of the path and the branch that it chooses.
func (x *txnRunner) take(t *cairn.TxnRequest) (succeeded bool, branch []cairn.Op) {
	succeeded = x.path[x.next]
	x.next++
	if succeeded {
		return true, t.Success
	}
	return false, t.Failure
}

// decide evaluates the compares of t and of the transactions nested in the chosen branch.
func (x *txnRunner) decide(t *cairn.TxnRequest) error {
	holds, branch := true, t.Success
	for i := range t.Compare {
		if mutate.On(mutate.LastCompare) && i+1 < len(t.Compare) {
			continue
		}
		ok, err := x.compare(&t.Compare[i])
		if err != nil {
			return err
		}
		if !ok {
			holds, branch = false, t.Failure
			break
		}
	}
	x.path = append(x.path, holds)
	for i := range branch {
		if branch[i].Kind == cairn.OpTxn {
			if err := x.decide(branch[i].Txn); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare evaluates one condition. A key that is not there compares as zeros, and never holds for
// VALUE; over a range it must hold for every key.
func (x *txnRunner) compare(c *cairn.Compare) (bool, error) {
	if len(c.End) == 0 {
		v, ok := x.r.Get(c.Key)
		if !ok {
			return c.Target != cairn.CompareValue && holds(c, cmp.Compare(0, c.Number)), nil
		}
		return x.compareVersion(c, v)
	}
	found, all := false, true
	var err error
	x.r.Ascend(c.Key, c.End, func(_ []byte, v mvcc.Version) bool {
		found = true
		all, err = x.compareVersion(c, v)
		return all && err == nil
	})
	if !found && err == nil {
		return c.Target != cairn.CompareValue && holds(c, cmp.Compare(0, c.Number)), nil
	}
	return all, err
}

func (x *txnRunner) compareVersion(c *cairn.Compare, v mvcc.Version) (bool, error) {
	switch c.Target {
	case cairn.CompareVersion:
		return holds(c, cmp.Compare(v.Version, c.Number)), nil
	case cairn.CompareCreate:
		return holds(c, cmp.Compare(v.Create, c.Number)), nil
	case cairn.CompareMod:
		return holds(c, cmp.Compare(v.Rev.Main, c.Number)), nil
	case cairn.CompareLease:
		return holds(c, cmp.Compare(v.Lease, c.Number)), nil
	case cairn.CompareValue:
		b, err := x.r.KV(v)
		if err != nil {
			return false, err
		}
		var kv cairn.KeyValue
		if err := wire.DecodeKeyValue(b, &kv); err != nil {
			return false, err
		}
		return holds(c, bytes.Compare(kv.Value, c.Value)), nil
	}
	return holds(c, 0), nil // etcd: an unknown target compares as equal
}

// holds says whether the order of the stored and the given value is the one asked for. An unknown
// result holds, as in etcd.
func holds(c *cairn.Compare, order int) bool {
	switch c.Result {
	case cairn.CompareEqual:
		return order == 0
	case cairn.CompareNotEqual:
		return order != 0
	case cairn.CompareGreater:
		return order > 0
	case cairn.CompareLess:
		return order < 0
	}
	return true
}

// check makes sure that no operation on the chosen path can fail.
func (x *txnRunner) check(t *cairn.TxnRequest) error {
	_, branch := x.take(t)
	for i := range branch {
		op := &branch[i]
		var err error
		switch op.Kind {
		case cairn.OpRange:
			err = x.r.CheckRange(op.Range)
		case cairn.OpPut:
			err = x.checkPut(op.Put)
		case cairn.OpTxn:
			err = x.check(op.Txn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *txnRunner) checkPut(p *cairn.PutRequest) error {
	if err := x.m.checkLease(p); err != nil {
		return err
	}
	if p.IgnoreValue || p.IgnoreLease {
		if _, ok := x.r.Get(p.Key); !ok {
			return cairn.ErrKeyNotFound
		}
	}
	return nil
}

// execute runs the chosen branch and returns the response's ops, each as a field of TxnResponse.
func (x *txnRunner) execute(t *cairn.TxnRequest) (succeeded bool, ops []byte, err error) {
	succeeded, branch := x.take(t)
	var reply []byte
	for i := range branch {
		op := &branch[i]
		if reply, err = x.executeOp(reply[:0], op); err != nil {
			return succeeded, nil, err
		}
		ops = wire.AppendResponseOp(ops, op.Kind, reply)
	}
	return succeeded, ops, nil
}

// executeOp appends the reply of one operation to dst. Its header has the revision alone, that
// of a nested transaction nothing, as etcd's.
func (x *txnRunner) executeOp(dst []byte, op *cairn.Op) ([]byte, error) {
	switch op.Kind {
	case cairn.OpRange:
		if x.w != nil {
			x.m.counts.Ranges++
		}
		h := cairn.Header{Revision: x.r.Rev()}
		reply, err := x.r.AppendRange(dst, &h, op.Range)
		if err == nil || x.w == nil {
			return reply, err
		}
		return dst, x.laterError(err)
	case cairn.OpPut:
		prev, had := x.w.Get(op.Put.Key)
		prevKV, replyErr, err := x.m.putInto(x.w, op.Put, prev, had)
		if err != nil {
			return dst, err
		}
		x.replyErr = errors.Join(x.replyErr, replyErr)
		return wire.AppendPutResponse(dst, &cairn.Header{Revision: x.w.Rev()}, prevKV), nil
	case cairn.OpDeleteRange:
		deleted, prevs, replyErr, err := x.m.deleteInto(x.w, op.DeleteRange)
		if err != nil {
			return dst, err
		}
		x.replyErr = errors.Join(x.replyErr, replyErr)
		h := cairn.Header{Revision: x.w.Rev()}
		return wire.AppendDeleteRangeResponse(dst, &h, deleted, prevs), nil
	case cairn.OpTxn:
		succeeded, ops, err := x.execute(op.Txn)
		if err != nil {
			return dst, err
		}
		return wire.AppendTxnResponse(dst, &cairn.Header{}, succeeded, ops), nil
	}
	return dst, nil
}

// laterError keeps a read's error for the end of a transaction that writes: what was decided must
// be carried out on every member, whatever one of them can read.
func (x *txnRunner) laterError(err error) error {
	x.replyErr = errors.Join(x.replyErr, damaged(err))
	return nil
}

// TxnPuts says whether a transaction in its wire form puts in one of its branches; one that cannot
// be read does not.
func TxnPuts(request []byte) bool {
	var t cairn.TxnRequest
	return wire.DecodeTxn(request, &t) == nil && puts(&t)
}
