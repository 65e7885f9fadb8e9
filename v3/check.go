package v3

import (
	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc/index"
)

// The checks of requests before they are served or proposed: those of etcd's v3rpc/key.go, in its
// order, so that of several faults the same one is reported.

func checkRange(r *cairn.RangeRequest) error {
	if len(r.Key) == 0 {
		return cairn.ErrEmptyKey
	}
	if r.SortOrder < cairn.SortNone || r.SortOrder > cairn.SortDescend ||
		r.SortTarget < cairn.SortByKey || r.SortTarget > cairn.SortByValue {
		return cairn.ErrInvalidSortOption
	}
	return nil
}

func checkPut(r *cairn.PutRequest) error {
	if len(r.Key) == 0 {
		return cairn.ErrEmptyKey
	}
	if len(r.Key) > index.MaxKeyBytes { // committed, it could not be applied
		return cairn.ErrRequestTooLarge
	}
	if r.IgnoreValue && len(r.Value) != 0 {
		return cairn.ErrValueProvided
	}
	if r.IgnoreLease && r.Lease != 0 {
		return cairn.ErrLeaseProvided
	}
	return nil
}

func checkDeleteRange(r *cairn.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return cairn.ErrEmptyKey
	}
	return nil
}

// checkTxn checks a transaction that may have maxOps operations.
func checkTxn(t *cairn.TxnRequest, maxOps int) error {
	if err := checkOps(t, maxOps); err != nil {
		return err
	}
	// After the operations were counted, for it takes more time.
	if _, err := overlaps(t.Success); err != nil {
		return err
	}
	_, err := overlaps(t.Failure)
	return err
}

// checkOps checks a transaction and those nested in it, which share the budget: each level has
// what the longest list of the level above has left.
func checkOps(t *cairn.TxnRequest, maxOps int) error {
	n := max(len(t.Compare), len(t.Success), len(t.Failure))
	if n > maxOps {
		return cairn.ErrTooManyOps
	}
	for i := range t.Compare {
		if len(t.Compare[i].Key) == 0 {
			return cairn.ErrEmptyKey
		}
	}
	for _, ops := range [...][]cairn.Op{t.Success, t.Failure} {
		for i := range ops {
			if err := checkOp(&ops[i], maxOps-n); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *cairn.Op, maxOps int) error {
	switch op.Kind {
	case cairn.OpRange:
		return checkRange(op.Range)
	case cairn.OpPut:
		return checkPut(op.Put)
	case cairn.OpDeleteRange:
		return checkDeleteRange(op.DeleteRange)
	case cairn.OpTxn:
		return checkOps(op.Txn, maxOps)
	default:
		return cairn.ErrKeyNotFound // so etcd calls an empty operation
	}
}
