package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/vfs"
)

// Flush writes what was appended with one write, and with sync makes it and all before durable with
// one sync; when the segment is full, the one before is synced and the next one begun first.
//
// An error poisons the log: end the process. Only an error that is [vfs.ErrNoSpace] while
// [WAL.Err] is nil came before a byte was written: the batch is kept, and Flush may be tried again.
func (w *WAL) Flush(sync bool) error {
	if err := w.Err(); err != nil {
		return err
	}
	if len(w.buf) > w.headBytes {
		if err := w.write(); err != nil {
			return err
		}
	}
	if !sync || w.unsynced == 0 {
		return nil
	}
	return w.sync()
}

// Mark writes, without a sync, that everything is synced, if no record says so yet. From then on
// damage to the last batch can be told from a torn write. Call it after each Flush that
// syncs, before the batch is acknowledged; it does nothing while something waits to be flushed or
// synced. Errors are as those of Flush.
func (w *WAL) Mark() error {
	if err := w.Err(); err != nil {
		return err
	}
	if len(w.buf) > w.headBytes || w.content > w.synced || w.marked >= w.content {
		return nil
	}
	content := w.content
	w.buf, _ = appendRecord(w.buf, typeMark, 0, 0)
	err := w.writeBatch() // never in a new segment: its head would say as much as the mark
	if err == nil {
		w.content = content
	}
	return err
}

