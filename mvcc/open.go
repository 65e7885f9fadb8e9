package mvcc

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/remedy"
	"github.com/cairnkv/cairn/mvcc/index"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/wire"
)

// Errors of Open and of reading.
var (
	// ErrIncomplete says that the log's records, each of them whole, do not add up to a store.
	ErrIncomplete = errors.New("mvcc: the log is incomplete; " + remedy.Replace)
	// errRecord says that a record's payload and its place in the log contradict each other.
	errRecord = errors.New("the record's content does not fit its revision")
)

// Open builds the index by one scan of the log, as of a compaction to compactRev. rev is the
// store's revision: no record may be above it, but the newest ones may be gone (a delete that was
// compacted). A new store is (log, FirstRev, NeverCompacted).
//
// Errors: a *revlog.CorruptError, wrapped, if a record is damaged; ErrIncomplete, with the key and
// the revision, if records are missing or contradict each other.
func Open(log *revlog.Log, rev, compactRev int64) (*Store, error) {
	if compactRev > rev {
		return nil, fmt.Errorf("mvcc: open at revision %d, compacted at %d: not a state of a store",
			rev, compactRev)
	}
	return open(log, rev, compactRev)
}

// OpenSalvaged opens what revlog.Salvage has left of a log: rev is the last revision that it holds
// (FirstRev if it is less), compactRev that of the checkpoint that the log was made for. It may be
// above rev. Then keys may be there that were deleted, or values that were replaced: nothing may
// be read, applied or published before Graft has made a state of it.
func OpenSalvaged(log *revlog.Log, rev, compactRev int64) (*Store, error) {
	s, err := open(log, rev, min(rev, compactRev))
	if err == nil {
		// The floor stays below: a pass of the compactor now would find less than is dead.
		s.compactRev.Store(compactRev)
	}
	return s, err
}

func open(log *revlog.Log, rev, compactRev int64) (*Store, error) {
	if rev < FirstRev {
		return nil, fmt.Errorf("mvcc: open at revision %d: not a state of a store", rev)
	}
	s := &Store{log: log, idx: index.New(), next: rev}
	s.tx.reader.s = s
	s.views.New = func() any { return &View{reader: reader{s: s}} }
	s.rev.Store(rev)
	for _, r := range []*atomic.Int64{&s.floor, &s.compactRev, &s.target, &s.compacted} {
		r.Store(compactRev)
	}
	s.idx.RestoreBegin()
	restore := restorer{s: s, rev: rev, compactRev: compactRev}
	if err := log.Scan(cairn.Revision{}, math.MaxInt64, restore.record); err != nil {
		return nil, fmt.Errorf("mvcc: open at revision %d: %w", rev, err)
	}
	s.idx.RestoreEnd()
	return s, nil
}

// restorer fills an index from a scan.
type restorer struct {
	s               *Store
	rev, compactRev int64
	kv              cairn.KeyValue
	dead            []uint64
}

func (o *restorer) record(pos revlog.Pos, r revlog.Record) (more bool, err error) {
	if r.Rev.Main > o.rev {
		return false, fmt.Errorf("%w: a record of revision %d", ErrIncomplete, r.Rev.Main)
	}
	if err := wire.DecodeKeyValue(r.KV, &o.kv); err != nil {
		return false, fmt.Errorf("record of revision %d.%d: %w", r.Rev.Main, r.Rev.Sub, err)
	}
	v, err := versionOfRecord(pos, r, &o.kv)
	if err != nil {
		return false, err
	}
	o.dead, err = o.s.idx.Restore(o.kv.Key, v, o.compactRev, o.dead[:0])
	if err != nil {
		return false, fmt.Errorf("%w: key %q: %w", ErrIncomplete, o.kv.Key, err)
	}
	for _, pos := range o.dead {
		o.s.log.Dead(revlog.Pos(pos))
	}
	return true, nil
}

// versionOfRecord is what the index keeps of a record.
func versionOfRecord(
	pos revlog.Pos, r revlog.Record, kv *cairn.KeyValue,
) (v index.Version, err error) {
	if r.Rev.Sub < 0 || r.Rev.Sub > index.MaxSub || !r.Tombstone && kv.ModRevision != r.Rev.Main {
		return v, fmt.Errorf("revision %d.%d: %w", r.Rev.Main, r.Rev.Sub, errRecord)
	}
	v = index.Version{
		Main: r.Rev.Main, Sub: uint32(r.Rev.Sub), Tombstone: r.Tombstone, Pos: uint64(pos),
	}
	if !r.Tombstone {
		v.Create, v.Version, v.Lease = kv.CreateRevision, kv.Version, kv.Lease
	}
	return v, nil
}
