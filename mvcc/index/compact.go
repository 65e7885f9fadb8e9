package index

import "github.com/cairnkv/cairn/internal/mutate"

// removeCost is what taking a key out (hash table, tree, arena) weighs against looking at one
// version.
const removeCost = 8

// compactor is the state of a pass through the keys that have something to drop.
//
// Every key with more than one version, or with a tombstone as its newest, is in the queue once
// (entryDirty says so). A pass to revision R takes the keys that were queued when it began, one
// after the other, and puts back those that will have something to drop at a later revision. So a
// pass costs what has changed, not what is stored.
type compactor struct {
	queue  fifo
	rev    int64  // revision of the pass
	left   int    // keys of the pass still in the queue
	id     uint32 // key in work, 0 if none
	before uint32 // its node to go on from; 0: from the entry
	tail   uint32 // chain of nodes cut off, to be freed
}

func (x *Index) markDirty(id uint32, e *entry) {
	if e.flags&entryDirty == 0 {
		e.flags |= entryDirty
		x.compactor.queue.push(id)
	}
}

// CompactBegin starts a pass that drops what nobody sees at rev and above: for each key keeps the
// newest version with main <= rev, unless it is a tombstone with main < rev, and all above. The
// pass before must be done, and its revision lower.
func (x *Index) CompactBegin(rev int64) {
	x.compactor.rev = rev
	x.compactor.left = x.compactor.queue.len
}

// CompactStep goes on with the pass until about units versions were looked at (at least one). It
// appends the places of the versions that it dropped. done means that the pass is over.
func (x *Index) CompactStep(units int, dropped []uint64) (_ []uint64, done bool) {
	c := &x.compactor
	for ; ; units-- {
		switch {
		case c.tail != 0:
			n := x.nodes.at(c.tail)
			if n.isVersion() {
				dropped = append(dropped, n.pos)
			}
			next := n.older
			x.dropNode(c.tail)
			c.tail = next
		case c.id != 0:
			cost := 0
			dropped, cost = x.compactWalk(dropped)
			units -= cost
		case c.left == 0:
			return dropped, true
		default:
			c.id, c.before = c.queue.pop(), 0
			c.left--
		}
		if units <= 0 {
			return dropped, false
		}
	}
}

// compactWalk looks at one node of the key in work: either it is the last that is needed, and the
// rest is cut off, or the walk goes on behind it. Keys get versions between two steps, in front
// only, so a node behind which all is older stays that.
func (x *Index) compactWalk(dropped []uint64) (_ []uint64, cost int) {
	c := &x.compactor
	e := x.entries.at(c.id)
	link := &e.older
	if c.before != 0 {
		link = &x.nodes.at(c.before).older
	} else if e.main <= c.rev {
		c.tail, e.older = e.older, 0
		if e.flags&entryTomb != 0 && e.main < c.rev {
			dropped = append(dropped, e.pos)
			x.remove(c.id)
			c.id = 0
			return dropped, removeCost
		}
		x.compacted(e)
		return dropped, 0
	}
	if *link == 0 {
		x.compacted(e)
		return dropped, 0
	}
	last := c.rev
	if mutate.On(mutate.CompactTooMuch) {
		last += 2
	}
	switch n := x.nodes.at(*link); {
	case n.isVersion() && n.main <= last:
		c.tail = x.cut(link, n)
		x.compacted(e)
	case n.isSkip() && n.pos != 0 && x.stays(n.main):
		c.before = uint32(n.pos)
	default:
		c.before = *link
	}
	return dropped, 0
}

// cut ends a chain at n, to which link leads: behind it, or before it if it is a tombstone below
// the revision of the pass. It returns what was cut off.
func (x *Index) cut(link *uint32, n *node) (tail uint32) {
	if n.sub&nodeTomb != 0 && n.main < x.compactor.rev {
		tail, *link = *link, 0
		return tail
	}
	tail, n.older = n.older, 0
	return tail
}

// compacted ends the work on a key: it goes back into the queue if there will be more to drop.
func (x *Index) compacted(e *entry) {
	c := &x.compactor
	if e.older != 0 || e.flags&entryTomb != 0 {
		c.queue.push(c.id)
	} else {
		e.flags &^= entryDirty
	}
	c.id = 0
}

// fifoBlock is the number of ids in a block of a fifo.
const fifoBlock = 1024

// fifo is a queue of ids. It is bounded by the number of keys: each is in it at most once.
type fifo struct {
	blocks []*[fifoBlock]uint32
	first  int // place of the first id in the first block
	len    int
	spare  *[fifoBlock]uint32
}

func (f *fifo) push(id uint32) {
	at := f.first + f.len
	if at/fifoBlock == len(f.blocks) {
		b := f.spare
		if b == nil {
			b = new([fifoBlock]uint32)
		}
		f.spare = nil
		f.blocks = append(f.blocks, b)
	}
	f.blocks[at/fifoBlock][at%fifoBlock] = id
	f.len++
}

// pop takes the oldest id; the queue must not be empty.
func (f *fifo) pop() uint32 {
	id := f.blocks[0][f.first]
	f.first++
	f.len--
	if f.first == fifoBlock {
		f.spare = f.blocks[0]
		f.blocks[0] = nil
		f.blocks = f.blocks[1:]
		f.first = 0
	}
	return id
}

func (f *fifo) bytes() int { return len(f.blocks) * fifoBlock * 4 }
