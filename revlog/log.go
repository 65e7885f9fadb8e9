package revlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// Sizes of segments, in bytes.
const (
	// DefaultSegmentBytes is the size of a segment if Options does not say.
	DefaultSegmentBytes = 64 << 20
	// smallSegmentBytes is the least size of a segment that is chosen by itself.
	smallSegmentBytes = 4 << 20
	// segmentShare is how many segments a log is divided into at least, once it is larger than
	// so many small ones: the segment in use and the one ahead are empty space on disk.
	segmentShare = 32
)

// Options configure a log.
type Options struct {
	// SegmentBytes is the most that a segment takes, from MinSegmentBytes to MaxSegmentBytes;
	// 0 is DefaultSegmentBytes. A log that is small uses smaller ones, from 4 MiB on. It may
	// change from one Open to the next.
	SegmentBytes int64
	// LogID is written into each file; files with another one are refused. Any number that
	// the owner gives at each Open.
	LogID uint64
	// Rolled, if set, is called on the applier's goroutine when a segment was used up and the
	// next one began: it is time for Prepare. It must not block.
	Rolled func()
}

// view is what readers see of the log; it is replaced, never changed.
type view struct {
	slots []*file // by the slot of a position; holds the files that are retired but pinned, too
	files []*file // in revision order; the last one is the active segment
}

// Log is an open log. Who may call what at once is said at each method.
type Log struct {
	fs   vfs.FS
	dir  string
	opts Options

	pins   pins
	view   atomic.Pointer[view] // replaced under mu
	failed atomic.Pointer[error]

	// Owned by the applier: the goroutine that calls Append and Flush.
	w    *writer
	last cairn.Revision // of the newest record

	mu      sync.Mutex // guards what follows and the fields of files that say so
	open    []*file    // full or active, not sealed; in order
	names   uint64     // files created since Open
	uses    []uint8    // by slot
	retired []retired

	syncMu      sync.Mutex // one Sync at a time
	syncedNames uint64

	prepareMu sync.Mutex // guards what follows
	next      *writer    // the segment that was allocated ahead, or nil
	nextSeq   uint64     // its sequence number

	reclaim reclaimer
}

// retired is a file that no view's files contain any more.
type retired struct {
	f     *file
	epoch uint64
}

// fail makes err the answer to every later call that would write, and returns the first such
// error. A write or a sync that failed is not tried again: nobody knows what is on disk.
func (l *Log) fail(err error) error {
	l.failed.CompareAndSwap(nil, &err)
	return *l.failed.Load()
}

func (l *Log) err() error {
	if p := l.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Pin keeps what is reachable now readable until it is released: a few atomic operations, no
// lock and no allocation. Take it before you learn a position. Any goroutine.
func (l *Log) Pin() Pin { return l.pins.pin() }

// Append adds a record behind all others and returns its position. kv is copied. The record is on
// disk after Flush, and durable after Sync. Applier only.
//
// A record that does not fit into the active segment goes to the next one, which Prepare has
// allocated; if it has not, that is done here. An error that wraps vfs.ErrNoSpace says that it
// could not be done; nothing was appended then.
func (l *Log) Append(rev cairn.Revision, tombstone bool, kv []byte) (Pos, error) {
	if err := l.err(); err != nil {
		return 0, err
	}
	if len(kv) > MaxKVBytes {
		return 0, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(kv), MaxKVBytes)
	}
	if !l.last.Less(rev) || rev.Main <= 0 || rev.Sub < 0 || rev.Sub > maxSub {
		return 0, fmt.Errorf("%w: %d.%d after %d.%d",
			ErrOrder, rev.Main, rev.Sub, l.last.Main, l.last.Sub)
	}
	size := recordSize(len(kv))
	if !l.w.fits(size) {
		if err := l.roll(size); err != nil {
			return 0, err
		}
	} else if len(l.w.tail) > 0 && int64(len(l.w.tail))+size > maxTailBytes {
		if err := l.Flush(); err != nil {
			return 0, err
		}
	}
	off, size := l.w.add(rev, tombstone, kv)
	l.last = rev
	return makePos(l.w.f, off, size, tombstone), nil
}

// Flush writes what was appended with one write and shows it to readers. It is not durable.
// Applier only.
func (l *Log) Flush() error {
	if err := l.err(); err != nil {
		return err
	}
	if err := l.w.flush(); err != nil {
		return l.fail(err)
	}
	return nil
}

// Last is the newest record's revision, as far as the log knows it: of the newest record that is
// not reclaimed. Applier only.
func (l *Log) Last() cairn.Revision { return l.last }

// Mark is the end of what is flushed. Between Flush and the next Append it is a boundary of
// revisions; inside a batch it need not be. Any goroutine.
func (l *Log) Mark() Mark {
	files := l.view.Load().files
	f := files[len(files)-1]
	return Mark{Segment: f.id.hi, Offset: f.end.Load()}
}

