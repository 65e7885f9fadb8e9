package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairnkv/cairn/vfs"
)

// readBytes is the least that is read from a file at a time.
const readBytes = 128 << 10

// Term returns the term of the entry at i. i may also be FirstIndex-1. raft.ErrCompacted is the
// answer before that, raft.ErrUnavailable past the end.
func (w *WAL) Term(i uint64) (uint64, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	switch {
	case i < w.state.base:
		return 0, raft.ErrCompacted
	case i > w.state.last:
		return 0, raft.ErrUnavailable
	}
	return w.state.term(i), nil
}

// Entries returns the entries [lo, hi), or as many from lo on as together have at most maxBytes in
// their protobuf encoding, but at least one. The slice is the caller's; the entries and their
// data may not be changed. Old entries are read from the files and checked.
//
// raft.ErrCompacted says that lo is before FirstIndex, raft.ErrUnavailable that hi is past
// LastIndex+1; a [*CorruptError], that an entry in a file is damaged.
func (w *WAL) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	w.mu.RLock()
	if err := w.checkRange(lo, hi); err != nil || lo == hi {
		w.mu.RUnlock()
		return nil, err
	}
	if lo >= w.cache.first {
		entries := takeWithin(nil, w.cache.from(lo, hi), 0, maxBytes)
		w.mu.RUnlock()
		return entries, nil
	}
	w.mu.RUnlock()
	return w.readEntries(lo, hi, maxBytes)
}

func (w *WAL) checkRange(lo, hi uint64) error {
	switch {
	case lo <= w.state.base:
		return raft.ErrCompacted
	case hi > w.state.last+1 || lo > hi:
		return raft.ErrUnavailable
	}
	return nil
}

// takeWithin appends to entries those of more that fit in maxBytes, of which used are gone.
func takeWithin(entries, more []*raftpb.Entry, used, maxBytes uint64) []*raftpb.Entry {
	n := 0
	for _, e := range more {
		used += uint64(entryBytes(e))
		if used > maxBytes && len(entries)+n > 0 {
			break
		}
		n++
	}
	if entries == nil {
		entries = make([]*raftpb.Entry, 0, n)
	}
	return append(entries, more[:n]...)
}

// readEntries is Entries when lo is not in the cache. The log may change meanwhile; what counts is
// what it was when an entry was looked up.
func (w *WAL) readEntries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	w.files.RLock()
	defer w.files.RUnlock()
	r := &entryReader{fs: w.fs}
	defer r.close()
	var entries []*raftpb.Entry
	var used uint64
	for index := lo; index < hi; index++ {
		w.mu.RLock()
		if err := w.checkRange(index, hi); err != nil {
			w.mu.RUnlock()
			return nil, err
		}
		if index >= w.cache.first {
			entries = takeWithin(entries, w.cache.from(index, hi), used, maxBytes)
			w.mu.RUnlock()
			return entries, nil
		}
		s, off, limit := w.find(index)
		w.mu.RUnlock()
		if s == nil {
			return nil, fmt.Errorf("wal: entry %d is neither in memory nor in a file", index)
		}
		e, err := r.read(s, off, limit, index)
		if err != nil {
			return nil, err
		}
		used += uint64(entryBytes(e))
		if used > maxBytes && len(entries) > 0 {
			break
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// find tells where the entry at index is, and where the records of its segment end.
func (w *WAL) find(index uint64) (s *segment, off, limit int64) {
	for i := len(w.segs) - 1; i >= 0; i-- {
		if s := w.segs[i]; s.holds(index) {
			return s, int64(s.offsets[index-s.first]), s.end
		}
	}
	return nil, 0, 0
}

// entryReader reads entries from segment files, most often one after the other. The bytes that it
// read are those that the entries' data points into: nothing is copied again.
type entryReader struct {
	fs   vfs.FS
	seg  *segment
	file vfs.File
	buf  []byte
	off  int64 // of buf in the file
}

func (r *entryReader) close() {
	if r.file != nil {
		r.file.Close() // it was only read
		r.file = nil
	}
}

func (r *entryReader) read(s *segment, off, limit int64, index uint64) (*raftpb.Entry, error) {
	if s != r.seg {
		r.close()
		f, err := r.fs.Open(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &CorruptError{File: s.path, Reason: "the segment is missing"}
		}
		if err != nil {
			return nil, fmt.Errorf("wal: %w", err)
		}
		r.seg, r.file, r.buf = s, f, nil
	}
	b, err := r.at(off, recordHeadBytes, limit)
	if err != nil {
		return nil, err
	}
	h, ok := decodeHead(b, s.number, off)
	if !ok || h.typ != typeEntry || off+h.bytes() > limit {
		return nil, &CorruptError{File: s.path, Offset: off, Reason: "no entry where one was"}
	}
	if b, err = r.at(off, h.bytes(), limit); err != nil {
		return nil, err
	}
	if !checkBody(b, h) {
		return nil, &CorruptError{File: s.path, Offset: off, Reason: "an entry fails its check"}
	}
	e, err := decodeEntry(b[recordHeadBytes:recordHeadBytes+h.length], h.sub)
	if err != nil || e.GetIndex() != index {
		return nil, &CorruptError{
			File: s.path, Offset: off, Reason: fmt.Sprintf("not the entry %d", index),
		}
	}
	return e, nil
}

// at returns n bytes at off, reading up to limit ahead.
func (r *entryReader) at(off, n, limit int64) ([]byte, error) {
	if off < r.off || off+n > r.off+int64(len(r.buf)) {
		size := max(n, min(readBytes, limit-off))
		buf := make([]byte, size)
		k, err := r.file.ReadAt(buf, off)
		if int64(k) < n {
			if err == io.EOF {
				return nil, &CorruptError{
					File: r.seg.path, Offset: off, Reason: "the file is too short",
				}
			}
			return nil, fmt.Errorf("wal: %w", err)
		}
		r.buf, r.off = buf[:k], off
	}
	return r.buf[off-r.off : off-r.off+n], nil
}

// decodeEntry makes an entry of a checked payload; its data is that of b.
func decodeEntry(b []byte, typ uint8) (*raftpb.Entry, error) {
	if len(b) < entryFixedBytes {
		return nil, errors.New("an entry that is too short")
	}
	d := &struct {
		entry       raftpb.Entry
		index, term uint64
		typ         raftpb.EntryType
	}{typ: raftpb.EntryType(typ)}
	d.index, d.term = getPair(b)
	d.entry.Index, d.entry.Term, d.entry.Type = &d.index, &d.term, &d.typ
	if len(b) > entryFixedBytes {
		d.entry.Data = b[entryFixedBytes:len(b):len(b)]
	}
	return &d.entry, nil
}
