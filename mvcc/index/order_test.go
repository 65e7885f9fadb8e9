package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// valid says what is wrong with the tree: order, counts, links, what a node says of those below.
func (o *order) valid() error {
	c := &checked{o: o}
	if err := c.node(o.height, o.root, 0); err != nil {
		return err
	}
	if c.len != o.x.Len() || o.head(o.height, o.root).parent != 0 {
		return fmt.Errorf("%d ids, len %d", c.len, o.x.Len())
	}
	if c.last != 0 && o.leaves.bodies.at(c.last).next != 0 {
		return fmt.Errorf("the last leaf leads to another one")
	}
	leaves := int(o.leaves.bodies.next) - 1 - len(o.leaves.bodies.free)
	branches := max(int(o.branches.bodies.next)-1, 0) - len(o.branches.bodies.free)
	if leaves != c.leaves || branches != c.branches {
		return fmt.Errorf("%d leaves and %d branches are in use, %d and %d in the tree", leaves,
			branches, c.leaves, c.branches)
	}
	return nil
}

// checked is what a walk over a tree has found.
type checked struct {
	o                     *order
	len, leaves, branches int
	last                  uint32 // leaf
	key                   []byte
}

func (c *checked) node(level int, node, parent uint32) error {
	h := c.o.head(level, node)
	if h.parent != parent || h.n == 0 && c.o.x.Len() > 0 || h.n > fanout {
		return fmt.Errorf("node %d of level %d has the parent %d, not %d, and %d items", node,
			level, h.parent, parent, h.n)
	}
	if level == 0 {
		return c.leaf(node)
	}
	c.branches++
	b, _ := c.o.branches.at(node)
	live := uint32(0)
	for i, child := range b.children[:h.n] {
		below := c.o.head(level-1, child)
		live += below.live
		if below.newest > h.newest {
			return fmt.Errorf("branch %d knows %d, its node %d", node, h.newest, below.newest)
		}
		if first := c.o.firstOf(level-1, child); first != b.first[i] {
			return fmt.Errorf("node %d of branch %d begins with %d, not %d", i, node, first,
				b.first[i])
		}
		if err := c.node(level-1, child, node); err != nil {
			return err
		}
	}
	if live != h.live {
		return fmt.Errorf("branch %d counts %d, its nodes %d", node, h.live, live)
	}
	return nil
}

func (c *checked) leaf(node uint32) error {
	l, h := c.o.leaves.at(node)
	if c.leaves++; l.prev != c.last || c.last != 0 && c.o.leaves.bodies.at(c.last).next != node {
		return fmt.Errorf("leaf %d is behind %d, not %d", node, c.last, l.prev)
	}
	c.last = node
	live := uint32(0)
	for _, id := range l.ids[:h.n] {
		e := c.o.x.entries.at(id)
		if e.flags&entryTomb == 0 {
			live++
		}
		key := c.o.x.Key(id)
		if e.leaf != node || e.main > h.newest || c.len > 0 && bytes.Compare(c.key, key) >= 0 {
			return fmt.Errorf("id %d (%q) of leaf %d: entry %+v, newest %d, before it %q", id, key,
				node, *e, h.newest, c.key)
		}
		c.key = key
		c.len++
	}
	if live != h.live {
		return fmt.Errorf("leaf %d counts %d of %d", node, h.live, live)
	}
	return nil
}

// tender puts, deletes and compacts keys of an index.
type tender struct {
	t   *testing.T
	x   *Index
	rev int64
}

func (d *tender) put(key []byte) {
	d.t.Helper()
	d.rev++
	v := Version{Main: d.rev, Create: d.rev, Version: 1}
	if id := d.x.Find(key); id != 0 {
		if n := d.x.Newest(id); !n.Tombstone {
			v.Create, v.Version = n.Create, n.Version+1
		}
	}
	if _, err := d.x.Put(key, v); err != nil {
		d.t.Fatal(err)
	}
}

