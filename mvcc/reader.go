package mvcc

import (
	"bytes"
	"fmt"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc/index"
	"github.com/cairnkv/cairn/revlog"
)

// Reader reads at one revision. A *View is one, and a *Tx. It is for one goroutine at a time.
type Reader interface {
	// Rev is the main revision that is read; in a transaction that wrote, its own.
	Rev() int64
	// Get returns the version of a key; false if the key is not there.
	Get(key []byte) (Version, bool)
	// Ascend calls fn for the keys that are there, in order, until it returns false. end is as in
	// RangeRequest: empty for the one key, one zero byte for all from key on, else exclusive. fn
	// may read, but not write; the key's bytes are valid until the Reader ends.
	Ascend(key, end []byte, fn func(key []byte, v Version) bool)
	// KV returns the wire KeyValue of a version that this Reader gave. It is valid until the
	// Reader ends. A *revlog.CorruptError comes out wrapped.
	KV(v Version) ([]byte, error)
	// AppendRange appends the whole RangeResponse with the header as given. On an error
	// (cairn.ErrCompacted, cairn.ErrFutureRev, a wrapped *revlog.CorruptError) dst is
	// returned as it was.
	AppendRange(dst []byte, h *cairn.Header, r *cairn.RangeRequest) ([]byte, error)
	// CheckRange is the check of r.Revision that a transaction does before it executes (etcd
	// txn.checkRange): unlike AppendRange it refuses a negative one below the compact revision.
	CheckRange(r *cairn.RangeRequest) error
}

// View is a Reader at the newest published revision of the moment it was made.
type View struct{ reader }

// View returns a view; Close must be called. Open views hold back memory and space: they are meant
// for as long as a reply is built, or a backup read.
func (s *Store) View() *View {
	v := s.views.Get().(*View)
	v.begin()
	v.compactRev = v.floor
	return v
}

// Close ends the view; nothing that it gave is valid any more.
func (v *View) Close() {
	v.end()
	v.s.views.Put(v)
}

// CompactRev is the compact revision that the view obeys.
func (v *View) CompactRev() int64 { return v.floor }

// reader is what View and Tx share: two pins and a revision.
type reader struct {
	s          *Store
	pin        revlog.Pin
	floor      int64 // pinned: the index is whole from here on
	rev        int64
	compactRev int64 // reads below are refused
	budget     Budget
	items      []item
	at         cursor
}

// item is a key found by a range.
type item struct {
	key   []byte // aliases the index, or the request
	v     Version
	value []byte // set for sorting by value
}

// keptItems bounds the memory for items that a reader keeps for the next use, in items.
const keptItems = 4 * chunkKeys

// begin takes the pins, the log's first: it must be held before a position is learnt. rev is the
// newest one published then.
func (r *reader) begin() {
	r.pin, r.budget = r.s.log.Pin(), unbounded
	r.floor, r.rev = r.s.pins.take(&r.s.floor, &r.s.rev)
}

func (r *reader) end() {
	r.s.pins.release(r.floor)
	r.pin.Release()
	if cap(r.items) > keptItems {
		r.items = nil
	}
}

// Rev is Reader.Rev.
func (r *reader) Rev() int64 { return r.rev }

// Get is Reader.Get.
func (r *reader) Get(key []byte) (Version, bool) {
	r.s.mu.RLock()
	defer r.s.mu.RUnlock()
	return r.s.get(key, r.rev)
}

// get finds the version of a key at rev; the caller holds mu.
func (s *Store) get(key []byte, rev int64) (Version, bool) {
	id := s.idx.Find(key)
	if id == 0 {
		return Version{}, false
	}
	v, ok := s.idx.At(id, rev)
	if !ok || v.Tombstone {
		return Version{}, false
	}
	return versionOf(v), true
}

// KV is Reader.KV.
func (r *reader) KV(v Version) ([]byte, error) { return r.s.record(v) }

// record reads the payload of a version, under a pin of the log. That the record is of that
// revision is checked: a position that leads elsewhere must not become an answer.
func (s *Store) record(v Version) ([]byte, error) {
	rec, err := s.log.Read(v.Pos)
	if err != nil {
		return nil, fmt.Errorf("mvcc: read revision %d.%d: %w", v.Rev.Main, v.Rev.Sub, err)
	}
	if rec.Rev != v.Rev || rec.Tombstone {
		return nil, fmt.Errorf("mvcc: read revision %d.%d: found the record of %d.%d: %w",
			v.Rev.Main, v.Rev.Sub, rec.Rev.Main, rec.Rev.Sub, errRecord)
	}
	return rec.KV, nil
}

// CheckRange is Reader.CheckRange.
func (r *reader) CheckRange(q *cairn.RangeRequest) error {
	switch {
	case q.Revision == 0:
		return nil
	case q.Revision > r.rev:
		return cairn.ErrFutureRev
	case q.Revision < r.compactRev:
		return cairn.ErrCompacted
	}
	return nil
}

// revision is the revision that a range reads (etcd mvcc rangeKeys).
func revision(asked, newest, compactRev int64) (int64, error) {
	switch {
	case asked > newest:
		return 0, cairn.ErrFutureRev
	case asked <= 0:
		return newest, nil
	case asked < compactRev:
		return 0, cairn.ErrCompacted
	}
	return asked, nil
}

// cursor is a place in a range of keys.
type cursor struct {
	next []byte // first key not visited; owned by the cursor
	end  []byte // nil: none
	done bool
	ids  []uint32 // scratch
}

// start puts the cursor before [key, end) of a RangeRequest whose end is not empty.
func (c *cursor) start(key, end []byte) {
	c.next = append(c.next[:0], key...)
	c.end, c.done = end, false
	if len(end) == 1 && end[0] == 0 {
		c.end = nil
	} else if bytes.Compare(key, end) >= 0 {
		c.done = true
	}
}

// scan visits at most max keys (and chunkKeys) behind the cursor under the index's lock, or stops
// when visit returns false.
func (s *Store) scan(c *cursor, max int64, visit func(id uint32) bool) {
	limit := int(min(max, chunkKeys))
	s.mu.RLock()
	defer s.mu.RUnlock()
	c.ids = s.idx.AppendRange(c.ids[:0], c.next, c.end, limit+1) // one more tells where to go on
	n := 0
	for n < limit && n < len(c.ids) {
		n++
		if !visit(c.ids[n-1]) {
			break
		}
	}
	if c.done = n == len(c.ids); !c.done {
		c.next = append(c.next[:0], s.idx.Key(c.ids[n])...)
	}
}

// live returns the version of a key at rev if it is not a tombstone; the caller holds mu.
func (s *Store) live(id uint32, rev int64) (index.Version, bool) {
	v, ok := s.idx.At(id, rev)
	return v, ok && !v.Tombstone
}

// Ascend is Reader.Ascend.
func (r *reader) Ascend(key, end []byte, fn func(key []byte, v Version) bool) {
	if len(end) == 0 {
		if v, ok := r.Get(key); ok {
			fn(key, v)
		}
		return
	}
	var c cursor // not r.at, and items of its own: fn may call AppendRange
	var items []item
	for c.start(key, end); !c.done; {
		items = items[:0]
		r.s.scan(&c, chunkKeys, func(id uint32) bool {
			if v, ok := r.s.live(id, r.rev); ok {
				items = append(items, item{key: r.s.idx.Key(id), v: versionOf(v)})
			}
			return true
		})
		for i := range items {
			if !fn(items[i].key, items[i].v) {
				return
			}
		}
	}
}
