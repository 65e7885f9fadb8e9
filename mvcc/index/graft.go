package index

import "fmt"

// Graft adds the next version of a key as a snapshot brings it, made under a compaction to rev:
// what that compaction dropped is missing. So up to rev a version need not continue the one
// before it (a gap), may be a second tombstone, or that of a key which is not there; above rev
// all is as for [Index.Check]. An error (that v cannot follow, ErrFull, or a limit of this
// package) leaves the index unchanged.
func (x *Index) Graft(key []byte, v Version, rev int64) error {
	id := x.Find(key)
	switch {
	case id == 0 && v.Main > rev && (v.Tombstone || v.Create != v.Main || v.Version != 1):
		return fmt.Errorf("revision %d.%d changes a key that does not exist (create revision %d, "+
			"version %d)", v.Main, v.Sub, v.Create, v.Version)
	case id == 0:
		_, err := x.Put(key, v)
		return err
	case v.Sub > MaxSub:
		return fmt.Errorf("sub revision %d: the limit is %d", v.Sub, MaxSub)
	case v.Main > rev:
		if err := x.Check(id, v); err != nil {
			return err
		}
		return x.push(id, v)
	}
	e := x.entries.at(id)
	if v.Main < e.main || v.Main == e.main && v.Sub <= e.sub {
		return fmt.Errorf("revision %d.%d follows %d.%d", v.Main, v.Sub, e.main, e.sub)
	}
	told := e.flags&entryTomb != 0 || v.Tombstone ||
		v.Create == e.create && v.Version == e.version+1
	before := e.life(0) // the life that a gap ends
	if err := x.push(id, v); err != nil || told {
		return err
	}
	if older := x.nodes.at(e.older); older.isVersion() { // a skip has brought a life of its own
		before.older = e.older
		e.older = x.newNode(before)
	}
	return nil
}
