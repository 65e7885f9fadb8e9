package mvcc

import (
	"errors"
	"fmt"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/internal/remedy"
	"github.com/cairnkv/cairn/mvcc/index"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/wire"
)

// Errors of Graft.
var (
	// ErrStale says that the store has more than the sections would give it. Nothing was changed.
	ErrStale = errors.New("mvcc: the snapshot is older than the store; ask for a new one")
	// ErrDiverged says that store and sender do not have the same history.
	ErrDiverged = errors.New("mvcc: the snapshot does not continue this store; " + remedy.Replace)
)

const (
	// graftBatch bounds the versions that are added in one hold of the index's lock.
	graftBatch = 64
	// graftFlushBytes is how much is appended to the log before it is written.
	graftFlushBytes = 512 << 10
)

// Section is a piece of another member's history, as a compaction there has left it.
type Section struct {
	// Base is the revision above which the records begin, Rev the last whose records are whole.
	Base, Rev int64
	// CompactRev is the compaction of the sender. The records up to it are those that it left.
	CompactRev int64
	// Kept calls fn, in order, with the revisions of all puts up to Base that CompactRev left.
	// It is called if CompactRev is above the revision that the store has then.
	Kept func(fn func(cairn.Revision) error) error
	// Records calls fn, in order, with the records above Base. Those above Rev are left out.
	Records func(fn func(revlog.Record) error) error
}

// GraftStats counts what Graft has done.
type GraftStats struct {
	Records int64 // of the sections, added
	Bytes   int64 // of their payloads
	Deleted int64 // keys that were found to be deleted by what is not among the records
}

// Graft continues the store with the history of another member, in place: readers and views go on
// at their revisions. The first section's Base must not be above the store's revision, the next
// ones' not above the Rev of the one before; what the store has is passed over. Only the last
// section's end is a state: Rev there is the store's revision afterwards, CompactRev its compact
// revision, and both become visible at once.
//
// A version of the sender's history that its compaction took away is missing here, too, which no
// read from CompactRev on can see. Keys that were deleted, with the tombstone gone, are those that
// are there and that the kept list does not name. They get a tombstone at the revision before
// CompactRev, the last one that nobody can read. (Not at an earlier one: files of the log may be
// marked as clean up to the compaction before; see package revlog.)
//
// Memory is two bytes for each kept key and a bit for each key of the index. The log grows by what
// is streamed and is not synced. Applier only, outside of a transaction, with everything published.
// After an error that is neither ErrStale nor ErrDiverged of the first section, the store is half
// done: the process must end, and a restart cuts the log at the checkpoint from before.
func (s *Store) Graft(sections []Section) (GraftStats, error) {
	if s.tx.open || s.next != s.rev.Load() {
		panic("mvcc: Graft inside a transaction or before Publish")
	}
	if len(sections) == 0 {
		return GraftStats{}, errors.New("mvcc: a graft of nothing")
	}
	last := sections[len(sections)-1]
	if last.Rev < s.next || last.CompactRev < s.compactRev.Load() {
		return GraftStats{}, fmt.Errorf("%w (revision %d, compacted at %d, here %d and %d)",
			ErrStale, last.Rev, last.CompactRev, s.next, s.compactRev.Load())
	}
	if last.CompactRev > last.Rev {
		return GraftStats{}, fmt.Errorf("mvcc: a snapshot of revision %d, compacted at %d: not a "+
			"state of a store", last.Rev, last.CompactRev)
	}
	s.reset()
	g := graft{s: s, at: s.next}
	for i := range sections {
		if err := g.section(&sections[i]); err != nil {
			return g.stats, fmt.Errorf("mvcc: graft from revision %d to %d: %w",
				sections[i].Base, sections[i].Rev, err)
		}
	}
	if err := s.log.Flush(); err != nil {
		return g.stats, fmt.Errorf("mvcc: graft: %w", err)
	}
	s.jump(last.Rev, last.CompactRev)
	return g.stats, nil
}

// jump publishes revision and compact revision at once: revisions between the old ones and the
// compact revision cannot be read.
func (s *Store) jump(rev, compactRev int64) {
	s.next = rev
	s.compactRev.Store(compactRev)
	s.mu.Lock() // appendPoint reads both under it
	defer s.mu.Unlock()
	s.pins.mu.Lock() // a View takes both under it
	defer s.pins.mu.Unlock()
	s.rev.Store(rev)
	s.floor.Store(compactRev)
}

// graft is a call of Graft.
type graft struct {
	s     *Store
	at    int64 // everything up to here is there
	stats GraftStats

	// Of the section in work.
	sec   *Section
	kept  *Revisions // nil if the section needs none
	begun bool       // a record was added, or all were passed over
	gone  []uint64   // bits by id: keys that are there at the section's start and not kept
	ended bool       // they have their tombstones

	last     cairn.Revision // of the newest record
	buffered int            // bytes
	kv       cairn.KeyValue
	pending  [graftBatch]pendingVersion
	waiting  int
	keys     []byte // of pending
}

// pendingVersion is a record that is in the log and not in the index.
type pendingVersion struct {
	keyEnd int // in graft.keys
	v      index.Version
}

func (g *graft) section(sec *Section) error {
	if sec.Base > g.at {
		return fmt.Errorf("%w: the store ends at revision %d", ErrDiverged, g.at)
	}
	if sec.Rev <= g.at {
		return nil // all of it is there
	}
	g.sec, g.kept, g.begun, g.ended = sec, nil, false, true
	if sec.CompactRev > g.at {
		g.kept, g.ended = new(Revisions), false
		if err := sec.Kept(g.kept.Add); err != nil {
			return err
		}
	}
	if err := sec.Records(g.record); err != nil {
		return err
	}
	if err := g.begin(); err != nil {
		return err
	}
	if sec.Rev >= sec.CompactRev-1 {
		if err := g.end(); err != nil {
			return err
		}
	}
	g.at = sec.Rev
	return g.flush()
}

