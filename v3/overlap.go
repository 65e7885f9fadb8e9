package v3

import (
	"bytes"
	"slices"

	"github.com/cairnkv/cairn"
)

// Within a branch of a transaction no key may be put twice, and none both put and deleted; etcd's
// v3rpc/key.go, checkIntervals, is the rule, with all that follows from how it is written:
//
//   - the two branches of a nested transaction exclude each other and may put the same key;
//   - a nested transaction's deletes are held against the puts of its level and of the nested
//     transactions after it, not against those of the ones before it;
//   - a delete whose end is not after its key counts as no delete; so does, unlike everywhere else
//     in the API, one whose end is a single zero byte ("all that follows").

// few is up to how many operations pairs are compared one by one, which needs no memory.
const few = 8

// span is the keys in [from, to), which are not none.
type span struct {
	from, to []byte
}

// spanOf is what a delete counts as.
func spanOf(r *cairn.DeleteRangeRequest) (s span, ok bool) {
	if len(r.End) == 0 {
		return span{r.Key, append(bytes.Clone(r.Key), 0)}, true
	}
	return span{r.Key, r.End}, bytes.Compare(r.Key, r.End) < 0
}

// covers is the same question for one key.
func covers(r *cairn.DeleteRangeRequest, key []byte) bool {
	if len(r.End) == 0 {
		return bytes.Equal(r.Key, key)
	}
	return bytes.Compare(r.Key, key) <= 0 && bytes.Compare(key, r.End) < 0
}

// footprint is what the operations of a level and of the levels in it touch.
type footprint struct {
	puts [][]byte // sorted, each once
	dels []span   // sorted, disjoint
}

// overlaps finds ErrDuplicateKey among the operations of one branch.
func overlaps(ops []cairn.Op) (footprint, error) {
	if len(ops) <= few && !slices.ContainsFunc(ops, isTxn) {
		if overlapFew(ops) {
			return footprint{}, cairn.ErrDuplicateKey
		}
		return footprint{}, nil
	}
	return overlapMany(ops)
}

func isTxn(op cairn.Op) bool { return op.Kind == cairn.OpTxn }

// overlapFew compares every put with every other operation of a flat branch.
func overlapFew(ops []cairn.Op) bool {
	for i := range ops {
		if ops[i].Kind != cairn.OpPut {
			continue
		}
		key := ops[i].Put.Key
		for j := range ops {
			switch o := &ops[j]; o.Kind {
			case cairn.OpPut:
				if j < i && bytes.Equal(o.Put.Key, key) {
					return true
				}
			case cairn.OpDeleteRange:
				if covers(o.DeleteRange, key) {
					return true
				}
			}
		}
	}
	return false
}

// overlapMany does it with sorted lists. The time is that of sorting, times the depth of nesting.
func overlapMany(ops []cairn.Op) (footprint, error) {
	var f footprint
	var puts [][]byte
	for i := range ops {
		switch op := &ops[i]; op.Kind {
		case cairn.OpPut:
			puts = append(puts, op.Put.Key)
		case cairn.OpDeleteRange:
			if s, ok := spanOf(op.DeleteRange); ok {
				f.dels = append(f.dels, s)
			}
		}
	}
	f.dels = sorted(f.dels)
	for i := range ops {
		if ops[i].Kind != cairn.OpTxn {
			continue
		}
		if err := f.addTxn(ops[i].Txn); err != nil {
			return f, err
		}
	}
	slices.SortFunc(puts, bytes.Compare)
	for i, key := range puts {
		if i > 0 && bytes.Equal(puts[i-1], key) {
			return f, cairn.ErrDuplicateKey
		}
		if has(f.puts, key) || contains(f.dels, key) {
			return f, cairn.ErrDuplicateKey
		}
	}
	f.puts = union(f.puts, puts)
	return f, nil
}

// addTxn holds a nested transaction against what is there and adds what it touches.
func (f *footprint) addTxn(t *cairn.TxnRequest) error {
	// Even if it is small: the level above needs the footprint.
	then, err := overlapMany(t.Success)
	if err != nil {
		return err
	}
	els, err := overlapMany(t.Failure)
	if err != nil {
		return err
	}
	both := union(then.puts, els.puts)
	for _, key := range both {
		if has(f.puts, key) || contains(f.dels, key) {
			return cairn.ErrDuplicateKey
		}
	}
	f.puts = union(f.puts, both)
	f.dels = join(f.dels, join(then.dels, els.dels))
	return nil
}

// sorted brings spans into order and joins those that touch.
func sorted(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return bytes.Compare(a.from, b.from) })
	out := spans[:0]
	for _, s := range spans {
		out = appendSpan(out, s)
	}
	return out
}

// appendSpan adds a span that begins nowhere before the last one.
func appendSpan(out []span, s span) []span {
	n := len(out)
	if n == 0 || bytes.Compare(s.from, out[n-1].to) > 0 {
		return append(out, s)
	}
	if bytes.Compare(s.to, out[n-1].to) > 0 {
		out[n-1].to = s.to
	}
	return out
}

// join makes one list of two.
func join(a, b []span) []span {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]span, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && bytes.Compare(a[0].from, b[0].from) <= 0 {
			out, a = appendSpan(out, a[0]), a[1:]
		} else {
			out, b = appendSpan(out, b[0]), b[1:]
		}
	}
	return out
}

// contains says whether key lies in one of the disjoint sorted spans.
func contains(spans []span, key []byte) bool {
	i, found := slices.BinarySearchFunc(spans, key, func(s span, key []byte) int {
		return bytes.Compare(s.from, key)
	})
	if found {
		return true
	}
	return i > 0 && bytes.Compare(key, spans[i-1].to) < 0
}

// has says whether key is in the sorted list.
func has(keys [][]byte, key []byte) bool {
	_, found := slices.BinarySearchFunc(keys, key, bytes.Compare)
	return found
}

// union merges two sorted lists without doubles.
func union(a, b [][]byte) [][]byte {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([][]byte, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := bytes.Compare(a[0], b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}
