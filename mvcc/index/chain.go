package index

import "fmt"

// skipEvery is after how many versions of a key a skip is put into the chain of its nodes. Skip
// number s leads to number s-1; where s is a multiple of 32 to s-32, of 1024 to s-1024, and so
// on. So a version is found in logarithmic time, also of a key that is written without pause.
//
//	entry -> version -> ... -> skip 64 -> life -> version -> ... -> skip 63 -> life -> version
//	                              |                                    |
//	                              +--> skip 32                         +--> skip 62
//
// A skip may lead to a node that compaction has freed. It is followed only if the version that it
// leads to is above the revision of every compaction: such a version stays.
const skipEvery = 32

// addSkip puts a skip and a life before the version that push has just made the newest of the
// nodes; the entry still holds that version's create revision and version.
func (x *Index) addSkip(e *entry) {
	skip := node{sub: nodeSkip}
	if id := x.lastSkip(e.older); id != 0 {
		s := x.nodes.at(id)
		number := (s.sub + 1) & MaxSub
		stride := uint32(1)
		for number != 0 && number%(stride*skipEvery) == 0 && stride < MaxSub/skipEvery {
			stride *= skipEvery
		}
		for want := number - stride; s.sub&MaxSub > want && s.pos != 0 && x.stays(s.main); {
			id = uint32(s.pos)
			s = x.nodes.at(id)
		}
		skip.sub |= number
		skip.pos = uint64(id)
		skip.main = x.nodes.at(x.nodes.at(s.older).older).main // behind the skip's life
	}
	skip.older = x.newNode(e.life(e.older))
	e.older = x.newNode(skip)
}

// lastSkip is the first skip from a node on, among the nodes of the skipEvery newest versions; 0
// if compaction has cut it off.
func (x *Index) lastSkip(id uint32) uint32 {
	for id != 0 && !x.nodes.at(id).isSkip() {
		id = x.nodes.at(id).older
	}
	return id
}

// stays says that compaction leaves versions of that main revision where they are.
func (x *Index) stays(main int64) bool { return main > x.compactor.rev }

// walk is a place in the versions of a key: first the entry's, then node by node to older ones. It
// carries the create revision and version that nodes do not store.
type walk struct {
	x               *Index
	node            uint32 // of this version; 0: the entry
	next            uint32 // node behind it
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

// older steps to an older version, or over many that are above rev; false at the last.
func (w *walk) older(rev int64) bool {
	told := w.tomb // create and version are those of the next version
	for w.next != 0 {
		n := w.x.nodes.at(w.next)
		switch {
		case n.isVersion():
			if !told {
				w.version--
			}
			w.main, w.pos, w.lease = n.main, n.pos, n.lease
			w.sub, w.tomb = n.sub&MaxSub, n.sub&nodeTomb != 0
			w.node, w.next = w.next, n.older
			return true
		case !n.isSkip():
			w.create, w.version, told = n.main, int64(n.pos), true
			w.next = n.older
		case n.pos != 0 && n.main > rev && w.x.stays(n.main):
			w.next = uint32(n.pos)
		default:
			w.next = n.older
		}
	}
	return false
}

// find goes to the newest version that is not above rev.
func (w *walk) find(rev int64) bool {
	for w.main > rev {
		if !w.older(rev) {
			return false
		}
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
// none. It may be a tombstone.
func (x *Index) At(id uint32, rev int64) (Version, bool) {
	if x.entries.at(id).main <= rev {
		return x.Newest(id), true
	}
	w := x.walk(id)
	if !w.find(rev) {
		return Version{}, false
	}
	return w.get(), true
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

// seek goes to the version of key at main, sub; false if the index does not have it.
func (x *Index) seek(key []byte, main int64, sub uint32) (id uint32, w walk, ok bool) {
	if id = x.Find(key); id == 0 {
		return 0, w, false
	}
	w = x.walk(id)
	for ok = w.find(main); ok && w.main == main && w.sub != sub; {
		ok = w.older(main)
	}
	return id, w, ok && w.main == main
}

// Has says whether the version of key at main, sub is in the index.
func (x *Index) Has(key []byte, main int64, sub uint32) bool {
	_, _, ok := x.seek(key, main, sub)
	return ok
}

// Move says that the record of the version of key at main, sub went from one place to another;
// false (and no change) if that version is not in the index, or is elsewhere already.
func (x *Index) Move(key []byte, main int64, sub uint32, from, to uint64) bool {
	id, w, ok := x.seek(key, main, sub)
	if !ok || w.pos != from {
		return false
	}
	if w.node == 0 {
		x.entries.at(id).pos = to
	} else {
		x.nodes.at(w.node).pos = to
	}
	return true
}
