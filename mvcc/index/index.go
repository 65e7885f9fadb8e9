package index

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
)

// Limits of an index.
const (
	// MaxKeyBytes is the longest key.
	MaxKeyBytes = 1<<entryLenBits - 1
	// MaxSub is the largest sub revision.
	MaxSub = 1<<nodeSubBits - 1
)

// ErrFull says that the index has no ids left: 2^32-1 keys, versions, or keys of one size class.
var ErrFull = errors.New("key index is full")

const (
	entryLenBits = 24
	nodeSubBits  = 30

	entryUsed  = 1 << 31            // the entry is a key, not on the free list
	entryTomb  = 1 << 30            // the newest version is a tombstone
	entryDirty = 1 << 29            // the entry is in the queue of the compactor
	entryCount = 31 << entryLenBits // number of versions, modulo skipEvery
	countOne   = 1 << entryLenBits

	nodeTomb  = 1 << 31 // a version that is a tombstone
	nodeExtra = 1 << 30 // not a version
	nodeLife  = nodeExtra
	nodeSkip  = nodeExtra | nodeTomb

	// maxNodes leaves room for the nodes of one more version.
	maxNodes = 1<<32 - 16
)

// entry is a key and its newest version. While that is a tombstone, create and version are those
// of the life that it ended (0 if compacted away).
type entry struct {
	create, version int64
	main            int64
	lease           int64
	pos             uint64
	key             uint32 // slot in the arena
	flags           uint32 // entryUsed, entryTomb, entryDirty, entryCount, length of the key
	sub             uint32
	older           uint32 // node of the version before; in the free list: the next free entry
	leaf            uint32 // of the ordered tree; 0 while that is not kept
}

// node is an older version of a key, or tells something of the versions behind it. The nodes of a
// key are linked newest first.
//
//	version  all fields are what they say; nodeTomb for a tombstone
//	life     main and pos hold create revision and version of the version behind it: stands
//	         between a tombstone and the version before it, behind each skip, and where
//	         versions are missing
//	skip     pos is an older skip (0: none), main the main revision of the version behind that
//	         one, sub the number of the skip: see chain.go
type node struct {
	main  int64
	pos   uint64
	lease int64
	sub   uint32 // kind, sub revision
	older uint32 // in the free list: the next free node
}

func (n *node) isVersion() bool { return n.sub&nodeExtra == 0 }
func (n *node) isSkip() bool    { return n.sub&nodeSkip == nodeSkip }

// Version is one version of a key.
type Version struct {
	Main      int64
	Sub       uint32
	Tombstone bool
	Create    int64 // 0 in a tombstone
	Version   int64 // 0 in a tombstone
	Lease     int64
	Pos       uint64
}

// Index is the key index; see the package comment for what may run at once.
type Index struct {
	seed    maphash.Seed
	entries slab[entry]
	nodes   slab[node]
	keys    arena
	table   table
	order   order

	freeEntry, freeNode uint32 // heads of the free lists
	count               int    // entries in use
	live                int    // of which the newest version is no tombstone
	versions            int    // nodes in use that are versions
	nodesUsed           int    // nodes in use
	unordered           bool   // Restore is running: the tree is not kept

	compactor compactor
}

// New returns an empty index.
func New() *Index {
	x := &Index{seed: maphash.MakeSeed(), table: newTable()}
	x.order.init(x)
	return x
}

// Len is the number of keys, those included whose newest version is a tombstone.
func (x *Index) Len() int { return x.count }

// Live is the number of keys whose newest version is no tombstone.
func (x *Index) Live() int { return x.live }

// Versions is the number of versions of all keys.
func (x *Index) Versions() int { return x.count + x.versions }

// Bytes is the memory that the index takes.
func (x *Index) Bytes() int {
	const entryBytes, nodeBytes = 64, 32
	return len(x.entries.chunks)*slabChunkLen*entryBytes +
		len(x.nodes.chunks)*slabChunkLen*nodeBytes +
		x.keys.bytes + x.table.bytes() + x.order.bytes() + x.compactor.queue.bytes()
}

func (x *Index) hash(key []byte) uint32 { return uint32(maphash.Bytes(x.seed, key)) }

func (e *entry) keyLen() int { return int(e.flags & (1<<entryLenBits - 1)) }

// Key returns the bytes of a key.
func (x *Index) Key(id uint32) []byte {
	e := x.entries.at(id)
	return x.keys.get(e.key, e.keyLen())
}

// Find returns the id of a key, 0 if it has no version.
func (x *Index) Find(key []byte) uint32 { return x.find(x.hash(key), key) }

func (x *Index) find(hash uint32, key []byte) uint32 {
	slots := x.table.tables[x.table.number(hash)]
	for i := hash % tableSlots; ; i = (i + 1) % tableSlots {
		s := slots[i]
		if s.id == 0 {
			return 0
		}
		if s.hash == hash && bytes.Equal(x.Key(s.id), key) {
			return s.id
		}
	}
}

