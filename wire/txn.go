package wire

import "github.com/cairnkv/cairn"

// DecodeTxn decodes an etcdserverpb.TxnRequest.
//
// A Compare's Number or Value is the member of the oneof that its Target asks for; if the message
// carries another one, or none, it is zero or nil, which is how etcd evaluates it. An Op without
// a request has Kind OpNone. Of an Op only the pointer that Kind names is set.
//
// The slices of *r and the requests that its operations point to are used again, so whoever decodes
// into the same struct twice must be done with the first content.
func DecodeTxn(b []byte, r *cairn.TxnRequest) error {
	return decodeTxn(b, r, MaxDepth-1)
}

// decodeTxn decodes into an emptied r; depth is how many more levels may be inside of this one.
func decodeTxn(b []byte, r *cairn.TxnRequest, depth int) error {
	r.Compare, r.Success, r.Failure = r.Compare[:0], r.Success[:0], r.Failure[:0]
	return mergeTxn(b, r, depth)
}

func mergeTxn(b []byte, r *cairn.TxnRequest, depth int) (err error) {
	var f field
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		switch f.tag {
		case 1<<3 | typeBytes:
			if depth < 1 {
				return ErrTooDeep
			}
			r.Compare = append(r.Compare, cairn.Compare{})
			err = decodeCompare(f.data, &r.Compare[len(r.Compare)-1])
		case 2<<3 | typeBytes:
			r.Success, err = appendOp(r.Success, f.data, depth)
		case 3<<3 | typeBytes:
			r.Failure, err = appendOp(r.Failure, f.data, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// decodeCompare decodes a Compare into an empty c.
func decodeCompare(b []byte, c *cairn.Compare) (err error) {
	var (
		f      field
		member uint64 // the field number of the oneof's member seen last
		number int64
		value  []byte
	)
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		switch f.tag {
		case 1<<3 | typeVarint:
			c.Result = cairn.CompareResult(int32(f.num))
		case 2<<3 | typeVarint:
			c.Target = cairn.CompareTarget(int32(f.num))
		case 3<<3 | typeBytes:
			c.Key = f.data
		case 4<<3 | typeVarint, 5<<3 | typeVarint, 6<<3 | typeVarint, 8<<3 | typeVarint:
			member, number = f.tag>>3, int64(f.num)
		case 7<<3 | typeBytes:
			member, value = f.tag>>3, f.data
		case 64<<3 | typeBytes:
			c.End = f.data
		}
	}
	// The members of the oneof are numbered in the order of the targets, from 4.
	if member == 0 || cairn.CompareTarget(member-4) != c.Target {
		return nil
	}
	if c.Target == cairn.CompareValue {
		c.Value = value
	} else {
		c.Number = number
	}
	return nil
}

// appendOp decodes one operation into the next place of ops, whose old request is used again.
func appendOp(ops []cairn.Op, b []byte, depth int) ([]cairn.Op, error) {
	if depth < 1 {
		return ops, ErrTooDeep
	}
	var old cairn.Op
	if len(ops) < cap(ops) {
		old = ops[:len(ops)+1][len(ops)]
	}
	ops = append(ops, cairn.Op{})
	return ops, decodeOp(b, &ops[len(ops)-1], &old, depth-1)
}

// decodeOp decodes a RequestOp into an empty op, in requests of old where the kind is the same.
func decodeOp(b []byte, op, old *cairn.Op, depth int) (err error) {
	var f field
	for len(b) > 0 {
		if b, err = f.next(b); err != nil {
			return err
		}
		if f.tag&7 != typeBytes {
			continue
		}
		kind := cairn.OpKind(0)
		switch f.tag >> 3 {
		case OpFieldRange:
			kind = cairn.OpRange
		case OpFieldPut:
			kind = cairn.OpPut
		case OpFieldDeleteRange:
			kind = cairn.OpDeleteRange
		case OpFieldTxn:
			kind = cairn.OpTxn
		default:
			continue
		}
		if depth < 1 {
			return ErrTooDeep
		}
		if op.Kind != kind {
			takeRequest(op, old, kind)
		}
		if err = mergeRequest(f.data, op, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// takeRequest makes op an operation of the given kind with an empty request: the one of old, once,
// or a new one.
func takeRequest(op, old *cairn.Op, kind cairn.OpKind) {
	*op = cairn.Op{Kind: kind}
	switch kind {
	case cairn.OpRange:
		if op.Range, old.Range = old.Range, nil; op.Range == nil {
			op.Range = new(cairn.RangeRequest)
		}
		*op.Range = cairn.RangeRequest{}
	case cairn.OpPut:
		if op.Put, old.Put = old.Put, nil; op.Put == nil {
			op.Put = new(cairn.PutRequest)
		}
		*op.Put = cairn.PutRequest{}
	case cairn.OpDeleteRange:
		if op.DeleteRange, old.DeleteRange = old.DeleteRange, nil; op.DeleteRange == nil {
			op.DeleteRange = new(cairn.DeleteRangeRequest)
		}
		*op.DeleteRange = cairn.DeleteRangeRequest{}
	case cairn.OpTxn:
		if op.Txn, old.Txn = old.Txn, nil; op.Txn == nil {
			op.Txn = new(cairn.TxnRequest)
		}
		t := op.Txn
		t.Compare, t.Success, t.Failure = t.Compare[:0], t.Success[:0], t.Failure[:0]
	}
}

// mergeRequest decodes b on top of the request that op holds.
func mergeRequest(b []byte, op *cairn.Op, depth int) error {
	switch op.Kind {
	case cairn.OpRange:
		return mergeRange(b, op.Range)
	case cairn.OpPut:
		return mergePut(b, op.Put)
	case cairn.OpDeleteRange:
		return mergeDeleteRange(b, op.DeleteRange)
	default:
		return mergeTxn(b, op.Txn, depth)
	}
}
