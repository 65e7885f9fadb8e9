package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorBytes is the unit that a disk writes whole or, rarely, torn.
const sectorBytes = 512

// tornSectorOdds is one in how many lost sectors is torn within, at a random byte.
const tornSectorOdds = 8

// settle makes the names in d durable, and with them the changes in other directories that they
// rest on; the caller holds mu.
func (m *Mem) settle(d *memDir) {
	// Backwards: an operation goes to disk if it touches d, or if a later one that goes
	// touches the same name or node.
	need := newTouched()
	goes := make([]bool, len(m.pending))
	for i := len(m.pending) - 1; i >= 0; i-- {
		op := m.pending[i]
		if op.setDir == d || op.delDir == d || need.has(op) {
			goes[i] = true
			need.add(op)
		}
	}
	var rest []nameOp
	for i, op := range m.pending {
		if goes[i] {
			settleName(op)
		} else {
			rest = append(rest, op)
		}
	}
	m.pending = rest
}

func settleName(op nameOp) {
	if op.delDir != nil {
		delete(op.delDir.synced, op.delName)
	}
	if op.setDir != nil {
		op.setDir.synced[op.setName] = op.node
	}
}

// dirName is a name in a directory.
type dirName struct {
	dir  *memDir
	name string
}

// touched is a set of names and nodes; operations that share one are never reordered.
type touched struct {
	names map[dirName]bool
	nodes map[memNode]bool
}

func newTouched() touched {
	return touched{names: map[dirName]bool{}, nodes: map[memNode]bool{}}
}

func (t touched) has(op nameOp) bool {
	return t.nodes[op.node] ||
		op.setDir != nil && (t.names[dirName{op.setDir, op.setName}] || t.nodes[op.setDir]) ||
		op.delDir != nil && (t.names[dirName{op.delDir, op.delName}] || t.nodes[op.delDir])
}

func (t touched) add(op nameOp) {
	t.nodes[op.node] = true
	if op.setDir != nil {
		t.names[dirName{op.setDir, op.setName}] = true
	}
	if op.delDir != nil {
		t.names[dirName{op.delDir, op.delName}] = true
	}
}

// CrashClone returns the file system as a power failure at this moment could leave it: all that
// was synced, and of the rest what rng chooses.
//
//   - Names: an unsynced create, rename or remove happened or did not, each as a whole; of those
//     that touch the same name or the same file only the first few happened.
//   - Content: every sector (512 B; in some clones page, 4 KiB) of an unsynced write is in one
//     of the states it went through; now and then a sector is torn within.
//   - Length: one of those the file went through. Where it grew and the bytes did not reach
//     the disk, there are zeros.
//
// No lock is held in the clone, and it has no hook. A nil rng keeps nothing but what was
// synced. The same state and the same rng give the same clone.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := m.survivingNames(rng)
	c := &cloner{to: NewMem(), rng: rng, files: map[*memFile]*memFile{}}
	c.to.capacity = m.capacity
	c.copyDir(m.root, c.to.root, names)
	return c.to
}

// KillClone returns the file system as the end of the process leaves it: everything that was
// written is seen, what was not synced is still to be lost in a later crash, and nothing is
// locked. It has no hook.
func (m *Mem) KillClone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	to := NewMem()
	to.capacity = m.capacity
	k := &killer{to: to, nodes: map[memNode]memNode{m.root: to.root}}
	k.fill(m.root, to.root)
	for _, op := range m.pending {
		c := op
		c.node = k.copy(op.node)
		if op.setDir != nil {
			c.setDir = k.copy(op.setDir).(*memDir)
		}
		if op.delDir != nil {
			c.delDir = k.copy(op.delDir).(*memDir)
		}
		to.pending = append(to.pending, c)
	}
	return to
}

// killer copies all nodes that have, had or may have again a name.
type killer struct {
	to    *Mem
	nodes map[memNode]memNode
}

func (k *killer) copy(n memNode) memNode {
	if c, ok := k.nodes[n]; ok {
		return c
	}
	switch n := n.(type) {
	case *memDir:
		d := k.to.newDir()
		k.nodes[n] = d
		k.fill(n, d)
		return d
	case *memFile:
		n.mu.RLock()
		defer n.mu.RUnlock()
		k.to.nextID++
		f := &memFile{
			fs: k.to, num: k.to.nextID, links: n.links,
			data: slices.Clone(n.data), synced: slices.Clone(n.synced),
			ops: slices.Clone(n.ops), buf: slices.Clone(n.buf),
		}
		k.nodes[n] = f
		if n.links > 0 {
			f.copyBlocks(n)
		}
		return f
	}
	return nil // there is no other kind
}

func (k *killer) fill(from, to *memDir) {
	for _, name := range slices.Sorted(maps.Keys(from.entries)) {
		to.entries[name] = k.copy(from.entries[name])
	}
	for _, name := range slices.Sorted(maps.Keys(from.synced)) {
		to.synced[name] = k.copy(from.synced[name])
	}
}