func (d *tender) delete(key []byte) {
	d.t.Helper()
	if id := d.x.Find(key); id == 0 || d.x.Newest(id).Tombstone {
		return
	}
	d.rev++
	if _, err := d.x.Put(key, Version{Main: d.rev, Tombstone: true}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *tender) compact() {
	d.rev++
	d.x.CompactBegin(d.rev)
	for done := false; !done; {
		_, done = d.x.CompactStep(1000, nil)
	}
}

func (d *tender) check() {
	d.t.Helper()
	if err := d.x.order.valid(); err != nil {
		d.t.Fatal(err)
	}
}

// orderKeys is how many keys make two levels of branches, and deepKeys three.
const orderKeys, deepKeys = 30_000, 150_000

func orderKey(i int) []byte { return fmt.Appendf(nil, "/key/%07d", i) }

// growth are ways for a tree to grow.
var growth = map[string]func(d *tender, r *rand.Rand){
	"ascending": func(d *tender, _ *rand.Rand) {
		for i := range orderKeys {
			d.put(orderKey(i))
		}
	},
	"descending": func(d *tender, _ *rand.Rand) {
		for i := range orderKeys {
			d.put(orderKey(orderKeys - i))
		}
	},
	"at random": func(d *tender, r *rand.Rand) {
		for range deepKeys {
			d.put(orderKey(r.IntN(deepKeys)))
		}
	},
	"a queue": func(d *tender, _ *rand.Rand) {
		for i := range orderKeys {
			d.put(orderKey(i))
			if i >= 3000 {
				d.delete(orderKey(i - 3000))
			}
			if i%5_000 == 0 {
				d.compact()
				d.check()
			}
		}
	},
	"several in order": func(d *tender, r *rand.Rand) {
		var next [20]int
		for range orderKeys {
			of := r.IntN(len(next))
			next[of]++
			d.put(fmt.Appendf(nil, "/%02d/%06d", of, next[of]))
		}
	},
}

// TestOrder lets trees grow in several ways and shrink to nothing.
func TestOrder(t *testing.T) {
	for name, grow := range growth {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(11, 1))
			d := &tender{t: t, x: New(), rev: 1}
			d.check()
			grow(d, r)
			d.check()
			d.compact()
			d.check()
			var ids []uint32
			d.x.Ascend(nil, nil, func(id uint32) bool { ids = append(ids, id); return true })
			if len(ids) != d.x.Len() {
				t.Fatalf("%d ids of %d", len(ids), d.x.Len())
			}
			d.shrink(r, ids)
			if d.x.Len() != 0 || d.x.order.height != 0 {
				t.Fatalf("%d keys, height %d left", d.x.Len(), d.x.order.height)
			}
			d.put(orderKey(1))
			d.check()
		})
	}
}

// shrink deletes keys at random, most of what is left each time, and at last all.
func (d *tender) shrink(r *rand.Rand, ids []uint32) {
	d.t.Helper()
	r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for len(ids) > 0 {
		part := ids[:max(len(ids)*4/5, 1)]
		for _, id := range part {
			d.delete(bytes.Clone(d.x.Key(id)))
		}
		ids = ids[len(part):]
		for range len(ids) / 10 { // so that neighbours are not equally new
			d.put(bytes.Clone(d.x.Key(ids[r.IntN(len(ids))])))
		}
		d.check()
		d.compact()
		d.check()
	}
}

// TestCount compares counts of ranges at revisions, in one go and in pieces, with a walk.
func TestCount(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 2))
		d := &tender{t: t, x: New(), rev: 1}
		keys := []int{3, 200, 20_000, 20_000}[seed]
		key := func() []byte { return fmt.Appendf(nil, "%06d", r.IntN(keys)) }
		for range 3 * keys {
			if d.put(key()); r.IntN(3) == 0 {
				d.delete(key())
			}
		}
		d.compact()
		floor := d.rev
		for range keys / 10 {
			if d.put(key()); r.IntN(2) == 0 {
				d.delete(key())
			}
		}
		for range 300 {
			from, to := key(), key()
			if r.IntN(5) == 0 {
				to = nil
			}
			if r.IntN(5) == 0 {
				from = nil
			}
			rev := floor + r.Int64N(d.rev-floor+1)
			want := 0
			d.x.Ascend(from, to, func(id uint32) bool {
				if v, ok := d.x.At(id, rev); ok && !v.Tombstone {
					want++
				}
				return true
			})
			if got, next := d.x.Count(from, to, rev, 1<<30); got != want || next != 0 {
				t.Fatalf("seed %d: [%s, %s) at %d has %d, not %d (next %d)", seed, from, to, rev,
					got, want, next)
			}
			got := 0
			for at := from; ; {
				n, next := d.x.Count(at, to, rev, 1+r.IntN(100))
				if got += n; next == 0 {
					break
				}
				at = bytes.Clone(d.x.Key(next))
			}
			if got != want {
				t.Fatalf("seed %d: [%s, %s) at %d in pieces has %d, not %d", seed, from, to, rev,
					got, want)
			}
		}
	}
}

// TestCountIsShort: what has not changed since the revision is not looked at key by key.
func TestCountIsShort(t *testing.T) {
	d := &tender{t: t, x: New(), rev: 1}
	const n = 100_000
	for i := range n {
		d.put(fmt.Appendf(nil, "%06d", i))
	}
	old := d.rev
	if got, next := d.x.Count(nil, nil, old, 2*fanout); got != n || next != 0 {
		t.Errorf("%d counted of %d, next %d", got, n, next)
	}
	for i := range 10 {
		d.delete(fmt.Appendf(nil, "%06d", i*1000))
	}
	for rev, want := range map[int64]int{old: n, d.rev: n - 10} {
		if got, next := d.x.Count(nil, nil, rev, 13*fanout); got != want || next != 0 {
			t.Errorf("%d counted of %d at %d, next %d", got, want, rev, next)
		}
	}
}
