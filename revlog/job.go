package revlog

import (
	"errors"
	"strings"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// phase is how far a rewrite is.
type phase uint8

const (
	phaseStart  phase = iota // nothing on disk
	phaseCopy                // records go into a temporary file
	phaseCheck               // it is complete and durable; its records are read back
	phaseGate                // it waits for a checkpoint
	phaseMove                // it has its name; the index is told
	phaseRetire              // its sources may go
)

// job is the rewrite of one file or of several neighbours into one.
type job struct {
	in []*file
	// done is the compaction that the index had finished when the job was chosen: what is
	// dead by it will be found dead, and is not copied.
	done int64
	// limit (<= done): of no key with a dead tombstone up to it is an older version in a file
	// before in. Such tombstones are dropped.
	limit int64
	seen  int64 // the newest compaction that answers of Alive may come from
	phase phase

	out  *file
	temp string   // path of the temporary file, once it may exist
	fd   vfs.File // of the temporary file while it is written
	w    *writer

	at  int   // phaseCopy, phaseMove: the source that is read
	off int64 // and where in it
	pos int64 // phaseCheck, phaseMove: where in out

	last cairn.Revision // of the last record read
}

// step does a piece of about maxBytes.
func (j *job) step(l *Log, idx Index, cp Checkpoint, maxBytes int64) (ReclaimState, error) {
	switch j.phase {
	case phaseStart:
		return ReclaimWorked, j.start(l)
	case phaseCopy:
		return ReclaimWorked, j.copy(l, idx, maxBytes)
	case phaseCheck:
		return ReclaimWorked, j.check(maxBytes)
	case phaseGate:
		if cp.CompactRev < j.seen || cp.Mark.Segment <= j.out.id.hi {
			return ReclaimWaits, nil
		}
		return ReclaimWorked, j.switchIn(l)
	case phaseMove:
		return ReclaimWorked, j.move(l, idx, maxBytes)
	default:
		l.retire(j.in)
		l.reclaim.done(j)
		return ReclaimWorked, errors.Join(l.reclaim.removeLeftover(l), l.unmapRetired())
	}
}

// done forgets the job and what a full disk taught.
func (r *reclaimer) done(j *job) {
	r.count(func(s *ReclaimStats) {
		s.Rewrites++
		s.FilesIn += int64(len(j.in))
		for _, f := range j.in {
			s.BytesIn += f.end.Load()
		}
		s.BytesOut += j.out.end.Load()
	})
	if r.sweepTo > 0 && j.in[0].id.lo <= r.sweepNext && r.sweepNext <= j.out.id.hi {
		r.sweepNext = j.out.id.hi + 1
	}
	r.job, r.backoff = nil, 0
	r.raiseBudget()
}

// raiseBudget lets larger rewrites be tried again, step by step.
func (r *reclaimer) raiseBudget() {
	if r.budget *= 2; r.budget > MaxSegmentBytes {
		r.budget = 0
	}
}

// start makes the temporary file.
func (j *job) start(l *Log) error {
	id := ident{lo: j.in[0].id.lo, hi: j.in[len(j.in)-1].id.hi}
	bytes, remaining := int64(headerBytes), int64(headerBytes)
	for _, f := range j.in {
		id.gen = max(id.gen, f.id.gen+1)
		bytes += f.recordBytes()
		if f.last.Main <= j.limit { // no tombstone has to stay
			remaining += f.remaining()
		} else {
			remaining += f.staying()
		}
	}
	fileBytes := min(bytes, MaxSegmentBytes) + footerRoom(bytes)
	temp := l.path(strings.TrimSuffix(id.name(), segSuffix) + tempSuffix)
	fd, err := l.fs.Create(temp)
	if err != nil {
		return err
	}
	j.fd, j.temp = fd, temp
	if err := fd.Allocate(remaining + trailerBytes + tableEntryBytes); err != nil {
		return err
	}
	b, seed := header{id: id, logID: l.opts.LogID}.encode()
	if _, err := fd.WriteAt(b[:], 0); err != nil {
		return err
	}
	j.out = &file{
		id: id, path: l.path(id.name()), seed: seed, f: fd,
		table: make([]tableEntry, fileBytes/strideOf(fileBytes)+1),
	}
	j.out.clean = j.done
	j.out.end.Store(headerBytes)
	j.w = newWriter(j.out, fileBytes, headerBytes)
	j.off = headerBytes
	j.phase = phaseCopy
	return nil
}

// copy writes the records that must stay into the temporary file.
func (j *job) copy(l *Log, idx Index, maxBytes int64) error {
	for read := int64(0); read < maxBytes && j.at < len(j.in); {
		n, err := j.copyBatch(l, idx)
		if err != nil {
			return err
		}
		read += n
		if len(j.w.tail) >= reclaimWriteBytes {
			if err := j.w.flush(); err != nil {
				return err
			}
		}
	}
	if j.at < len(j.in) {
		return nil
	}
	return j.finish(idx)
}

// copyBatch asks the index about a batch of records of one source and copies those that stay.
func (j *job) copyBatch(l *Log, idx Index) (read int64, err error) {
	in := j.in[j.at]
	batch := l.reclaim.candidates[:0]
	defer func() { clear(l.reclaim.candidates[:]) }()
	start := j.off
	end := in.end.Load()
	j.off, err = in.walk(start, end, j.last, func(off, size int64, r Record) (bool, error) {
		j.last = r.Rev
		batch = append(batch, Candidate{Pos: makePos(in, off, size, r.Tombstone), Record: r})
		return len(batch) < reclaimBatch && off+size-start < reclaimWriteBytes, nil
	})
	if err != nil {
		return 0, err
	}
	read = j.off - start
	if j.off >= end {
		j.at, j.off = j.at+1, headerBytes
	}
	if len(batch) == 0 {
		return read, nil
	}
	idx.Alive(batch)
	return read, in.guarded(&start, func() error { return j.keep(batch) })
}

// keep copies the records of a batch that stay: those that the index has, and the tombstones
// without which an older put, which may be on disk still, would come back at the next start.
func (j *job) keep(batch []Candidate) error {
	for _, c := range batch {
		if !c.Alive && (!c.Record.Tombstone || c.Record.Rev.Main <= j.limit) {
			continue
		}
		if !j.w.fits(recordSize(len(c.Record.KV))) {
			return errors.New("revlog: " + j.out.path + ": more records stay than were counted")
		}
		j.w.add(c.Record.Rev, c.Record.Tombstone, c.Record.KV)
	}
	return nil
}

// finish completes the temporary file and makes it durable.
func (j *job) finish(idx Index) error {
	_, j.seen = idx.Compaction() // after the last Alive: nothing newer has been seen
	if err := j.w.flush(); err != nil {
		return err
	}
	j.out.last = j.w.last
	if err := j.out.seal(); err != nil {
		return err
	}
	if err := j.fd.SyncData(); err != nil {
		return err
	}
	var err error
	if j.out.size, err = j.fd.Size(); err != nil {
		return err
	}
	if j.out.mapping, err = j.fd.Map(j.out.size); err != nil {
		return err
	}
	j.out.data = j.out.mapping.Bytes()
	j.out.f, j.out.full, j.out.sealed = nil, true, true
	fd := j.fd
	j.fd, j.w = nil, nil
	if err := fd.Close(); err != nil { // some systems do not rename an open file
		return err
	}
	j.pos, j.last = headerBytes, cairn.Revision{}
	j.phase = phaseCheck
	return nil
}

// check reads the new file back before its sources are given up.
func (j *job) check(maxBytes int64) error {
	end, start := j.out.end.Load(), j.pos
	var err error
	j.pos, err = j.out.walk(j.pos, end, j.last, func(off, size int64, r Record) (bool, error) {
		j.last = r.Rev
		return off+size-start < maxBytes, nil
	})
	if err != nil || j.pos < end {
		return err
	}
	t, _, reason := decodeFooter(j.out.data, j.out.seed)
	if reason == "" && (t != j.out.trailer() || j.last != t.last) {
		reason = "the footer reads back differently"
	}
	if reason != "" {
		return j.out.corrupt(end, reason)
	}
	j.phase = phaseGate
	return nil
}

// switchIn gives the new file its name: from here on a restart reads it and removes its sources.
func (j *job) switchIn(l *Log) error {
	if err := l.fs.Rename(j.temp, j.out.path); err != nil {
		_, stat := l.fs.Stat(j.temp)
		if stat != nil || !errors.Is(err, vfs.ErrNoSpace) {
			j.phase = phaseMove // nobody knows which name will be found: no way back
		}
		return err
	}
	j.phase = phaseMove
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	j.pos, j.at, j.off = headerBytes, 0, headerBytes
	return l.replace(j.in, j.out)
}

// move tells the index where the records are now. The sources are walked beside the copy, of
// which the records are a part in the same order, so that no list of moves is needed.
func (j *job) move(l *Log, idx Index, maxBytes int64) error {
	end := j.out.end.Load()
	for start := j.pos; j.pos < end && j.pos-start < maxBytes; {
		if err := j.moveBatch(l, idx, end); err != nil {
			return err
		}
	}
	if j.pos >= end {
		j.phase = phaseRetire
	}
	return nil
}

func (j *job) moveBatch(l *Log, idx Index, end int64) (err error) {
	batch := l.reclaim.moves[:0]
	defer func() { clear(l.reclaim.moves[:]) }()
	j.pos, err = j.out.walk(j.pos, end, cairn.Revision{},
		func(off, size int64, r Record) (bool, error) {
			old, err := j.source(r.Rev)
			if err != nil {
				return false, err
			}
			batch = append(batch, Move{
				Old: old, New: makePos(j.out, off, size, r.Tombstone), Record: r,
			})
			return len(batch) < reclaimBatch, nil
		})
	if err != nil {
		return err
	}
	idx.Moved(batch)
	for _, m := range batch {
		if !m.Moved {
			l.Dead(m.New) // a tombstone that was kept though dead, or died meanwhile
		}
	}
	return nil
}

// source finds the position that a copied record had.
func (j *job) source(rev cairn.Revision) (pos Pos, err error) {
	for j.at < len(j.in) {
		in := j.in[j.at]
		end := in.end.Load()
		found := false
		err = in.guarded(&j.off, func() error {
			for j.off < end && !found {
				h, reason := decodeRecordHeader(in.data[j.off:end])
				if reason != "" {
					return in.corrupt(j.off, reason)
				}
				if found = h.rev == rev; found {
					pos = makePos(in, j.off, h.size(), h.tombstone())
				}
				j.off += h.size()
			}
			return nil
		})
		if err != nil || found {
			return pos, err
		}
		j.at, j.off = j.at+1, headerBytes
	}
	return 0, j.out.corrupt(j.pos, "a copy without a source")
}
