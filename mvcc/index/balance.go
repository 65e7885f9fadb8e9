package index

// changed notes that the newest version of a key is of a revision, and that live keys more are
// there: 1, 0 or -1.
func (o *order) changed(id uint32, revision int64, live int) {
	o.bump(0, o.x.entries.at(id).leaf, revision, live)
}

// bump notes it in a node on a level and in all above.
func (o *order) bump(level int, node uint32, revision int64, live int) {
	for ; node != 0; level++ {
		h := o.head(level, node)
		h.newest = max(h.newest, revision)
		h.live += uint32(live)
		node = h.parent
	}
}

// insert adds the id of a key that the tree does not have.
func (o *order) insert(id uint32) {
	e := o.x.entries.at(id)
	p := o.seek(o.x.Key(id))
	if o.leaves.heads.at(p.leaf).n == fanout {
		p = o.splitLeaf(p, id)
	}
	l, h := o.leaves.at(p.leaf)
	copy(l.ids[p.at+1:h.n+1], l.ids[p.at:h.n])
	l.ids[p.at] = id
	h.n++
	e.leaf = p.leaf
	if p.at == 0 {
		o.fixFirst(0, p.leaf)
	}
	live := 0
	if e.flags&entryTomb == 0 {
		live = 1
	}
	o.bump(0, p.leaf, e.main, live)
}

// splitLeaf makes room for an id at a place in a full leaf, and returns where it belongs then. Keys
// that come in order fill their leaves; others halve them.
func (o *order) splitLeaf(p position, id uint32) position {
	behind := o.leaves.take()
	l, lh := o.leaves.at(p.leaf)
	r, rh := o.leaves.at(behind)
	keep := uint32(fanout / 2)
	if p.at == fanout {
		keep = fanout
	}
	lh.n, rh.n = keep, uint32(copy(r.ids[:], l.ids[keep:]))
	clear(l.ids[keep:])
	rh.newest = lh.newest
	for _, moved := range r.ids[:rh.n] {
		e := o.x.entries.at(moved)
		e.leaf = behind
		if e.flags&entryTomb == 0 {
			rh.live++
		}
	}
	lh.live -= rh.live
	r.prev, r.next, l.next = p.leaf, l.next, behind
	if r.next != 0 {
		o.leaves.bodies.at(r.next).prev = behind
	}
	first := r.ids[0]
	if keep == fanout {
		first, rh.newest = id, 0
	}
	o.addBehind(0, p.leaf, behind, first)
	if p.at > int(keep) || p.at == fanout {
		return position{behind, p.at - int(keep)}
	}
	return p
}

// addBehind hangs a new node behind its neighbour, above which its keys are counted already.
func (o *order) addBehind(level int, node, added, first uint32) {
	h := o.head(level, added)
	if o.head(level, node).parent == 0 {
		o.grow(level, node, h)
	}
	counted := o.head(level, node).parent
	parent, at := counted, o.find(counted, node)+1
	if o.branches.heads.at(parent).n == fanout {
		parent, at = o.splitBranch(level+1, parent, at, first)
	}
	b, above := o.branches.at(parent)
	copy(b.first[at+1:above.n+1], b.first[at:above.n])
	copy(b.children[at+1:above.n+1], b.children[at:above.n])
	b.first[at], b.children[at] = first, added
	above.n++
	h.parent = parent
	if parent != counted {
		o.bump(level+1, counted, 0, -int(h.live))
		o.bump(level+1, parent, h.newest, int(h.live))
	}
}

// grow puts a root above the one there is, which counts the keys of another node as well.
func (o *order) grow(level int, node uint32, other *header) {
	root := o.branches.take()
	b, above := o.branches.at(root)
	h := o.head(level, node)
	*above = header{newest: max(h.newest, other.newest), live: h.live + other.live, n: 1}
	b.first[0], b.children[0] = o.firstOf(level, node), node
	h.parent = root
	o.root, o.height = root, level+1
}

// splitBranch makes room for a node at a place in a full branch of a level, whose first key is
// first, and returns where it belongs then.
func (o *order) splitBranch(
	level int, node uint32, at int, first uint32,
) (uint32, int) {
	behind := o.branches.take()
	l, lh := o.branches.at(node)
	r, rh := o.branches.at(behind)
	keep := uint32(fanout / 2)
	if at == fanout {
		keep = fanout
	}
	copy(r.first[:], l.first[keep:])
	lh.n, rh.n = keep, uint32(copy(r.children[:], l.children[keep:]))
	clear(l.first[keep:])
	clear(l.children[keep:])
	for _, child := range r.children[:rh.n] {
		h := o.head(level-1, child)
		h.parent = behind
		rh.live += h.live
		rh.newest = max(rh.newest, h.newest)
	}
	lh.live -= rh.live
	if keep < fanout {
		first = r.first[0]
	}
	o.addBehind(level, node, behind, first)
	if at > int(keep) || at == fanout {
		return behind, at - int(keep)
	}
	return node, at
}

// find is the number of a node in its parent.
func (o *order) find(parent, node uint32) int {
	b, h := o.branches.at(parent)
	for i, c := range b.children[:h.n] {
		if c == node {
			return i
		}
	}
	panic("index: a node that its parent does not know")
}

