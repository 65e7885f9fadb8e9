package revlog

import (
	"errors"
	"math/bits"

	"github.com/cairnkv/cairn/vfs"
)

// Prepare allocates the next segment if that is not done yet, so that no Append has to. Call it
// from a background goroutine after each few MiB, or every second; without work it returns at
// once. An error that wraps vfs.ErrNoSpace says that there will be no next segment: the owner
// refuses writes (what is in flight still finds room in the active segment) and calls again. Any
// goroutine.
func (l *Log) Prepare() error {
	l.prepareMu.Lock()
	defer l.prepareMu.Unlock()
	if err := l.err(); err != nil || l.next != nil {
		return err
	}
	next, err := l.create(l.nextSeq, l.targetBytes())
	if err != nil {
		return err
	}
	l.next = next
	return nil
}

// Prepared says whether the next segment is there. Any goroutine.
func (l *Log) Prepared() bool {
	l.prepareMu.Lock()
	defer l.prepareMu.Unlock()
	return l.next != nil
}

// takeNext returns the next segment, with room for a record of that size.
func (l *Log) takeNext(size int64) (*writer, error) {
	l.prepareMu.Lock()
	defer l.prepareMu.Unlock()
	next := l.next
	l.next = nil
	if next != nil && !next.fits(size) {
		if err := l.discard(next); err != nil {
			return nil, err
		}
		next = nil
	}
	if next == nil {
		const page = 4 << 10
		need := headerBytes + size + tableEntryBytes + trailerBytes
		need = (need + page - 1) &^ (page - 1)
		var err error
		if next, err = l.create(l.nextSeq, max(l.targetBytes(), need)); err != nil {
			return nil, err
		}
	}
	l.nextSeq++
	return next, nil
}

// create makes an empty segment; the caller holds prepareMu.
func (l *Log) create(seq uint64, fileBytes int64) (w *writer, err error) {
	id := ident{lo: seq, hi: seq}
	fd, err := l.fs.Create(l.path(id.name()))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil { // the next try starts with Create again: what stays does no harm
			err = errors.Join(err, fd.Close(), l.fs.Remove(fd.Name()))
		}
	}()
	f, err := l.format(fd, id, fileBytes)
	if err != nil {
		return nil, err
	}
	return newWriter(f, fileBytes, headerBytes), nil
}

// format allocates a new file, writes its header and maps it.
func (l *Log) format(fd vfs.File, id ident, fileBytes int64) (*file, error) {
	if err := fd.Allocate(fileBytes); err != nil {
		return nil, err
	}
	b, seed := header{id: id, logID: l.opts.LogID}.encode()
	if _, err := fd.WriteAt(b[:], 0); err != nil {
		return nil, err
	}
	m, err := fd.Map(fileBytes)
	if err != nil {
		return nil, err
	}
	f := &file{
		id: id, path: l.path(id.name()), seed: seed, mapping: m, data: m.Bytes(),
		table: make([]tableEntry, fileBytes/strideOf(fileBytes)+1),
		f:     fd, size: fileBytes,
	}
	f.end.Store(headerBytes)
	return f, nil
}

// discard removes a segment that was never used.
func (l *Log) discard(w *writer) error {
	return errors.Join(w.f.mapping.Unmap(), w.fd.Close(), l.fs.Remove(w.f.path))
}

// targetBytes is the size of a segment that suits the log as it is now: a power of two that is a
// small share of it, within the limits.
func (l *Log) targetBytes() int64 {
	var total int64
	for _, f := range l.view.Load().files {
		total += f.recordBytes()
	}
	return targetBytes(total, l.opts.SegmentBytes)
}

func targetBytes(total, limit int64) int64 {
	share := uint64(max(total/segmentShare, 1))
	pow := int64(1) << (bits.Len64(share) - 1)
	return min(max(pow, min(smallSegmentBytes, limit)), limit)
}
