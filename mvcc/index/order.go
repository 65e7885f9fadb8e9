package index

import (
	"bytes"
	"sort"
)

const (
	// fanout is how many ids a leaf has at most, and how many nodes a branch.
	fanout = 64
	// loadFill is how many of them load puts in: there is room for some more.
	loadFill = 56
	// mergeFill is up to how many ids two neighbours are made one.
	mergeFill = 40
)

// order is the ordered tree of ids: a B+ tree by the bytes of their keys. Each node knows how many
// of the keys below are there (their newest version is no tombstone) and the newest revision that
// changed any, so that a subtree in which nothing is newer than a reader is counted by a look at
// its top.
type order struct {
	x        *Index
	leaves   nodes[leaf]
	branches nodes[branch]
	root     uint32
	height   int // of branches above the leaves; 0: root is a leaf
}

// nodes are the leaves or the branches. Their headers lie apart from them, close together: each put
// changes one on every level.
type nodes[T any] struct {
	heads  pool[header]
	bodies pool[T]
}

func (n *nodes[T]) at(id uint32) (*T, *header) { return n.bodies.at(id), n.heads.at(id) }

func (n *nodes[T]) take() uint32 {
	n.heads.take() // the same id: both are taken and given in step
	return n.bodies.take()
}

func (n *nodes[T]) give(id uint32) {
	n.heads.give(id)
	n.bodies.give(id)
}

// header is what leaves and branches have in common.
type header struct {
	newest int64 // no key below has a newer newest version; may be too high
	live   uint32
	parent uint32 // 0: the root
	n      uint32 // items
}

// leaf holds the ids of neighbouring keys. Every one but that of an empty tree has some.
type leaf struct {
	next, prev uint32 // neighbours; 0: none
	ids        [fanout]uint32
}

// branch holds the nodes one level below, and the id of the first key in each.
type branch struct {
	first    [fanout]uint32
	children [fanout]uint32
}

func (o *order) init(x *Index) {
	o.x = x
	o.root = o.leaves.take()
}

// head is the header of a node.
func (o *order) head(level int, node uint32) *header {
	if level == 0 {
		return o.leaves.heads.at(node)
	}
	return o.branches.heads.at(node)
}

// position is between two ids of a leaf, or before its first.
type position struct {
	leaf uint32
	at   int
}

// seek returns the place of the first key that is not below key; it may be behind a leaf's last.
func (o *order) seek(key []byte) position {
	node := o.root
	for range o.height {
		b, h := o.branches.at(node)
		node = b.children[o.child(b, h, key)]
	}
	return position{node, o.seekIn(node, key)}
}

// seekIn is the number of a leaf's first id that is not below key.
func (o *order) seekIn(node uint32, key []byte) int {
	l, h := o.leaves.at(node)
	return sort.Search(int(h.n), func(i int) bool {
		return bytes.Compare(o.x.Key(l.ids[i]), key) >= 0
	})
}

// child is the number of the node in which key is, or would be.
func (o *order) child(b *branch, h *header, key []byte) int {
	// What is below the first key of all is in the first node too.
	return sort.Search(int(h.n)-1, func(i int) bool {
		return bytes.Compare(o.x.Key(b.first[i+1]), key) > 0
	})
}

// ascend calls fn for every id from one place on, up to another one.
func (o *order) ascend(from, to position, fn func(id uint32) bool) {
	for from.leaf != 0 {
		l, h := o.leaves.at(from.leaf)
		n := int(h.n)
		if from.leaf == to.leaf {
			n = to.at
		}
		for _, id := range l.ids[min(from.at, n):n] {
			if !fn(id) {
				return
			}
		}
		if from.leaf == to.leaf {
			return
		}
		from = position{l.next, 0}
	}
}

// bytes is the tree's memory.
func (o *order) bytes() int {
	const leafBytes, branchBytes = 24 + 8 + 4*fanout, 24 + 8*fanout
	return poolChunkLen * (len(o.leaves.heads.chunks)*leafBytes +
		len(o.branches.heads.chunks)*branchBytes)
}

// Ascend calls fn for the ids of the keys in [key, end) in order, until it returns false; an empty
// end is the end of all keys.
func (x *Index) Ascend(key, end []byte, fn func(id uint32) bool) {
	var to position
	if len(end) > 0 {
		if bytes.Compare(key, end) >= 0 {
			return
		}
		to = x.order.seek(end)
	}
	x.order.ascend(x.order.seek(key), to, fn)
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