// firstOf is the id of the first key below a node.
func (o *order) firstOf(level int, node uint32) uint32 {
	if level == 0 {
		return o.leaves.bodies.at(node).ids[0]
	}
	return o.branches.bodies.at(node).first[0]
}

// fixFirst tells the nodes above that a node begins with another key.
func (o *order) fixFirst(level int, node uint32) {
	first := o.firstOf(level, node)
	for {
		parent := o.head(level, node).parent
		if parent == 0 {
			return
		}
		at := o.find(parent, node)
		o.branches.bodies.at(parent).first[at] = first
		if at > 0 {
			return
		}
		level, node = level+1, parent
	}
}

// remove takes an id out.
func (o *order) remove(id uint32) {
	e := o.x.entries.at(id)
	node := e.leaf
	if e.flags&entryTomb == 0 {
		o.bump(0, node, 0, -1)
	}
	l, h := o.leaves.at(node)
	at := 0
	for l.ids[at] != id {
		at++
	}
	copy(l.ids[at:h.n], l.ids[at+1:h.n])
	h.n--
	l.ids[h.n] = 0
	switch {
	case h.n == 0:
		o.dropLeaf(node)
		return
	case at == 0:
		o.fixFirst(0, node)
	}
	o.merge(node)
}

// merge makes a leaf and a neighbour one if both are small.
func (o *order) merge(node uint32) {
	l := o.leaves.bodies.at(node)
	for _, pair := range [2][2]uint32{{l.prev, node}, {node, l.next}} {
		into, from := pair[0], pair[1]
		if into == 0 || from == 0 {
			continue
		}
		a, ah := o.leaves.at(into)
		b, bh := o.leaves.at(from)
		if ah.parent != bh.parent || ah.n+bh.n > mergeFill {
			continue
		}
		for _, id := range b.ids[:bh.n] {
			o.x.entries.at(id).leaf = into
		}
		copy(a.ids[ah.n:], b.ids[:bh.n])
		ah.n += bh.n
		ah.live += bh.live
		ah.newest = max(ah.newest, bh.newest)
		o.dropLeaf(from)
		return
	}
}

// dropLeaf takes a leaf out whose ids are gone or elsewhere; the nodes above count them still, or
// have no more.
func (o *order) dropLeaf(node uint32) {
	l, h := o.leaves.at(node)
	parent := h.parent
	if parent == 0 {
		*h, *l = header{}, leaf{} // the empty tree
		return
	}
	if l.prev != 0 {
		o.leaves.bodies.at(l.prev).next = l.next
	}
	if l.next != 0 {
		o.leaves.bodies.at(l.next).prev = l.prev
	}
	o.leaves.give(node)
	o.dropChild(1, parent, node)
}

// dropChild takes a node out of its parent, which is on a level.
func (o *order) dropChild(level int, parent, node uint32) {
	b, h := o.branches.at(parent)
	at := o.find(parent, node)
	copy(b.first[at:h.n], b.first[at+1:h.n])
	copy(b.children[at:h.n], b.children[at+1:h.n])
	h.n--
	b.first[h.n], b.children[h.n] = 0, 0
	switch {
	case h.n == 0 && h.parent == 0:
		o.branches.give(parent)
		o.root, o.height = o.leaves.take(), 0
	case h.n == 0:
		above := h.parent
		o.branches.give(parent)
		o.dropChild(level+1, above, parent)
	case at == 0:
		o.fixFirst(level, parent)
		o.shrink()
	default:
		o.shrink()
	}
}

// shrink takes away a root with one node.
func (o *order) shrink() {
	for o.height > 0 {
		b, h := o.branches.at(o.root)
		if h.n > 1 {
			return
		}
		child := b.children[0]
		o.branches.give(o.root)
		o.height--
		o.root = child
		o.head(o.height, child).parent = 0
	}
}

// load fills an empty tree with ids that are in order.
func (o *order) load(ids []sortKey) {
	if len(ids) == 0 {
		return
	}
	o.leaves.give(o.root)
	var nodes []uint32
	for last := uint32(0); len(ids) > 0; {
		n := min(len(ids), loadFill)
		node := o.leaves.take()
		l, h := o.leaves.at(node)
		for i := range ids[:n] {
			e := o.x.entries.at(ids[i].id)
			l.ids[i], e.leaf = ids[i].id, node
			h.newest = max(h.newest, e.main)
			if e.flags&entryTomb == 0 {
				h.live++
			}
		}
		h.n, l.prev = uint32(n), last
		if last != 0 {
			o.leaves.bodies.at(last).next = node
		}
		last, ids = node, ids[n:]
		nodes = append(nodes, node)
	}
	for o.height = 0; len(nodes) > 1; o.height++ {
		nodes = o.loadLevel(o.height, nodes)
	}
	o.root = nodes[0]
}

// loadLevel puts branches above the nodes of a level and returns them.
func (o *order) loadLevel(level int, nodes []uint32) (branches []uint32) {
	for len(nodes) > 0 {
		n := min(len(nodes), loadFill)
		node := o.branches.take()
		b, above := o.branches.at(node)
		above.n = uint32(n)
		for i, child := range nodes[:n] {
			h := o.head(level, child)
			h.parent = node
			b.first[i], b.children[i] = o.firstOf(level, child), child
			above.live += h.live
			above.newest = max(above.newest, h.newest)
		}
		nodes = nodes[n:]
		branches = append(branches, node)
	}
	return branches
}
