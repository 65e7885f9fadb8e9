package revlog

import (
	"errors"
	"fmt"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// zeroChunkBytes is how much is erased at once.
const zeroChunkBytes = 64 << 10

// checkActive checks the file that the mark is in, up to the mark, and changes nothing. It
// leaves the newest revision in l.last.
func (l *Log) checkActive(id ident, cut Mark) error {
	fd, err := l.fs.Open(l.path(id.name()))
	if err != nil {
		return err
	}
	defer fd.Close()
	f, err := l.mapActive(fd, id, cut)
	if err != nil {
		return err
	}
	defer f.mapping.Unmap()
	_, err = f.walk(headerBytes, cut.Offset, l.last, func(_, _ int64, r Record) (bool, error) {
		l.last = r.Rev
		return true, nil
	})
	return err
}

// mapActive maps a whole file that may have no footer and checks its header.
func (l *Log) mapActive(fd vfs.File, id ident, cut Mark) (*file, error) {
	f := &file{id: id, path: fd.Name(), f: fd}
	var err error
	if f.size, err = fd.Size(); err != nil {
		return nil, err
	}
	if f.size < cut.Offset {
		return nil, f.corrupt(f.size, fmt.Sprintf("the file ends before the mark %v", cut))
	}
	if f.mapping, err = fd.Map(f.size); err != nil {
		return nil, err
	}
	f.data = f.mapping.Bytes()
	var at int64
	if err := f.guarded(&at, func() error { return f.checkHeader(l.opts.LogID) }); err != nil {
		f.mapping.Unmap()
		return nil, err
	}
	return f, nil
}

// reopen makes the file that the mark is in the active segment again: nothing is behind the
// mark, and space is allocated. A disk that is full is no error here: the segment is then as
// long as it is.
func (l *Log) reopen(id ident, cut Mark, files []*file) (w *writer, err error) {
	fd, err := l.fs.OpenReadWrite(l.path(id.name()))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, fd.Close())
		}
	}()
	size, err := fd.Size()
	if err != nil {
		return nil, err
	}
	if err := l.erase(fd, cut.Offset, size); err != nil {
		return nil, err
	}
	var total int64
	for _, f := range files {
		total += f.recordBytes()
	}
	want := max(targetBytes(total, l.opts.SegmentBytes), cut.Offset+footerRoom(size))
	if err := fd.Allocate(want); err != nil && !errors.Is(err, vfs.ErrNoSpace) {
		return nil, err
	}
	f, err := l.mapActive(fd, id, cut)
	if err != nil {
		return nil, err
	}
	// A file that is shorter than wanted gets no longer table, which would not fit behind its
	// records.
	stride := max(strideOf(f.size), strideOf(want))
	f.table = make([]tableEntry, f.size/stride+1)
	w = newWriter(f, f.size, headerBytes)
	w.stride = stride
	_, err = f.walk(headerBytes, cut.Offset, cairn.Revision{},
		func(off, size int64, r Record) (bool, error) {
			w.count(r.Rev, r.Tombstone, off, size)
			return true, nil
		})
	if err != nil {
		f.mapping.Unmap()
		return nil, err
	}
	w.start, w.writeback = cut.Offset, cut.Offset
	w.publish()
	return w, nil
}

// erase overwrites [from, to) with zeros, where there is something else. The blocks stay allocated.
// Those bytes would not be read by this release anyway: whoever opens the log cuts it first.
func (l *Log) erase(fd vfs.File, from, to int64) error {
	have := make([]byte, zeroChunkBytes)
	zeros := make([]byte, zeroChunkBytes)
	for off := from; off < to; off += zeroChunkBytes {
		b := have[:min(zeroChunkBytes, to-off)]
		if _, err := fd.ReadAt(b, off); err != nil {
			return err
		}
		if string(b) == string(zeros[:len(b)]) {
			continue
		}
		if _, err := fd.WriteAt(zeros[:len(b)], off); err != nil {
			return err
		}
	}
	return nil
}
