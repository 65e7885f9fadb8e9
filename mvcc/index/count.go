package index

import "bytes"

// maxHeight bounds the levels of a tree: each takes a thirty-second of the splits of that below.
const maxHeight = 16

// counting is a count under way.
type counting struct {
	o      *order
	rev    int64
	budget int // ids to look at
	live   int
	next   uint32 // where the budget was over; 0: nowhere yet
	// Where the bounds are on each level; to is behind what counts.
	from, to [maxHeight]int
}

// Count counts the keys in [key, end) that are there at rev (an empty end is the end of all keys),
// until it has looked at about budget keys one by one: then next is the id of the first key that
// is not counted, else 0. What has not changed since rev is counted without a look at the keys.
func (x *Index) Count(key, end []byte, rev int64, budget int) (live int, next uint32) {
	o := &x.order
	c := counting{o: o, rev: rev, budget: budget}
	if len(end) > 0 && bytes.Compare(key, end) >= 0 {
		return 0, 0
	}
	o.path(key, &c.from)
	if len(end) > 0 {
		o.path(end, &c.to)
	}
	c.node(o.height, o.root, true, len(end) > 0)
	return c.live, c.next
}

// path notes in which node of each level a key is, and which of a leaf's ids is the first that is
// not below it.
func (o *order) path(key []byte, at *[maxHeight]int) {
	node := o.root
	for level := o.height; level > 0; level-- {
		b, h := o.branches.at(node)
		at[level] = o.child(b, h, key)
		node = b.children[at[level]]
	}
	at[0] = o.seekIn(node, key)
}

// node counts below a node; first and last say that the bounds are in it.
func (c *counting) node(level int, node uint32, first, last bool) {
	h := c.o.head(level, node)
	if !first && !last && h.newest <= c.rev {
		c.live += int(h.live)
		return
	}
	from, to := 0, int(h.n)
	if first {
		from = c.from[level]
	}
	if level == 0 {
		if last {
			to = c.to[0]
		}
		c.ids(c.o.leaves.bodies.at(node).ids[min(from, to):to])
		return
	}
	if last {
		to = c.to[level] + 1
	}
	b := c.o.branches.bodies.at(node)
	for i := from; i < to && c.next == 0; i++ {
		c.node(level-1, b.children[i], first && i == from, last && i == to-1)
	}
}

// ids looks at the keys of a leaf one by one.
func (c *counting) ids(ids []uint32) {
	for _, id := range ids {
		if c.budget <= 0 {
			c.next = id
			return
		}
		c.budget--
		if c.o.x.liveAt(id, c.rev) {
			c.live++
		}
	}
}

// liveAt says whether a key is there at rev.
func (x *Index) liveAt(id uint32, rev int64) bool {
	e := x.entries.at(id)
	if e.main <= rev {
		return e.flags&entryTomb == 0
	}
	v, ok := x.At(id, rev)
	return ok && !v.Tombstone
}
