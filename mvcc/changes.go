package mvcc

import (
	"context"
	"runtime"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/wire"
)

// ctxRecords is how many records of a scan pass between two looks at the context, and how many are
// read before others have their turn.
const ctxRecords = 256

// Changes calls fn for the events with from <= revision <= to, in order, as far as they are
// published, whole revisions only. It stops between two revisions after maxEvents events or
// maxBytes bytes of their KV; the first revision is delivered whatever it holds. next is the first
// revision that was not delivered (to+1 at the end). ev and its slices are valid during the call of
// fn. cairn.ErrCompacted if from is below the compact revision; fn's error; a wrapped
// *revlog.CorruptError. While it runs, compaction waits: maxEvents and maxBytes bound that.
func (s *Store) Changes(ctx context.Context, from, to int64, maxEvents, maxBytes int,
	fn func(ev *Event) error) (next int64, err error) {
	v := s.View()
	defer v.Close()
	if from < v.floor {
		return from, cairn.ErrCompacted
	}
	to = min(to, v.rev)
	if from > to {
		return from, nil
	}
	c := changes{ctx: ctx, next: from, maxEvents: maxEvents, maxBytes: maxBytes, fn: fn}
	err = s.log.Scan(cairn.Revision{Main: from}, to, c.record)
	if err == nil && !c.full {
		c.next = to + 1
	}
	return c.next, err
}

// changes is a call of Changes.
type changes struct {
	ctx                 context.Context
	next                int64 // revision in work; its first events may have been delivered
	events, bytes       int
	maxEvents, maxBytes int
	full                bool // stopped before next
	fn                  func(ev *Event) error
	ev                  Event
	buf                 []byte
}

func (c *changes) record(_ revlog.Pos, r revlog.Record) (more bool, err error) {
	if r.Rev.Main != c.next {
		c.next = r.Rev.Main
		if c.events >= c.maxEvents || c.bytes >= c.maxBytes {
			c.full = c.events > 0
			if c.full {
				return false, nil
			}
		}
	}
	if c.events%ctxRecords == 0 && c.ctx.Err() != nil {
		return false, c.ctx.Err()
	}
	var kv cairn.KeyValue
	if err := wire.DecodeKeyValue(r.KV, &kv); err != nil {
		return false, err
	}
	c.ev = Event{Rev: r.Rev, Key: kv.Key, Delete: r.Tombstone, KV: r.KV}
	if r.Tombstone {
		c.buf = wire.AppendVarint(append(c.buf[:0], r.KV...), 3, uint64(r.Rev.Main))
		c.ev.KV = c.buf
		c.ev.Key = keyOf(c.buf)
	} else {
		c.ev.Create = kv.CreateRevision == r.Rev.Main
	}
	c.events++
	c.bytes += len(c.ev.KV)
	return true, c.fn(&c.ev)
}

// PrevKV returns the wire KeyValue that ev's key had just before ev, in a copy; false if the key
// was created by ev or the version is compacted. The error is a wrapped *revlog.CorruptError.
func (s *Store) PrevKV(ev *Event) (kv []byte, ok bool, err error) {
	if ev.Create {
		return nil, false, nil
	}
	pin := s.log.Pin()
	defer pin.Release()
	s.mu.RLock()
	var v Version
	if rev := ev.Rev.Main - 1; rev >= s.floor.Load() {
		v, ok = s.get(ev.Key, rev)
	}
	s.mu.RUnlock()
	if !ok {
		return nil, false, nil
	}
	b, err := s.record(v)
	if err != nil {
		return nil, false, err
	}
	return append([]byte(nil), b...), true, nil
}

// Retained calls fn for the records up to rev (0: the newest) that are still needed: of each key
// the newest one that is not above the compact revision, tombstones below it left out, and all
// above. They come in the order of revisions and are valid during the call. cairn.ErrCompacted
// and cairn.ErrFutureRev for a rev that cannot be read. Compactions wait meanwhile.
//
// Who needs to know the compact revision that was applied takes a View and calls its Retained.
func (s *Store) Retained(
	ctx context.Context, rev int64, fn func(revlog.Record) error,
) error {
	v := s.View()
	defer v.Close()
	return v.Retained(ctx, rev, fn)
}

// Retained is Store.Retained at the view's compact revision.
func (v *View) Retained(
	ctx context.Context, rev int64, fn func(revlog.Record) error,
) error {
	rev, err := revision(rev, v.rev, v.floor)
	if err != nil {
		return err
	}
	return v.retained(ctx, 0, rev, v.floor, fn)
}

// RetainedSince is View.Retained for the records above base, at the view's revision.
func (v *View) RetainedSince(
	ctx context.Context, base int64, fn func(revlog.Record) error,
) error {
	return v.retained(ctx, base+1, v.rev, v.floor, fn)
}

// retained calls fn for the records with from <= main revision <= rev, of those up to the floor
// only for the newest that are not above at (>= floor).
func (v *View) retained(
	ctx context.Context, from, rev, at int64, fn func(revlog.Record) error,
) error {
	n := 0
	return v.s.log.Scan(cairn.Revision{Main: from}, rev,
		func(_ revlog.Pos, r revlog.Record) (bool, error) {
			if n++; n%ctxRecords == 0 {
				if ctx.Err() != nil {
					return false, ctx.Err()
				}
				// On one processor each step of a request would wait for the end of this
				// goroutine's time slice.
				runtime.Gosched()
			}
			if r.Rev.Main <= v.floor && !v.needed(&r, at) {
				return true, nil
			}
			return true, fn(r)
		})
}

// needed says whether a record that is not above the floor is what a reader at rev sees, or
// would if it were not a tombstone.
func (v *View) needed(r *revlog.Record, rev int64) bool {
	if r.Tombstone && r.Rev.Main < v.floor {
		return false
	}
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	id := v.s.idx.Find(keyOf(r.KV))
	if id == 0 {
		return false
	}
	got, ok := v.s.idx.At(id, rev)
	return ok && got.Main == r.Rev.Main && int64(got.Sub) == r.Rev.Sub
}
