package revlog

import (
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// Record is one version of a key.
type Record struct {
	Rev       cairn.Revision
	Tombstone bool
	// KV is the wire encoding of the KeyValue. It aliases the file's mapping: it is valid while
	// a Pin is held that was taken before the record's position was learnt.
	KV []byte
}

// file is one file of the log, mapped. Its records lie in [headerBytes, end); readers go no
// further.
//
// A file is written by one writer. When it is full, what the writer owned is frozen (frozen fields)
// before the file stops being the last of any view, so that readers of a file that is not the last
// of their view may read them without a lock.
type file struct {
	id   ident
	path string
	seed uint32
	slot uint16
	use  uint8

	mapping vfs.Mapping
	data    []byte // the mapping's bytes; longer than a sealed file that was the active one

	end     atomic.Int64 // of what readers may see
	table   []tableEntry // of which the first entries are filled and published
	entries atomic.Int32

	records, puts, tombs atomic.Int64 // count; bytes by kind
	// deadPuts and deadTombs are the bytes of records that Dead was told of.
	deadPuts, deadTombs atomic.Int64

	// Frozen fields.
	first, last cairn.Revision // meaningless without records
	// clean is a revision: the file holds no put that was superseded at it or before. Raised
	// by rewriting alone.
	clean int64

	// Guarded by Log.mu.
	full   bool     // nothing will be appended
	sealed bool     // the footer is written and durable
	f      vfs.File // for writing; nil once sealed
	size   int64    // bytes on disk

	synced int64 // end of what is durable; guarded by Log.syncMu
}

// recordBytes is the bytes of all records.
func (f *file) recordBytes() int64 { return f.puts.Load() + f.tombs.Load() }

// remaining is the bytes of the records that are not dead. Sizes of large dead records are
// estimates, so it is kept from going below zero.
func (f *file) remaining() int64 {
	return max(f.recordBytes()-f.deadPuts.Load()-f.deadTombs.Load(), 0)
}

// staying is the most that a rewrite keeps: dead tombstones may have to stay.
func (f *file) staying() int64 { return max(f.recordBytes()-f.deadPuts.Load(), 0) }

func (f *file) corrupt(off int64, reason string) error {
	return &CorruptError{File: f.path, Offset: off, Reason: reason}
}

// record reads the record at off, which must end at or before end.
func (f *file) record(off, end int64) (r Record, size int64, err error) {
	if off < headerBytes || off >= end || off%recordAlign != 0 {
		return r, 0, f.corrupt(off, "no record can be here")
	}
	r, size, reason := decodeRecord(f.data[off:end:end], f.seed, off)
	if reason != "" {
		return r, 0, f.corrupt(off, reason)
	}
	return r, size, nil
}

// guarded runs fn, which reads mapped bytes. A disk that cannot deliver a page raises a fault
// there; it becomes a CorruptError at the place where *off points to.
func (f *file) guarded(off *int64, fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		p := recover()
		if p == nil {
			return
		}
		fault, ok := p.(interface{ Addr() uintptr })
		if !ok {
			panic(p)
		}
		err = f.corrupt(*off, fmt.Sprintf("the page cannot be read (fault at %#x)", fault.Addr()))
	}()
	return fn()
}

// seek returns an offset at or before the first record whose main revision is at least main.
func (f *file) seek(main int64) int64 {
	table := f.table[:f.entries.Load()]
	lo, hi := 0, len(table)
	for lo < hi { // the first entry with a main not below
		mid := int(uint(lo+hi) >> 1)
		if table[mid].main < main {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return headerBytes
	}
	return table[lo-1].off
}

// releaseBytes is the least that a walk must have read for its memory to be given back.
const releaseBytes = 128 << 10

// walk calls fn with the records from off on, in order, checked, until end or until fn says
// stop. It returns where it stopped. prev is the revision that the first record must come after.
// The memory of a long walk is given back: it is the page cache that keeps what is read again.
func (f *file) walk(off, end int64, prev cairn.Revision,
	fn func(off, size int64, r Record) (more bool, err error)) (next int64, err error) {
	from := off
	defer func() {
		if n := off - from; n >= releaseBytes && f.mapping != nil {
			f.mapping.Release(from, n)
		}
	}()
	err = f.guarded(&off, func() error {
		for off < end {
			r, size, err := f.record(off, end)
			if err != nil {
				return err
			}
			if !prev.Less(r.Rev) {
				return f.corrupt(off, "revisions out of order")
			}
			prev = r.Rev
			more, err := fn(off, size, r)
			if err != nil {
				return err
			}
			off += size
			if !more {
				return nil
			}
		}
		return nil
	})
	return off, err
}

// trailer is what the footer says of a full file.
func (f *file) trailer() trailer {
	return trailer{
		recordsEnd: f.end.Load(),
		records:    f.records.Load(),
		puts:       f.puts.Load(),
		tombs:      f.tombs.Load(),
		first:      f.first,
		last:       f.last,
		clean:      f.clean,
	}
}

// mapSealed opens a complete file, checks header and footer, and maps it.
func mapSealed(fs vfs.FS, dir string, id ident, logID uint64) (*file, error) {
	path := filepath.Join(dir, id.name())
	fd, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	f := &file{id: id, path: path}
	if f.size, err = fd.Size(); err != nil {
		return nil, err
	}
	if f.size < headerBytes || f.size > MaxSegmentBytes+maxTableEntries*tableEntryBytes {
		return nil, f.corrupt(0, fmt.Sprintf("%d bytes long", f.size))
	}
	if f.mapping, err = fd.Map(f.size); err != nil {
		return nil, err
	}
	f.data = f.mapping.Bytes()
	var at int64
	err = f.guarded(&at, func() error {
		if err := f.checkHeader(logID); err != nil {
			return err
		}
		t, table, reason := decodeFooter(f.data, f.seed)
		if reason != "" {
			return f.corrupt(max(f.size-trailerBytes, 0), reason)
		}
		f.load(t, table)
		return nil
	})
	if err != nil {
		f.mapping.Unmap()
		return nil, err
	}
	return f, nil
}

// load takes over what the footer says.
func (f *file) load(t trailer, table []tableEntry) {
	f.table = table
	f.entries.Store(int32(len(table)))
	f.end.Store(t.recordsEnd)
	f.records.Store(t.records)
	f.puts.Store(t.puts)
	f.tombs.Store(t.tombs)
	f.first, f.last, f.clean = t.first, t.last, t.clean
	f.full, f.sealed = true, true
}

// checkHeader sets the seed.
func (f *file) checkHeader(logID uint64) error {
	h, seed, reason, err := decodeHeader(f.data)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if reason != "" {
		return f.corrupt(0, reason)
	}
	if h.logID != logID {
		return fmt.Errorf("%w: %s belongs to log %016x, this is %016x",
			ErrForeign, f.path, h.logID, logID)
	}
	if h.id != f.id {
		return f.corrupt(0, "the header names another file, "+h.id.name())
	}
	f.seed = seed
	return nil
}