// write writes the batch, to a new segment if this one has no room.
func (w *WAL) write() error {
	size := int64(len(w.buf) - w.headBytes)
	if w.off > int64(w.headBytes) && w.off+size > w.opts.SegmentBytes {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	return w.writeBatch()
}

func (w *WAL) writeBatch() error {
	batch := w.buf[w.headBytes:]
	if w.off == 0 {
		w.encodeHead()
		batch = w.buf
	}
	if err := w.cur.reserve(w.off+int64(len(batch)), w.opts.SegmentBytes); err != nil {
		return w.failed(err)
	}
	crc := seal(batch, w.cur.number, w.off, w.crc, uint32(w.synced))
	start := w.opts.Clock.Now()
	if _, err := w.cur.file.WriteAt(batch, w.off); err != nil {
		return w.poison(fmt.Errorf("wal: %w", err))
	}
	if w.opts.OnWrite != nil {
		w.opts.OnWrite(len(batch), w.opts.Clock.Since(start))
	}
	w.mu.Lock()
	w.index(batch)
	w.cur.end = w.off + int64(len(batch))
	w.cache.evict(w.state.last)
	w.mu.Unlock()
	w.written = w.state.hard
	w.writtenAt.last, w.writtenAt.term = w.state.last, w.state.term(w.state.last)
	w.off += int64(len(batch))
	w.content, w.marked, w.crc = w.off, w.synced, crc
	w.unsynced += len(batch)
	w.buf = w.buf[:w.headBytes]
	if cap(w.buf) > keepBufferBytes {
		w.buf = make([]byte, w.headBytes)
	}
	return nil
}

// failed tells the one error after which the log lives on from all others.
func (w *WAL) failed(err error) error {
	var syncErr *syncError
	err = fmt.Errorf("wal: %w", err)
	if errors.Is(err, vfs.ErrNoSpace) && !errors.As(err, &syncErr) {
		return err
	}
	return w.poison(err)
}

// sync makes what was written durable.
func (w *WAL) sync() error {
	start := w.opts.Clock.Now()
	if err := w.cur.file.SyncData(); err != nil {
		return w.poison(fmt.Errorf("wal: %w", err))
	}
	if w.opts.OnSync != nil {
		w.opts.OnSync(w.unsynced, w.opts.Clock.Since(start))
	}
	w.unsynced = 0
	w.synced = w.off
	if !w.cur.durable {
		w.mu.Lock()
		w.cur.durable = true
		w.mu.Unlock()
	}
	return nil
}

// index notes where the entries of a written batch are; the caller holds mu.
func (w *WAL) index(batch []byte) {
	off := w.off
	for len(batch) > 0 {
		n := int(binary.LittleEndian.Uint32(batch[8:]))
		payload := batch[recordHeadBytes:]
		switch batch[16] {
		case typeEntry:
			index, _ := getPair(payload)
			w.place(index, off)
		case typeReset:
			index, _ := getPair(payload)
			w.unplace(0, index)
		}
		off += int64(recordBytes(n))
		batch = batch[recordBytes(n):]
	}
}

// place notes that the entry at index is at off of the last segment, in place of any there was.
func (w *WAL) place(index uint64, off int64) {
	if index <= w.placed {
		w.unplace(index, index-1)
	}
	w.segs[len(w.segs)-1].add(index, off)
	w.placed = index
}

// unplace forgets where the entries from index on are; the last one of the log is last.
func (w *WAL) unplace(index, last uint64) {
	for _, s := range w.segs {
		s.cut(index)
	}
	w.placed = last
}

// encodeHead puts the segment record in the room before the batch.
func (w *WAL) encodeHead() {
	h := segmentHead{
		number: w.cur.number, base: w.writtenAt.last, baseTerm: w.writtenAt.term,
		prevEnd: w.prevEnd, prevCRC: w.prevCRC, state: w.written, metadata: w.metadata,
	}
	_, payload := appendRecord(w.buf[:0], typeSegment, 0, segmentFixedBytes+len(w.metadata))
	h.encode(payload)
}

// rotate seals the segment and begins the next one. All of the old one is durable then, which
// the head of the new one will say.
func (w *WAL) rotate() error {
	if w.unsynced > 0 && !mutate.On(mutate.RotateUnsynced) {
		if err := w.sync(); err != nil {
			return err
		}
	}
	w.prepare.Lock()
	defer w.prepare.Unlock()
	if err := w.makeNext(); err != nil {
		return w.failed(err)
	}
	if err := w.cur.close(); err != nil {
		return w.poison(fmt.Errorf("wal: %w", err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	next := w.next
	next.base = w.writtenAt.last
	w.segs = append(w.segs, next)
	w.next = nil
	w.cur = next
	w.prevEnd, w.prevCRC = w.off, w.crc
	w.off, w.crc, w.synced, w.marked, w.content = 0, 0, 0, 0, 0
	return nil
}

// Prepare is the background step: it recycles or removes the segments that Truncate and Reset made
// useless, and fills with zeros ahead of the writer, 8 MiB of them at most in one call, so that
// Flush finds its space ready. It may run on another goroutine than the owner's.
//
// An error that is [vfs.ErrNoSpace] while [WAL.Err] is nil harms nothing: free some space and call
// it again; until then the log has only the space ahead that it has. Other errors poison the log.
func (w *WAL) Prepare() error {
	w.preparing.Lock()
	defer w.preparing.Unlock()
	if err := w.Err(); err != nil {
		return err
	}
	for {
		more, err := w.dropOldest()
		if err != nil {
			return w.failed(err)
		}
		if !more {
			break
		}
	}
	if err := w.trimSpares(); err != nil {
		return w.failed(err)
	}
	w.mu.RLock()
	cur := w.segs[len(w.segs)-1]
	target := cur.end + aheadBytes
	w.mu.RUnlock()
	if err := cur.zeroFill(w.fs, min(target, w.opts.SegmentBytes)); err != nil {
		return w.failed(err)
	}
	if target <= w.opts.SegmentBytes {
		return nil
	}
	next, err := w.prepareNext()
	if err == nil {
		err = next.zeroFill(w.fs, min(target-w.opts.SegmentBytes, w.opts.SegmentBytes))
	}
	if err != nil {
		return w.failed(err)
	}
	return nil
}

// trimSpares removes a spare if there are many and the log has been in the same segment for long.
func (w *WAL) trimSpares() error {
	w.prepare.Lock()
	defer w.prepare.Unlock()
	w.mu.RLock()
	current, spares := w.segs[len(w.segs)-1].number, w.spares
	w.mu.RUnlock()
	if current != w.quietIn {
		w.quietIn, w.quietFor = current, 0
	}
	if w.quietFor++; w.quietFor <= quietPrepares || len(spares) <= quietSpares {
		return nil
	}
	if err := w.fs.Remove(filepath.Join(w.dir, spareName(spares[0]))); err != nil {
		return err
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return &syncError{err}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spares = spares[1:]
	return nil
}

func (w *WAL) prepareNext() (*segment, error) {
	w.prepare.Lock()
	defer w.prepare.Unlock()
	if err := w.Err(); err != nil {
		return nil, err
	}
	if err := w.makeNext(); err != nil {
		return nil, err
	}
	return w.next, nil
}

// makeNext makes the next segment's file unless there is one, of a spare if there is one. The
// caller holds prepare.
func (w *WAL) makeNext() error {
	w.mu.RLock()
	next, spares := w.next, w.spares
	number := w.segs[len(w.segs)-1].number + 1
	w.mu.RUnlock()
	if next != nil {
		return nil
	}
	s := &segment{number: number, path: filepath.Join(w.dir, segmentName(number))}
	var err error
	if len(spares) > 0 {
		if err := w.fs.Rename(filepath.Join(w.dir, spareName(spares[0])), s.path); err != nil {
			return err
		}
		s.file, err = w.fs.OpenReadWrite(s.path)
		spares = spares[1:]
	} else {
		s.file, err = w.fs.Create(s.path)
	}
	if err != nil {
		return err
	}
	size, err := s.file.Size()
	if err == nil {
		err = w.fs.SyncDir(w.dir)
	}
	if err != nil {
		return &syncError{errors.Join(err, s.file.Close())}
	}
	s.allocated = size
	s.zeroed.Store(size)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next, w.spares = s, spares
	return nil
}

// dropOldest makes a spare of the oldest segment, or removes it, if the log can do without. One
// at a time, each made durable before the next, so that a crash never leaves a gap.
func (w *WAL) dropOldest() (dropped bool, err error) {
	w.prepare.Lock()
	defer w.prepare.Unlock()
	w.mu.RLock()
	var oldest *segment
	if len(w.segs) > 1 && w.segs[1].durable &&
		(w.segs[1].base <= w.dropTo || w.segs[0].number < w.reset) {
		oldest = w.segs[0]
	}
	spare := len(w.spares) < maxSpares
	err = w.err
	w.mu.RUnlock()
	if oldest == nil || err != nil {
		return false, err
	}
	spare = spare && oldest.end <= 2*w.opts.SegmentBytes
	w.files.Lock()
	if spare {
		err = w.fs.Rename(oldest.path, filepath.Join(w.dir, spareName(oldest.number)))
	} else {
		err = w.fs.Remove(oldest.path)
	}
	w.files.Unlock()
	if err != nil {
		return false, err
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return false, &syncError{err}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.segs = append([]*segment(nil), w.segs[1:]...)
	if spare {
		w.spares = append(w.spares, oldest.number)
	}
	return true, nil
}
