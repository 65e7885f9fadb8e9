package index

import "fmt"

// walk is a place in the versions of a key: first the entry's, then node by node to older ones. It
// carries the create revision and version that nodes do not store.
type walk struct {
	x               *Index
	next            uint32 // node after this version
	main            int64
	pos             uint64
	lease           int64
	sub             uint32
	tomb            bool
	create, version int64 // of this version; of a tombstone: of the life that it ended
}

func (x *Index) walk(id uint32) walk {
	e := x.entries.at(id)
	return walk{
		x: x, next: e.older, main: e.main, pos: e.pos, lease: e.lease, sub: e.sub,
		tomb: e.flags&entryTomb != 0, create: e.create, version: e.version,
	}
}

// older steps to the version before; false at the last.
func (w *walk) older() bool {
	if w.next == 0 {
		return false
	}
	if !w.tomb {
		w.version--
	}
	n := w.x.nodes.at(w.next)
	w.main, w.pos, w.lease = n.main, n.pos, n.lease
	w.sub, w.tomb = n.sub&MaxSub, n.sub&nodeTomb != 0
	w.next = n.older
	if w.tomb && w.next != 0 {
		life := w.x.nodes.at(w.next)
		w.create, w.version = life.main, int64(life.pos)
		w.next = life.older
	}
	return true
}

func (w *walk) get() Version {
	v := Version{Main: w.main, Sub: w.sub, Tombstone: w.tomb, Lease: w.lease, Pos: w.pos}
	if !w.tomb {
		v.Create, v.Version = w.create, w.version
	}
	return v
}

// At returns the newest version of a key with a main revision of at most rev; false if there is
// none. It may be a tombstone. The time is linear in the number of versions above rev.
func (x *Index) At(id uint32, rev int64) (Version, bool) {
	e := x.entries.at(id)
	if e.main <= rev {
		return x.Newest(id), true
	}
	w := x.walk(id)
	for w.older() {
		if w.main <= rev {
			return w.get(), true
		}
	}
	return Version{}, false
}

// Check says what is wrong with v as the next version of a key: its revision must be above, and its
// create revision and version must continue the newest version's life or begin a new one.
func (x *Index) Check(id uint32, v Version) error {
	e := x.entries.at(id)
	if v.Main < e.main || v.Main == e.main && v.Sub <= e.sub {
		return fmt.Errorf("revision %d.%d follows %d.%d", v.Main, v.Sub, e.main, e.sub)
	}
	if v.Tombstone {
		if e.flags&entryTomb != 0 {
			return fmt.Errorf("a second tombstone at %d.%d after %d.%d",
				v.Main, v.Sub, e.main, e.sub)
		}
		return nil
	}
	create, version := e.create, e.version+1
	if e.flags&entryTomb != 0 {
		create, version = v.Main, 1
	}
	if v.Create != create || v.Version != version {
		return fmt.Errorf("revision %d.%d has create revision %d and version %d, not %d and %d",
			v.Main, v.Sub, v.Create, v.Version, create, version)
	}
	return nil
}

// Has says whether the version of key at main, sub is in the index.
func (x *Index) Has(key []byte, main int64, sub uint32) bool {
	id := x.Find(key)
	if id == 0 {
		return false
	}
	for w := x.walk(id); ; {
		if w.main == main && w.sub == sub {
			return true
		}
		if w.main < main || !w.older() {
			return false
		}
	}
}

// Move says that the record of the version of key at main, sub went from one place to another;
// false (and no change) if that version is not in the index, or is elsewhere already.
func (x *Index) Move(key []byte, main int64, sub uint32, from, to uint64) bool {
	id := x.Find(key)
	if id == 0 {
		return false
	}
	e := x.entries.at(id)
	if e.main == main && e.sub == sub {
		if e.pos != from {
			return false
		}
		e.pos = to
		return true
	}
	for at := e.older; at != 0; {
		n := x.nodes.at(at)
		if n.sub&nodeLife == 0 {
			if n.main == main && n.sub&MaxSub == sub {
				if n.pos != from {
					return false
				}
				n.pos = to
				return true
			}
			if n.main < main {
				return false
			}
		}
		at = n.older
	}
	return false
}
