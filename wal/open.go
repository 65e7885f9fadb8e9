package wal

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cairnkv/cairn/vfs"
)

// Open opens the log in dir, or makes one if there is none. It reads all of it, cuts a torn tail,
// and refuses damage before that with a [*CorruptError]. Whoever calls it sees to it that nobody
// else has the log open.
func Open(fs vfs.FS, dir string, opts Options) (*WAL, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	w := &WAL{fs: fs, dir: dir, opts: opts}
	if err := w.open(); err != nil {
		for _, s := range append(w.segs, w.next) {
			if s != nil {
				s.close() // the error that is returned comes first
			}
		}
		return nil, err
	}
	return w, nil
}

func (w *WAL) open() error {
	if err := w.fs.MkdirAll(w.dir); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	numbers, spares, err := w.list()
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	found, err := w.readHeads(numbers)
	if err != nil {
		return err
	}
	sealed, unused, err := w.classify(found)
	if err != nil {
		return err
	}
	if err := w.tidy(unused, spares); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if len(sealed) == 0 {
		return w.create()
	}
	return w.replay(sealed)
}

// list returns the numbers of the segments and of the spares, ascending.
func (w *WAL) list() (numbers, spares []uint64, err error) {
	names, err := w.fs.List(w.dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if number, ok := parseName(name, segmentSuffix); ok {
			numbers = append(numbers, number)
		}
		if number, ok := parseName(name, spareSuffix); ok {
			spares = append(spares, number)
		}
	}
	slices.Sort(numbers)
	slices.Sort(spares)
	return numbers, spares, nil
}

// candidate is a segment file as Open finds it.
type candidate struct {
	segment *segment
	size    int64
	head    segmentHead
	bad     string // why the head is not one; then head is empty
}

func (w *WAL) readHeads(numbers []uint64) ([]*candidate, error) {
	found := make([]*candidate, 0, len(numbers))
	for _, number := range numbers {
		c, err := w.readHead(number)
		if err != nil {
			return nil, fmt.Errorf("wal: %w", err)
		}
		if c.bad == reasonVersion {
			return nil, fmt.Errorf("wal: %s was %s", c.segment.path, reasonVersion)
		}
		found = append(found, c)
	}
	return found, nil
}

func (w *WAL) readHead(number uint64) (*candidate, error) {
	path := filepath.Join(w.dir, segmentName(number))
	c := &candidate{segment: &segment{number: number, path: path}}
	f, err := w.fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it is only read
	if c.size, err = f.Size(); err != nil {
		return nil, err
	}
	h, payload, bad, err := newWindow(f, c.size).record(number, 0)
	switch {
	case err != nil:
		return nil, err
	case bad != "":
		c.bad = bad
	case h.typ != typeSegment || h.prev != 0 || h.synced != 0:
		c.bad = "the first record is not the header of a segment"
	default:
		c.head, c.bad = decodeSegment(payload, number)
	}
	return c, nil
}

// classify finds which segments make up the log, and which were never used: those after the last
// whose head is whole. A head that fails elsewhere, or that something vouches for, is damage.
func (w *WAL) classify(found []*candidate) (log, unused []*candidate, err error) {
	last := -1
	for i, c := range found {
		if c.bad == "" {
			last = i
		}
	}
	for i, c := range found {
		path := c.segment.path
		if i > 0 && c.segment.number != found[i-1].segment.number+1 {
			missing := segmentName(found[i-1].segment.number + 1)
			return nil, nil, &CorruptError{
				File: filepath.Join(w.dir, missing), Reason: "the segment is missing",
			}
		}
		if c.bad == "" {
			continue
		}
		if i < last {
			return nil, nil, &CorruptError{File: path, Reason: c.bad}
		}
		// Only the first segment of all begins without another before it, and the next is
		// made after its head was synced.
		if last < 0 && (c.segment.number != 1 || len(found) > 1) {
			return nil, nil, &CorruptError{File: path, Reason: c.bad}
		}
		proven, _, err := w.scan(c.segment, c.size, 0)
		if err != nil {
			return nil, nil, fmt.Errorf("wal: %w", err)
		}
		if proven > 0 {
			return nil, nil, &CorruptError{File: path, Reason: vouched(c.bad, proven)}
		}
	}
	return found[:last+1], found[last+1:], nil
}

func vouched(reason string, proven int64) string {
	return fmt.Sprintf("%s, and a later record says that all up to offset %d was synced",
		reason, proven)
}

