package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// RestoreBegin starts the filling of an empty index by Restore. Until RestoreEnd only Restore may
// be called.
func (x *Index) RestoreBegin() { x.unordered = true }

// Restore adds the version v of a key, in the order of revisions, applying compaction to rev as
// it goes. It appends the places of the records that turn out dead: the version that v
// supersedes, or v itself. An error says that v cannot follow what came before, or ErrFull.
func (x *Index) Restore(key []byte, v Version, rev int64, dead []uint64) ([]uint64, error) {
	hash := x.hash(key)
	id := x.find(hash, key)
	gone := v.Tombstone && v.Main < rev // at most for the moment of a later version
	if id == 0 {
		if gone {
			return append(dead, v.Pos), nil
		}
		if v.Main > rev && (v.Tombstone || v.Create != v.Main || v.Version != 1) {
			return dead, fmt.Errorf("revision %d.%d changes a key that does not exist (create "+
				"revision %d, version %d)", v.Main, v.Sub, v.Create, v.Version)
		}
		if len(key) > MaxKeyBytes || v.Sub > MaxSub {
			return dead, fmt.Errorf("key of %d bytes, sub revision %d: out of bounds",
				len(key), v.Sub)
		}
		_, err := x.add(hash, key, v)
		return dead, err
	}
	if v.Main > rev {
		if err := x.Check(id, v); err != nil {
			return dead, err
		}
		return dead, x.push(id, v)
	}
	e := x.entries.at(id)
	if v.Main < e.main || v.Main == e.main && v.Sub <= e.sub {
		return dead, fmt.Errorf("revision %d.%d follows %d.%d", v.Main, v.Sub, e.main, e.sub)
	}
	dead = append(dead, e.pos)
	if gone {
		x.remove(id)
		return append(dead, v.Pos), nil
	}
	wasTomb := e.flags&entryTomb != 0
	e.set(v)
	switch {
	case v.Tombstone && !wasTomb:
		x.live--
		x.markDirty(id, e)
	case !v.Tombstone && wasTomb:
		x.live++
	}
	return dead, nil
}

// RestoreEnd builds the ordered tree of what Restore has added.
func (x *Index) RestoreEnd() {
	x.unordered = false
	x.order.load(x.sorted())
}

// sortKey orders most keys without a look at their bytes.
type sortKey struct {
	prefix uint64 // eight bytes of the key, big-endian, behind what all keys begin with
	id     uint32
}

// sorted returns the ids of all keys in the order of the keys.
func (x *Index) sorted() []sortKey {
	ids := make([]sortKey, 0, x.count)
	var common []byte
	for id := uint32(1); id < x.entries.next; id++ {
		if x.entries.at(id).flags&entryUsed == 0 {
			continue
		}
		key := x.Key(id)
		if len(ids) == 0 {
			common = key
		}
		n := 0
		for n < len(common) && n < len(key) && common[n] == key[n] {
			n++
		}
		common = common[:n]
		ids = append(ids, sortKey{id: id})
	}
	skip := len(common)
	for i := range ids {
		var b [8]byte
		copy(b[:], x.Key(ids[i].id)[skip:])
		ids[i].prefix = binary.BigEndian.Uint64(b[:])
	}
	slices.SortFunc(ids, func(a, b sortKey) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return bytes.Compare(x.Key(a.id), x.Key(b.id))
	})
	return ids
}
