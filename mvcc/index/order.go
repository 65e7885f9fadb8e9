package index

import (
	"bytes"

	"github.com/tidwall/btree"
)

const (
	// orderProbes is how many readers may look for their place in the tree at once; another one
	// waits for the short time that a seek takes.
	orderProbes = 64
	// probeBase: ids from here on are not keys but the key that a reader looks for.
	probeBase = 1<<32 - orderProbes
	// orderDegree: a node holds up to 2*degree-1 ids.
	orderDegree = 32
)

// order is the ordered tree of ids. The tree compares two ids by the bytes of their keys; to look
// for a key that has no id, a reader borrows one of a few ids that stand for such keys.
type order struct {
	tree   *btree.BTreeG[uint32]
	key    func(id uint32) []byte
	probes [orderProbes][]byte
	free   chan uint32 // numbers of probes not in use
	rank   []uint32    // by id, its place in the order: during load only
}

func (o *order) init(key func(id uint32) []byte) {
	o.key = key
	o.tree = btree.NewBTreeGOptions(o.less, btree.Options{NoLocks: true, Degree: orderDegree})
	o.free = make(chan uint32, orderProbes)
	for i := range uint32(orderProbes) {
		o.free <- i
	}
}

func (o *order) bytesOf(id uint32) []byte {
	if id >= probeBase {
		return o.probes[id-probeBase]
	}
	return o.key(id)
}

func (o *order) less(a, b uint32) bool {
	if o.rank != nil {
		return o.rank[a] < o.rank[b]
	}
	return bytes.Compare(o.bytesOf(a), o.bytesOf(b)) < 0
}

// load fills an empty tree with ids that are in order, without a look at their keys. last is the
// largest id. The tree's own loading leaves its nodes half empty; so every second id is loaded,
// and the others fill the nodes up.
func (o *order) load(ids []sortKey, last uint32) {
	o.rank = make([]uint32, last+1)
	for i := range ids {
		o.rank[ids[i].id] = uint32(i)
	}
	for i := 0; i < len(ids); i += 2 {
		o.tree.Load(ids[i].id)
	}
	for i := 1; i < len(ids); i += 2 {
		o.tree.Set(ids[i].id)
	}
	o.rank = nil
}

func (o *order) insert(id uint32) { o.tree.Set(id) }

func (o *order) remove(id uint32) { o.tree.Delete(id) }

// bytes estimates the tree's memory: nodes are about two thirds full.
func (o *order) bytes() int { return o.tree.Len() * 9 }

// ascend calls fn for every id from key on, in order.
func (o *order) ascend(key []byte, fn func(id uint32) bool) {
	n := <-o.free
	o.probes[n] = key
	o.tree.Ascend(probeBase+n, fn)
	o.probes[n] = nil
	o.free <- n
}

// Ascend calls fn for the ids of the keys in [key, end) in order, until it returns false; an empty
// end is the end of all keys.
func (x *Index) Ascend(key, end []byte, fn func(id uint32) bool) {
	stop := uint32(0)
	if len(end) > 0 {
		if bytes.Compare(key, end) >= 0 {
			return
		}
		// One search for the first key not to visit spares comparing every key on the way.
		x.order.ascend(end, func(id uint32) bool {
			stop = id
			return false
		})
	}
	x.order.ascend(key, func(id uint32) bool { return id != stop && fn(id) })
}

// AppendRange appends the ids of the first limit keys (at least one) in [key, end), as Ascend gives
// them, and loads their entries: all at once that takes a fraction of the time that it takes
// to wait for one after the other.
func (x *Index) AppendRange(ids []uint32, key, end []byte, limit int) []uint32 {
	from := len(ids)
	x.Ascend(key, end, func(id uint32) bool {
		ids = append(ids, id)
		return len(ids)-from < limit
	})
	any := uint32(0)
	for _, id := range ids[from:] {
		any |= x.entries.at(id).flags
	}
	if any&entryUsed == 0 && len(ids) > from {
		panic("index: the tree leads to keys that are gone")
	}
	return ids
}
