package snapshot

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/task"
)

const (
	// omitBytes is the least payload that a donor is asked for: of a shorter one, the crc that
	// is sent instead saves nothing.
	omitBytes = 16
	// maxScanned is how much is read at most before the receiver hears of it: large versions that
	// are only named would leave it without a word, and it gives up who is silent for 10 s.
	maxScanned = 64 << 20
	// burst is for how long a sender that was held up may send faster than its rate.
	burst = 100 * time.Millisecond
)

// Source is the state that is sent, of one moment.
type Source struct {
	Index, Term uint64
	Image       []byte // of what is not in the store; opaque, up to MaxImageBytes
	// View is the store's. Send closes it as soon as it is read.
	View *mvcc.View
}

// Limits bound a Send; the zero value does not.
type Limits struct {
	BytesPerSecond int64       // 0: unlimited
	Clock          clock.Clock // needed with BytesPerSecond
	Tasks          task.Tasks
	// Progress, if set, is told how many bytes were sent since it was called last.
	Progress func(bytes int)

	frameBytes int // payload at which a frame is sent; 0: batchBytes. Less in tests
	scanBytes  int // read at most before the receiver hears of it; 0: maxScanned. Less in tests
}

// Stats counts what was sent.
type Stats struct {
	Kept    int64 // revisions that only were named
	Records int64
	Omitted int64 // of Records: the payload was left to a donor
	Bytes   int64 // of the stream
}

// Send writes the stream that brings a receiver that has what have says to the state of src. It
// holds src's view, and with it the space of compactions, until the last record is written. ctx
// is looked at between writes; one that is stuck must be ended by the caller. Errors: ErrBehind,
// ErrOlder (both before anything is written), ctx's, w's, a wrapped *revlog.CorruptError.
func Send(
	ctx context.Context, w io.Writer, src Source, have Have, lim Limits,
) (Stats, error) {
	if lim.scanBytes == 0 {
		lim.scanBytes = maxScanned
	}
	if lim.frameBytes == 0 {
		lim.frameBytes = batchBytes
	}
	s := sender{
		batch: batch{limit: lim.frameBytes},
		ctx:   ctx, w: w, lim: lim, donors: have.Donors,
		h: Header{
			Index: src.Index, Term: src.Term, Rev: src.View.Rev(), Base: have.Base,
			CompactRev: src.View.CompactRev(), ImageBytes: int64(len(src.Image)),
		},
	}
	s.flush = s.sendRecords
	err := s.check(have)
	if err == nil {
		err = s.records(src.View)
	}
	src.View.Close()
	if err == nil {
		err = s.image(src.Image)
	}
	if err != nil {
		return s.stats, fmt.Errorf("snapshot: send from revision %d to %d: %w",
			s.h.Base, s.h.Rev, err)
	}
	return s.stats, nil
}

// sender is a call of Send.
type sender struct {
	ctx    context.Context
	w      io.Writer
	lim    Limits
	h      Header
	donors []revlog.Interval // not passed yet
	frames frameWriter
	kept   []byte // of a frame
	// scanned is how much was read for what is kept.
	scanned int
	last    cairn.Revision // of the kept ones
	batch   batch
	flush   func(payload []byte) error // sends a batch
	out     record                     // the one in work
	tally
	stats Stats
	free  time.Time // when the next write is due
}

func (s *sender) check(have Have) error {
	switch {
	case s.h.Rev < have.Base:
		return fmt.Errorf("%w: revision %d, asked for what is above %d",
			ErrBehind, s.h.Rev, have.Base)
	case s.h.CompactRev < have.CompactRev:
		return fmt.Errorf("%w: compacted at %d, the receiver at %d",
			ErrOlder, s.h.CompactRev, have.CompactRev)
	case s.h.ImageBytes > MaxImageBytes:
		return fmt.Errorf("an image of %d bytes, the limit is %d", s.h.ImageBytes, MaxImageBytes)
	}
	return nil
}

// records sends everything up to the tally.
func (s *sender) records(v *mvcc.View) error {
	if err := s.send(kindHeader, s.h.append(nil)); err != nil {
		return err
	}
	var err error
	if s.h.CompactRev > s.h.Base {
		err = v.Retained(s.ctx, 0, s.record)
	} else {
		err = v.RetainedSince(s.ctx, s.h.Base, s.record)
	}
	if err == nil {
		err = s.flushKept()
	}
	if err == nil {
		err = s.batch.flush(s.flush)
	}
	if err != nil {
		return err
	}
	s.stats.Kept, s.stats.Records = s.tally.kept, s.tally.records
	return s.send(kindTally, s.tally.append(nil))
}

// record sends a retained record, or that it is retained.
func (s *sender) record(r revlog.Record) error {
	if r.Rev.Main <= s.h.Base {
		if r.Tombstone {
			return nil
		}
		s.keep(r.Rev)
		s.kept = mvcc.AppendRevision(s.kept, s.last, r.Rev)
		s.last = r.Rev
		if s.scanned += len(r.KV); len(s.kept) < s.lim.frameBytes && s.scanned < s.lim.scanBytes {
			return nil
		}
		return s.flushKept()
	}
	if err := s.flushKept(); err != nil {
		return err
	}
	out := &s.out
	*out = record{Record: r}
	s.tally.record(&out.Record)
	if len(r.KV) >= omitBytes && s.donated(r.Rev.Main) {
		out.omitted, out.crc = true, crc32.Checksum(r.KV, castagnoli)
		out.KV = nil
		s.stats.Omitted++
	}
	return s.batch.add(out, s.flush)
}

// donated says whether the receiver may have the payloads of a revision. Revisions only grow.
func (s *sender) donated(main int64) bool {
	for len(s.donors) > 0 && s.donors[0].Last < main {
		s.donors = s.donors[1:]
	}
	return len(s.donors) > 0 && s.donors[0].First <= main
}

func (s *sender) flushKept() error {
	s.scanned = 0
	if len(s.kept) == 0 {
		return nil
	}
	err := s.send(kindKept, s.kept)
	s.kept = s.kept[:0]
	return err
}

func (s *sender) sendRecords(payload []byte) error { return s.send(kindRecords, payload) }

// image sends the rest.
func (s *sender) image(b []byte) error {
	sum := crc32.Checksum(b, castagnoli)
	for len(b) > 0 {
		n := min(len(b), s.lim.frameBytes)
		if err := s.send(kindImage, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return s.send(kindEnd, binary.LittleEndian.AppendUint32(nil, sum))
}

// send writes a frame, and waits as long as the rate asks.
func (s *sender) send(k kind, payload []byte) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	b := s.frames.frame(k, payload)
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	s.stats.Bytes += int64(len(b))
	if s.lim.Progress != nil {
		s.lim.Progress(len(b))
	}
	return s.wait(len(b))
}

// wait lets pass the time that n bytes take.
func (s *sender) wait(n int) error {
	if s.lim.BytesPerSecond <= 0 {
		return nil
	}
	now := s.lim.Clock.Now()
	if earliest := now.Add(-burst); s.free.Before(earliest) {
		s.free = earliest
	}
	s.free = s.free.Add(time.Duration(float64(n) / float64(s.lim.BytesPerSecond) *
		float64(time.Second)))
	d := s.free.Sub(now)
	if d <= 0 {
		return nil
	}
	t := s.lim.Clock.NewTimer(d)
	defer t.Stop()
	if s.lim.Tasks.Wait(t.C(), s.ctx.Done()) == task.Timer {
		return nil
	}
	return s.ctx.Err()
}