// scan looks from off on for records that pass their own checks, in no chain. It returns the
// highest offset that one of them says was synced, and where the last ends; 0 if there is none.
func (w *WAL) scan(s *segment, size, off int64) (proven, end int64, err error) {
	f, err := w.fs.Open(s.path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() // it is only read
	heads, bodies := newWindow(f, size), newWindow(f, size)
	for off+recordHeadBytes <= size {
		b, err := heads.at(off, min(windowBytes, size-off))
		if err != nil {
			return 0, 0, err
		}
		n := int64(0)
		for ; n+recordHeadBytes <= int64(len(b)); n += recordAlign {
			h, ok := decodeHead(b[n:], s.number, off+n)
			if !ok {
				continue
			}
			_, _, bad, err := bodies.record(s.number, off+n)
			if err != nil {
				return 0, 0, err
			}
			if bad == "" {
				proven = max(proven, int64(h.synced))
				end = off + n + h.bytes()
			}
		}
		off += n
	}
	return proven, end, nil
}

// tidy removes the files that were never used (they may hold a torn batch, which must not be
// found under the same number later) and the spares that are too many.
func (w *WAL) tidy(unused []*candidate, spares []uint64) error {
	var gone []string
	for i := len(unused) - 1; i >= 0; i-- { // so that no crash leaves a gap
		gone = append(gone, unused[i].segment.path)
	}
	for len(spares) > maxSpares {
		gone = append(gone, filepath.Join(w.dir, spareName(spares[0])))
		spares = spares[1:]
	}
	w.spares = spares
	for _, path := range gone {
		if err := w.fs.Remove(path); err != nil {
			return err
		}
		if err := w.fs.SyncDir(w.dir); err != nil {
			return err
		}
	}
	// Names that the last process made may be durable nowhere yet.
	return w.fs.SyncDir(w.dir)
}

// create begins a new log. Its head is durable before anything else.
func (w *WAL) create() error {
	w.metadata = bytes.Clone(w.opts.Metadata)
	w.state.restart(0, 0)
	w.start()
	path := filepath.Join(w.dir, segmentName(1))
	f, err := w.fs.Create(path)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	w.cur = &segment{number: 1, path: path, file: f}
	w.segs = []*segment{w.cur}
	if err := w.writeBatch(); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	return w.Mark()
}

// start sets what follows from state and metadata.
func (w *WAL) start() {
	w.headBytes = recordBytes(segmentFixedBytes + len(w.metadata))
	w.buf = make([]byte, w.headBytes)
	w.cache.limit = w.opts.CacheBytes
	w.cache.restart(w.state.last + 1)
	w.written = w.state.hard
	w.writtenAt.last, w.writtenAt.term = w.state.last, w.state.term(w.state.last)
}

// replay reads the log back and gets its end ready for more.
func (w *WAL) replay(log []*candidate) error {
	first := log[0].head
	w.metadata = first.metadata
	w.state.restart(first.base, first.baseTerm)
	w.state.hard = first.state
	w.placed = first.base
	var end walk
	for i, c := range log {
		if err := w.checkHead(c, end, i > 0); err != nil {
			return err
		}
		c.segment.base = c.head.base
		c.segment.durable = true
		w.segs = append(w.segs, c.segment)
		limit := int64(-1)
		if i+1 < len(log) {
			limit = log[i+1].head.prevEnd
		}
		var err error
		if end, err = w.walk(c, limit); err != nil {
			return err
		}
		c.segment.end = end.off
	}
	tail := log[len(log)-1]
	if w.state.hard.commit > w.state.last {
		return &CorruptError{File: tail.segment.path, Offset: end.off, Reason: fmt.Sprintf(
			"the log ends at entry %d, and %d is committed", w.state.last, w.state.hard.commit)}
	}
	w.prevEnd, w.prevCRC = tail.head.prevEnd, tail.head.prevCRC
	w.cur = tail.segment
	w.off, w.crc = end.off, end.crc
	w.synced, w.marked, w.content = end.off, end.proven, end.content
	w.start()
	if err := w.repair(tail, end); err != nil {
		var corrupt *CorruptError
		if errors.As(err, &corrupt) {
			return err
		}
		return fmt.Errorf("wal: %w", err)
	}
	return nil
}

// checkHead compares a segment's head with what the segments before it say.
func (w *WAL) checkHead(c *candidate, before walk, hasBefore bool) error {
	h, reason := c.head, ""
	switch {
	case !hasBefore:
	case h.prevEnd != before.off || h.prevCRC != before.crc:
		reason = "the header does not continue the segment before"
	case h.base != w.state.last || h.baseTerm != w.state.term(w.state.last):
		reason = fmt.Sprintf("the header follows entry %d of term %d, and the segment before ends "+
			"with %d of term %d", h.base, h.baseTerm, w.state.last, w.state.term(w.state.last))
	case h.state != w.state.hard:
		reason = "the header has another hard state than the segment before"
	case !bytes.Equal(h.metadata, w.metadata):
		reason = "the header has other metadata than the segment before"
	}
	if reason != "" {
		return &CorruptError{File: c.segment.path, Reason: reason}
	}
	return nil
}

// walk is the end of a segment, as reading found it.
type walk struct {
	off     int64  // where the records end
	crc     uint32 // of the last
	proven  int64  // the highest offset that a record says was synced
	content int64  // end of the last record that is not a mark
	bad     string // what is wrong with the record at off; empty at the limit
}

// walk reads the records of a segment up to limit, where they must end, or with limit < 0 up to the
// first that fails.
func (w *WAL) walk(c *candidate, limit int64) (walk, error) {
	var at walk
	f, err := w.fs.Open(c.segment.path)
	if err != nil {
		return at, fmt.Errorf("wal: %w", err)
	}
	defer f.Close() // it is only read
	win := newWindow(f, c.size)
	for limit < 0 || at.off < limit {
		h, payload, bad, err := win.record(c.segment.number, at.off)
		if err != nil {
			return at, fmt.Errorf("wal: %w", err)
		}
		if bad == "" && h.prev != at.crc {
			bad = "the record does not continue the one before"
		}
		if bad != "" {
			if limit >= 0 {
				return at, &CorruptError{File: c.segment.path, Offset: at.off, Reason: bad}
			}
			at.bad = bad
			return at, nil
		}
		if err := w.redo(h, payload, at.off); err != nil {
			return at, &CorruptError{File: c.segment.path, Offset: at.off, Reason: err.Error()}
		}
		at.off += h.bytes()
		at.crc = h.crc
		at.proven = max(at.proven, int64(h.synced))
		if h.typ != typeMark {
			at.content = at.off
		}
	}
	return at, nil
}

// redo applies one record that was read at off of the last segment.
func (w *WAL) redo(h head, payload []byte, off int64) error {
	switch {
	case h.typ == typeSegment && off == 0, h.typ == typeMark && len(payload) == 0:
		return nil
	case h.typ == typeEntry && len(payload) >= entryFixedBytes:
		index, term := getPair(payload)
		return w.redoEntry(index, term, off)
	case h.typ == typeState && len(payload) == stateBytes:
		hard := decodeState(payload)
		if err := w.state.checkState(hard); err != nil {
			return err
		}
		w.state.hard = hard
		return nil
	case h.typ == typeReset && len(payload) == resetBytes:
		index, term := getPair(payload)
		if err := w.state.checkReset(index); err != nil {
			return err
		}
		w.state.reset(index, term)
		w.unplace(0, index)
		return nil
	}
	return fmt.Errorf("a record of type %d with %d bytes where none can be", h.typ, len(payload))
}

// redoEntry applies an entry. One at or before base can only be when segments were dropped, since
// entries after base would have been replaced: then the log begins after it.
func (w *WAL) redoEntry(index, term uint64, off int64) error {
	if index <= w.state.base && index > w.state.hard.commit && index > 0 {
		w.state.restart(index, term)
		w.unplace(0, index)
		return nil
	}
	if err := w.state.checkEntry(index, term); err != nil {
		return err
	}
	w.state.entry(index, term)
	w.place(index, off)
	return nil
}

// repair makes the last segment ready for more: it tells a torn tail from damage and cuts it, and
// makes durable what was read.
func (w *WAL) repair(tail *candidate, end walk) error {
	proven, torn, err := w.scan(tail.segment, tail.size, end.off)
	if err != nil {
		return err
	}
	if proven > end.off {
		return &CorruptError{
			File: tail.segment.path, Offset: end.off, Reason: vouched(end.bad, proven),
		}
	}
	f, err := w.fs.OpenReadWrite(tail.segment.path)
	if err != nil {
		return err
	}
	w.cur.file = f
	w.cur.allocated = tail.size
	w.cur.zeroed.Store(tail.size)
	for off := end.off; off < torn; off += zeroChunkBytes {
		n := min(zeroChunkBytes, torn-off)
		if _, err := f.WriteAt(zeroChunk[:n], off); err != nil {
			return err
		}
	}
	if err := rewrite(f, end.proven, end.off); err != nil {
		return err
	}
	return f.SyncData()
}

// rewrite writes [from, to) as it is, so that the next sync writes it to disk even if the system
// believes that it is there.
func rewrite(f vfs.File, from, to int64) error {
	buf := make([]byte, min(to-from, windowBytes))
	for off := from; off < to; off += int64(len(buf)) {
		p := buf[:min(to-off, int64(len(buf)))]
		if _, err := f.ReadAt(p, off); err != nil {
			return err
		}
		if _, err := f.WriteAt(p, off); err != nil {
			return err
		}
	}
	return nil
}