// Read returns the record at pos after checking it. Any goroutine that holds a pin from before
// pos was learnt; the applier may read what it has not flushed, too: such a record stays as it
// is until the first Append after the next Flush. Errors: *CorruptError, ErrStale.
func (l *Log) Read(pos Pos) (Record, error) {
	f := l.lookup(pos)
	if f == nil {
		return Record{}, ErrStale
	}
	off := pos.offset()
	var r Record
	var size int64
	var err error
	if end := f.end.Load(); off < end {
		r, size, err = f.read(off, end)
	} else if w := l.w; w.f == f && off >= w.start && off < w.pos() {
		var reason string
		r, size, reason = decodeRecord(w.tail[off-w.start:], f.seed, off)
		if reason != "" {
			err = f.corrupt(off, reason+" (not written yet: the memory is damaged)")
		}
	} else {
		return Record{}, f.corrupt(off, "position beyond the end")
	}
	if err == nil && (sizeClass(size) != pos.class() || r.Tombstone != pos.tombstone()) {
		err = f.corrupt(off, "another record than the one looked for")
	}
	return r, err
}

// lookup finds the file that a position is in; nil if it is gone.
func (l *Log) lookup(pos Pos) *file {
	slots := l.view.Load().slots
	if pos.slot() >= len(slots) {
		return nil
	}
	f := slots[pos.slot()]
	if f == nil || f.use != pos.use() {
		return nil
	}
	return f
}

// Dead says that the index has dropped the record at pos: no read at a revision that is not
// compacted will want it. It is said once for each record, put or tombstone, also for those that
// a scan at start finds dead: what may be removed for good is decided by it. It touches no file.
// Any goroutine.
func (l *Log) Dead(pos Pos) {
	f := l.lookup(pos)
	if f == nil {
		return // the file went while the caller held the position: so did the record
	}
	if pos.tombstone() {
		f.deadTombs.Add(pos.size())
	} else {
		f.deadPuts.Add(pos.size())
	}
}

// roll makes the next segment the active one, with room for a record of that size.
func (l *Log) roll(size int64) error {
	if err := l.Flush(); err != nil {
		return err
	}
	next, err := l.takeNext(size)
	if err != nil {
		return err
	}
	old := l.w.f
	old.last = l.w.last
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.place(next.f); err != nil {
		l.prepareMu.Lock()
		defer l.prepareMu.Unlock()
		return errors.Join(err, l.discard(next))
	}
	old.full = true
	l.open = append(l.open, next.f)
	l.names++
	v := l.view.Load()
	l.setView(slices.Clone(v.slots), append(slices.Clone(v.files), next.f), next.f)
	l.w = next
	if l.opts.Rolled != nil {
		l.opts.Rolled()
	}
	return nil
}

// place gives f a slot; the caller holds mu and puts f into the view.
func (l *Log) place(f *file) error {
	slots := l.view.Load().slots
	slot := 1
	for slot < len(slots) && slots[slot] != nil {
		slot++
	}
	if slot > maxFiles {
		return fmt.Errorf("revlog: %s: more than %d files; use larger segments", l.dir, maxFiles)
	}
	for slot >= len(l.uses) {
		l.uses = append(l.uses, 0)
	}
	l.uses[slot] = (l.uses[slot] + 1) & useMask
	f.slot, f.use = uint16(slot), l.uses[slot]
	return nil
}

// setView publishes a view with f in its slot; the caller holds mu and gives the slices away.
func (l *Log) setView(slots, files []*file, f *file) {
	for int(f.slot) >= len(slots) {
		slots = append(slots, nil)
	}
	slots[f.slot] = f
	l.view.Store(&view{slots: slots, files: files})
}

// Close ends the log. What is not synced may be lost; the owner's write-ahead log has it. All other
// calls must have returned. It fails with ErrPinned if a pin is held: then nothing is unmapped.
func (l *Log) Close() error {
	if err := l.err(); errors.Is(err, ErrClosed) {
		return err
	}
	closed := ErrClosed
	l.failed.Store(&closed)
	errs := []error{l.reclaim.abort(l)}
	l.prepareMu.Lock()
	if l.next != nil {
		errs = append(errs, l.discard(l.next))
		l.next = nil
	}
	l.prepareMu.Unlock()
	for _, f := range l.open {
		errs = append(errs, f.f.Close())
	}
	if !l.pins.free() {
		return errors.Join(append(errs, ErrPinned)...)
	}
	for _, f := range l.view.Load().slots {
		if f != nil {
			errs = append(errs, f.mapping.Unmap())
		}
	}
	return errors.Join(errs...)
}

// path is where a file of the log is.
func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }
