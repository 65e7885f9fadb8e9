package revlog

import (
	"fmt"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

const (
	// writebackBytes is how much is written before the kernel is asked to bring it to disk.
	writebackBytes = 1 << 20
	// maxTailBytes bounds what is buffered between two Flushes: an Append beyond it writes first.
	// A single record may be larger.
	maxTailBytes = 8 << 20
	// keepTailBytes is the largest buffer that is kept for the next batch.
	keepTailBytes = 1 << 20
)

// writer appends records to a file. One goroutine owns it. What was added is not seen by readers
// before flush.
type writer struct {
	f    *file
	fd   vfs.File
	cap  int64  // bytes that the file may take, footer included
	tail []byte // what is not written yet: the file's bytes from start on
	// start is where the written records end.
	start int64

	last    cairn.Revision // of the newest record
	records int64          // counts like the file's, with what is in the tail
	puts    int64
	tombs   int64
	entries int32
	stride  int64
	nextAt  int64 // where the next table entry is due

	writeback int64 // up to where the kernel was asked
}

// newWriter writes to f from offset end on; f's counts must be those of the records before it.
func newWriter(f *file, fileBytes, end int64) *writer {
	w := &writer{
		f: f, fd: f.f, cap: fileBytes, start: end, writeback: end,
		last: f.last, records: f.records.Load(), puts: f.puts.Load(), tombs: f.tombs.Load(),
		entries: f.entries.Load(), stride: strideOf(fileBytes), nextAt: headerBytes,
	}
	if w.entries > 0 {
		w.nextAt = f.table[w.entries-1].off + w.stride
	}
	return w
}

// pos is the offset of the next record.
func (w *writer) pos() int64 { return w.start + int64(len(w.tail)) }

// fits says whether a record of that size leaves room for the footer.
func (w *writer) fits(size int64) bool {
	entries := int64(w.entries)
	if w.pos() >= w.nextAt {
		entries++ // its own: a rewrite of records that all stay has no room for more
	}
	footer := entries*tableEntryBytes + trailerBytes
	return w.pos()+size+footer <= w.cap && w.pos()+size <= MaxSegmentBytes
}

// add encodes a record into the tail. It must fit.
func (w *writer) add(rev cairn.Revision, tombstone bool, kv []byte) (off, size int64) {
	off = w.pos()
	w.tail = appendRecord(w.tail, w.f.seed, off, rev, tombstone, kv)
	size = w.pos() - off
	w.count(rev, tombstone, off, size)
	return off, size
}

// count accounts for a record.
func (w *writer) count(rev cairn.Revision, tombstone bool, off, size int64) {
	if off >= w.nextAt {
		w.f.table[w.entries] = tableEntry{main: rev.Main, off: off}
		w.entries++
		w.nextAt = off + w.stride
	}
	if w.records == 0 {
		w.f.first = rev
	}
	w.last = rev
	w.records++
	if tombstone {
		w.tombs += size
	} else {
		w.puts += size
	}
}

// flush writes the tail and shows it to readers.
func (w *writer) flush() error {
	if len(w.tail) == 0 {
		return nil
	}
	if _, err := w.fd.WriteAt(w.tail, w.start); err != nil {
		return err
	}
	w.start += int64(len(w.tail))
	if cap(w.tail) > keepTailBytes {
		w.tail = nil
	} else {
		w.tail = w.tail[:0]
	}
	w.publish()
	if w.start-w.writeback < writebackBytes {
		return nil
	}
	n := w.start - w.writeback
	w.writeback = w.start
	return w.fd.StartWriteback(w.start-n, n)
}

// publish shows what is written to readers; the end comes last.
func (w *writer) publish() {
	w.f.records.Store(w.records)
	w.f.puts.Store(w.puts)
	w.f.tombs.Store(w.tombs)
	w.f.entries.Store(w.entries)
	w.f.end.Store(w.start)
}

// footer is the bytes that seal the file, to be written at its end. All must be flushed and frozen.
func (f *file) footer() []byte {
	t := f.trailer()
	table := f.table[:f.entries.Load()]
	b := make([]byte, 0, len(table)*tableEntryBytes+trailerBytes)
	return appendFooter(b, f.seed, table, t)
}

// seal writes the footer and cuts the file behind it. It is not synced.
func (f *file) seal() error {
	t := f.trailer()
	if reason := t.check(f.table[:f.entries.Load()]); reason != "" {
		return fmt.Errorf("revlog: %s: refusing to seal: %s", f.path, reason)
	}
	b := f.footer()
	if _, err := f.f.WriteAt(b, t.recordsEnd); err != nil {
		return err
	}
	return f.f.Truncate(t.recordsEnd + int64(len(b)))
}