// record takes the next record of the section.
func (g *graft) record(r revlog.Record) error {
	switch {
	case r.Rev.Main > g.sec.Rev:
		return nil
	case r.Rev.Main <= g.at:
		// The store came here by itself after the section was made. What the compaction left of it
		// is kept, too.
		if g.kept != nil && !r.Tombstone {
			return g.kept.Add(r.Rev)
		}
		return nil
	}
	if err := g.begin(); err != nil {
		return err
	}
	if r.Rev.Main >= g.sec.CompactRev {
		if err := g.end(); err != nil {
			return err
		}
	}
	if err := wire.DecodeKeyValue(r.KV, &g.kv); err != nil {
		return fmt.Errorf("record of revision %d.%d: %w", r.Rev.Main, r.Rev.Sub, err)
	}
	g.stats.Records++
	g.stats.Bytes += int64(len(r.KV))
	return g.add(r, &g.kv)
}

// begin finds the keys that are gone, before anything of the section is added. That every kept
// version is the newest one of a key proves that the section fits.
func (g *graft) begin() error {
	if g.begun {
		return nil
	}
	g.begun = true
	if g.kept == nil {
		return nil
	}
	clear(g.gone) // a section that was cut leaves its own
	s := g.s
	found := 0
	var c cursor
	for c.start(nil, []byte{0}); !c.done; {
		s.scan(&c, chunkKeys, func(id uint32) bool {
			v := s.idx.Newest(id)
			if v.Tombstone {
				return true
			}
			if g.kept.Has(cairn.Revision{Main: v.Main, Sub: int64(v.Sub)}) {
				found++
				return true
			}
			for int(id/64) >= len(g.gone) {
				g.gone = append(g.gone, make([]uint64, 1+len(g.gone))...)
			}
			g.gone[id/64] |= 1 << (id % 64)
			return true
		})
	}
	if found != g.kept.Len() {
		return fmt.Errorf("%w: of %d kept versions %d are here", ErrDiverged, g.kept.Len(), found)
	}
	return nil
}

// end gives the keys that are gone a tombstone, if no record has superseded them: at the revision
// before the compact revision, behind the records of that revision. A key of a live version stays
// in the index, so the ids still mean the same keys.
func (g *graft) end() error {
	if g.ended {
		return nil
	}
	g.ended = true
	main := g.sec.CompactRev - 1
	rev := cairn.Revision{Main: main}
	if g.last.Main == main {
		rev.Sub = g.last.Sub + 1
	}
	if err := g.settle(); err != nil {
		return err
	}
	for word, bits := range g.gone {
		if mutate.On(mutate.GraftKeepsDeleted) {
			bits = 0
		}
		g.gone[word] = 0
		for bit := uint32(0); bits>>bit != 0 && main > g.at; bit++ {
			if bits>>bit&1 == 0 {
				continue
			}
			ok, err := g.delete(uint32(word)*64+bit, rev)
			if err != nil {
				return err
			}
			if ok {
				rev.Sub++
			}
		}
	}
	return nil
}

// delete ends a key, if its newest version is from before the section.
func (g *graft) delete(id uint32, rev cairn.Revision) (ok bool, err error) {
	s := g.s
	s.mu.RLock()
	v := s.idx.Newest(id)
	g.kv = cairn.KeyValue{Key: s.idx.Key(id)} // stays: only compaction frees it, and it is live
	s.mu.RUnlock()
	if v.Tombstone || v.Main > g.at {
		return false, nil
	}
	g.stats.Deleted++
	kv := wire.AppendKeyValue(nil, &g.kv)
	return true, g.add(revlog.Record{Rev: rev, Tombstone: true, KV: kv}, &g.kv)
}

// add appends a record to the log; the index learns of it with the batch.
func (g *graft) add(r revlog.Record, kv *cairn.KeyValue) error {
	pos, err := g.s.log.Append(r.Rev, r.Tombstone, r.KV)
	if err != nil {
		return err
	}
	v, err := versionOfRecord(pos, r, kv)
	if err != nil {
		return err
	}
	g.last = r.Rev
	g.keys = append(g.keys, kv.Key...)
	g.pending[g.waiting] = pendingVersion{len(g.keys), v}
	if g.waiting++; g.waiting == graftBatch {
		if err := g.settle(); err != nil {
			return err
		}
	}
	if g.buffered += len(r.KV); g.buffered >= graftFlushBytes {
		return g.flush()
	}
	return nil
}

// settle tells the index what is pending.
func (g *graft) settle() error {
	s := g.s
	s.mu.Lock()
	defer s.mu.Unlock()
	from := 0
	for i := range g.pending[:g.waiting] {
		p := &g.pending[i]
		if err := s.idx.Graft(g.keys[from:p.keyEnd], p.v, g.sec.CompactRev); err != nil {
			return fmt.Errorf("%w: key %q: %w", ErrDiverged, g.keys[from:p.keyEnd], err)
		}
		from = p.keyEnd
	}
	g.waiting, g.keys = 0, g.keys[:0]
	return nil
}

// flush settles and writes what is buffered.
func (g *graft) flush() error {
	if err := g.settle(); err != nil {
		return err
	}
	g.buffered = 0
	return g.s.log.Flush()
}
