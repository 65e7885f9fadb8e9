package watch

import "bytes"

// tree is a set of key intervals [start, end), each with a bucket; a nil end is above every key.
// It answers which intervals hold a key in O(log n) steps for each of them. It is a treap
// ordered by (start, end) with the largest end of every subtree; its shape depends on the order
// of insertions alone.
type tree struct {
	root *node
	size int
	rng  uint64 // state of the priorities' generator (splitmix64)
}

type node struct {
	start, end  []byte
	maxEnd      []byte // largest end of the subtree
	priority    uint64 // larger than the children's
	left, right *node
	bucket      bucket
}

// ends says whether an interval ending at end is over at key.
func ends(end, key []byte) bool { return end != nil && bytes.Compare(end, key) <= 0 }

// laterEnd is the larger of two ends.
func laterEnd(a, b []byte) []byte {
	if a == nil || b == nil {
		return nil
	}
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

// order compares (start, end) with n's.
func (n *node) order(start, end []byte) int {
	if c := bytes.Compare(start, n.start); c != 0 {
		return c
	}
	switch {
	case end == nil && n.end == nil:
		return 0
	case end == nil:
		return 1
	case n.end == nil:
		return -1
	}
	return bytes.Compare(end, n.end)
}

func (n *node) update() {
	n.maxEnd = n.end
	if n.left != nil {
		n.maxEnd = laterEnd(n.maxEnd, n.left.maxEnd)
	}
	if n.right != nil {
		n.maxEnd = laterEnd(n.maxEnd, n.right.maxEnd)
	}
}

// get returns the bucket of the interval, which is added if it is not there.
func (t *tree) get(start, end []byte) *bucket {
	if n := t.lookup(start, end); n != nil {
		return &n.bucket
	}
	n := &node{start: start, end: end, maxEnd: end, priority: t.random()}
	n.bucket.start, n.bucket.end, n.bucket.ranged = start, end, true
	t.root = t.root.insert(n)
	t.size++
	return &n.bucket
}

func (t *tree) lookup(start, end []byte) *node {
	n := t.root
	for n != nil {
		c := n.order(start, end)
		switch {
		case c == 0:
			return n
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

// remove takes the interval out, which must be there.
func (t *tree) remove(start, end []byte) {
	t.root = t.root.remove(start, end)
	t.size--
}

// hold appends to hits the buckets of the intervals that hold key, in the intervals' order.
func (t *tree) hold(key []byte, hits []*bucket) []*bucket {
	return t.root.hold(key, hits)
}

func (n *node) hold(key []byte, hits []*bucket) []*bucket {
	for n != nil && !ends(n.maxEnd, key) {
		if n.left != nil {
			hits = n.left.hold(key, hits)
		}
		if bytes.Compare(key, n.start) < 0 {
			return hits
		}
		if !ends(n.end, key) {
			hits = append(hits, &n.bucket)
		}
		n = n.right
	}
	return hits
}

func (n *node) insert(x *node) *node {
	if n == nil {
		return x
	}
	if x.order(n.start, n.end) > 0 { // n is after x
		n.left = n.left.insert(x)
		if n.left.priority > n.priority {
			return n.rotateRight()
		}
	} else {
		n.right = n.right.insert(x)
		if n.right.priority > n.priority {
			return n.rotateLeft()
		}
	}
	n.update()
	return n
}

func (n *node) remove(start, end []byte) *node {
	switch c := n.order(start, end); {
	case c < 0:
		n.left = n.left.remove(start, end)
	case c > 0:
		n.right = n.right.remove(start, end)
	default:
		return join(n.left, n.right)
	}
	n.update()
	return n
}

// join makes one subtree of two, all of a before all of b.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		a.right = join(a.right, b)
		a.update()
		return a
	default:
		b.left = join(a, b.left)
		b.update()
		return b
	}
}

func (n *node) rotateRight() *node {
	l := n.left
	n.left, l.right = l.right, n
	n.update()
	l.update()
	return l
}

func (n *node) rotateLeft() *node {
	r := n.right
	n.right, r.left = r.left, n
	n.update()
	r.update()
	return r
}

func (t *tree) random() uint64 {
	t.rng += 0x9e3779b97f4a7c15
	z := t.rng
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