// survivingNames chooses which pending names happened and returns the entries of each directory.
func (m *Mem) survivingNames(rng *rand.Rand) func(*memDir) map[string]memNode {
	changed := map[*memDir]map[string]memNode{}
	entries := func(d *memDir) map[string]memNode {
		if e, ok := changed[d]; ok {
			return e
		}
		return d.synced
	}
	edit := func(d *memDir) map[string]memNode {
		if _, ok := changed[d]; !ok {
			changed[d] = maps.Clone(d.synced)
		}
		return changed[d]
	}
	keep := chance(rng)
	lost := newTouched()
	for _, op := range m.pending {
		if lost.has(op) || !keep() {
			lost.add(op)
			continue
		}
		if op.delDir != nil {
			delete(edit(op.delDir), op.delName)
		}
		if op.setDir != nil {
			edit(op.setDir)[op.setName] = op.node
		}
	}
	return entries
}

// chance returns a coin whose bias is itself chosen, so that "all", "none" and "some" are all
// frequent.
func chance(rng *rand.Rand) func() bool {
	if rng == nil {
		return func() bool { return false }
	}
	switch rng.IntN(5) {
	case 0:
		return func() bool { return true }
	case 1:
		return func() bool { return false }
	default:
		p := rng.Float64()
		return func() bool { return rng.Float64() < p }
	}
}

// cloner copies a tree as a crash leaves it.
type cloner struct {
	to    *Mem
	rng   *rand.Rand
	files map[*memFile]*memFile
}

func (c *cloner) copyDir(from, to *memDir, names func(*memDir) map[string]memNode) {
	entries := names(from)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		var node memNode
		switch n := entries[name].(type) {
		case *memDir:
			d := c.to.newDir()
			c.copyDir(n, d, names)
			node = d
		case *memFile:
			node = c.copyFile(n)
		}
		to.entries[name] = node
		to.synced[name] = node
	}
}

func (c *cloner) copyFile(from *memFile) *memFile {
	f, ok := c.files[from]
	if !ok {
		c.to.nextID++
		f = &memFile{fs: c.to, num: c.to.nextID, data: from.crash(c.rng)}
		f.synced = slices.Clone(f.data)
		f.copyBlocks(from)
		c.files[from] = f
	}
	f.links++
	return f
}

// copyBlocks takes the space that from holds, as far as the length of f reaches.
func (f *memFile) copyBlocks(from *memFile) {
	limit := f.fs.capacity
	f.fs.capacity = 0
	for p := int64(0); p*memPageBytes < int64(len(f.data)); p++ {
		if p/64 < int64(len(from.blocks)) && from.blocks[p/64]>>(p%64)&1 == 1 {
			f.reserve(p*memPageBytes, p*memPageBytes+1)
		}
	}
	f.fs.capacity = limit
}

// crash returns the content that a power failure leaves.
func (f *memFile) crash(rng *rand.Rand) []byte {
	f.mu.RLock()
	defer f.mu.RUnlock()
	data := slices.Clone(f.synced)
	if rng == nil || len(f.ops) == 0 {
		return data
	}
	// meta operations reached the journal of the file system: the length is that after them.
	meta := len(f.ops)
	if !chance(rng)() {
		meta = rng.IntN(len(f.ops) + 1)
	}
	c := &contentCrash{
		rng: rng, keep: chance(rng), ops: len(f.ops), cuts: map[int64]int{}, unit: sectorBytes,
	}
	if rng.IntN(2) == 0 {
		c.unit = memPageBytes
	}
	size := int64(len(f.synced))
	for i, op := range f.ops {
		switch {
		case op.n < 0 && i < meta:
			size = op.off
			data = setLen(data, size)
		case op.n < 0 && op.off < int64(len(data)):
			// The cut was lost, and the blocks written after it with it.
			return setLen(data, size)
		case op.n >= 0:
			if i < meta {
				size = max(size, op.off+int64(op.n))
			}
			if end := op.off + int64(op.n); end > int64(len(data)) {
				data = setLen(data, end)
			}
			c.write(data, i, op.off, f.buf[op.at:op.at+op.n])
		}
	}
	return setLen(data, size)
}

// contentCrash decides for each sector how many of the operations reached it.
type contentCrash struct {
	rng  *rand.Rand
	keep func() bool
	ops  int
	unit int64
	cuts map[int64]int
}

// write does the part of the i-th operation that reached the disk.
func (c *contentCrash) write(data []byte, i int, off int64, p []byte) {
	for len(p) > 0 {
		sector := off / c.unit
		n := min(int64(len(p)), (sector+1)*c.unit-off)
		cut, ok := c.cuts[sector]
		if !ok {
			cut = c.ops
			if !c.keep() {
				cut = i
				if c.rng.IntN(2) == 0 {
					cut = i + c.rng.IntN(c.ops-i+1)
				}
			}
			c.cuts[sector] = cut
		}
		switch {
		case i < cut:
			copy(data[off:], p[:n])
		case i == cut && c.rng.IntN(tornSectorOdds) == 0:
			copy(data[off:], p[:c.rng.Int64N(n)])
		}
		off, p = off+n, p[n:]
	}
}