// Newest returns the newest version of a key.
func (x *Index) Newest(id uint32) Version {
	e := x.entries.at(id)
	v := Version{Main: e.main, Sub: e.sub, Lease: e.lease, Pos: e.pos}
	if e.flags&entryTomb != 0 {
		v.Tombstone = true
	} else {
		v.Create, v.Version = e.create, e.version
	}
	return v
}

// Put makes v the newest version of a key and returns the key's id. v.Main, v.Sub must be above
// those of the key's newest version; Create and Version must continue it (see [Index.Check]). An
// error (ErrFull, or a limit of this package) leaves the index unchanged.
func (x *Index) Put(key []byte, v Version) (uint32, error) {
	if v.Sub > MaxSub {
		return 0, fmt.Errorf("sub revision %d of revision %d: the limit is %d changes",
			v.Sub, v.Main, MaxSub)
	}
	hash := x.hash(key)
	if id := x.find(hash, key); id != 0 {
		return id, x.push(id, v)
	}
	if len(key) > MaxKeyBytes {
		return 0, fmt.Errorf("key of %d bytes: the limit is %d", len(key), MaxKeyBytes)
	}
	return x.add(hash, key, v)
}

// add makes a key that is not in the index.
func (x *Index) add(hash uint32, key []byte, v Version) (uint32, error) {
	id := x.freeEntry
	if id != 0 {
		x.freeEntry = x.entries.at(id).older
	} else if id = x.entries.grow(); id == 0 {
		return 0, ErrFull
	}
	e := x.entries.at(id)
	slot, ok := x.keys.put(key)
	if ok && !x.table.insert(hash, id) {
		x.keys.remove(slot, len(key))
		ok = false
	}
	if !ok {
		*e = entry{older: x.freeEntry}
		x.freeEntry = id
		return 0, ErrFull
	}
	*e = entry{key: slot, flags: entryUsed | uint32(len(key))}
	e.set(v)
	x.count++
	if v.Tombstone {
		x.markDirty(id, e)
	} else {
		x.live++
	}
	if !x.unordered {
		x.order.insert(id)
	}
	return id, nil
}

// set makes v the newest version without regard to the one before.
func (e *entry) set(v Version) {
	e.main, e.sub, e.lease, e.pos = v.Main, v.Sub, v.Lease, v.Pos
	if v.Tombstone {
		e.flags |= entryTomb
		return // create and version stay: they are of the life that ends here
	}
	e.flags &^= entryTomb
	e.create, e.version = v.Create, v.Version
}

// push puts a version before those that the key has.
func (x *Index) push(id uint32, v Version) error {
	if x.nodesUsed > maxNodes {
		return ErrFull
	}
	e := x.entries.at(id)
	wasTomb := e.flags&entryTomb != 0
	n := node{main: e.main, pos: e.pos, lease: e.lease, sub: e.sub, older: e.older}
	if wasTomb {
		n.sub |= nodeTomb
		if e.older != 0 {
			n.older = x.newNode(e.life(e.older))
		}
	}
	e.older = x.newNode(n)
	if e.flags = e.flags&^entryCount | (e.flags+countOne)&entryCount; e.flags&entryCount == 0 {
		x.addSkip(e)
	}
	e.set(v)
	live := 0
	if wasTomb {
		live++
	}
	if v.Tombstone {
		live--
	}
	x.live += live
	if !x.unordered {
		x.order.changed(id, v.Main, live)
	}
	x.markDirty(id, e)
	return nil
}

// life is the node that stands before node older, the version that the entry has or, in a
// tombstone, had.
func (e *entry) life(older uint32) node {
	return node{main: e.create, pos: uint64(e.version), sub: nodeLife, older: older}
}

// newNode takes a node; push has made sure that there is one.
func (x *Index) newNode(n node) uint32 {
	id := x.freeNode
	if id != 0 {
		x.freeNode = x.nodes.at(id).older
	} else {
		id = x.nodes.grow()
	}
	*x.nodes.at(id) = n
	x.nodesUsed++
	if n.isVersion() {
		x.versions++
	}
	return id
}

func (x *Index) dropNode(id uint32) {
	n := x.nodes.at(id)
	if n.isVersion() {
		x.versions--
	}
	x.nodesUsed--
	*n = node{older: x.freeNode}
	x.freeNode = id
}

// remove takes a key without older versions out of the index.
func (x *Index) remove(id uint32) {
	e := x.entries.at(id)
	if !x.unordered {
		x.order.remove(id)
	}
	x.table.remove(x.hash(x.Key(id)), id)
	x.keys.remove(e.key, e.keyLen())
	if e.flags&entryTomb == 0 {
		x.live--
	}
	x.count--
	*e = entry{older: x.freeEntry}
	x.freeEntry = id
}
