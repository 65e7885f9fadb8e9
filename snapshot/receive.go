package snapshot

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

// Receive stages the stream that answers the last Have, and returns when it has come to its end
// and is durable; r is read no further. What came before an error stays staged: ask again with
// Have. Only if the disk refuses it, everything is dropped, so that the store has the space. ctx is
// looked at between frames; a read that is stuck must be ended by the caller.
//
// Errors: ErrOlder, ErrFormat, ErrVersion, a *DonorError, ctx's, r's (io.ErrUnexpectedEOF for a
// stream that was cut), the disk's (vfs.ErrNoSpace), ErrTooLarge.
func (in *Incoming) Receive(ctx context.Context, r io.Reader) error {
	if in.asked == nil {
		return errors.New("snapshot: Receive without Have")
	}
	asked := *in.asked
	in.asked = nil
	rc := receiver{in: in, frames: frameReader{r: r}, batch: batch{limit: batchBytes}}
	if err := rc.run(ctx, asked); err != nil {
		return fmt.Errorf("snapshot: receive: %w", err)
	}
	return nil
}

// receiver is a call of Receive.
type receiver struct {
	in     *Incoming
	frames frameReader
	p      parser
	out    frameWriter
	at     int64 // where the next frame goes
	batch  batch // records of a frame of which payloads were left out
	full   bool  // the frame in work leaves out payloads
}

// errDisk marks an error of the staging file.
type errDisk struct{ error }

func (e errDisk) Unwrap() error { return e.error }

func (rc *receiver) run(ctx context.Context, asked Have) error {
	k, payload, err := rc.next()
	if err != nil {
		return err
	}
	if k != kindHeader {
		return fmt.Errorf("%w: no header", ErrFormat)
	}
	if err := rc.p.frame(k, payload); err != nil {
		return err
	}
	if err := rc.check(asked); err != nil {
		return err
	}
	err = rc.begin()
	for err == nil && !rc.in.last().complete {
		if err = ctx.Err(); err == nil {
			err = rc.frame()
		}
	}
	if _, ok := errors.AsType[errDisk](err); ok {
		return errors.Join(err, rc.in.Remove())
	}
	return err
}

// next is the next frame of the stream.
func (rc *receiver) next() (kind, []byte, error) {
	k, payload, err := rc.frames.next()
	switch {
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case errors.Is(err, errFrame):
		err = fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return k, payload, err
}

// check holds the header against what was asked for.
func (rc *receiver) check(asked Have) error {
	h := rc.p.h
	if h.Base != asked.Base {
		return fmt.Errorf("%w: it begins above revision %d, asked for was %d",
			ErrFormat, h.Base, asked.Base)
	}
	s := rc.in.last()
	if h.CompactRev < asked.CompactRev || s != nil && !s.continues(h) {
		return fmt.Errorf("%w (index %d, compacted at %d)", ErrOlder, h.Index, h.CompactRev)
	}
	return nil
}

// begin makes a section for the stream, in the place of what is of no use.
func (rc *receiver) begin() error {
	in := rc.in
	rc.at = preambleBytes
	if s := in.last(); s != nil {
		rc.at = s.end
		s.complete = false
	}
	if in.f == nil {
		f, err := in.fs.Create(in.path())
		if err != nil {
			return errDisk{err}
		}
		in.f = f
		if _, err := f.WriteAt(in.preamble(), 0); err != nil {
			return errDisk{err}
		}
	}
	if err := in.f.Truncate(rc.at); err != nil {
		return errDisk{err}
	}
	in.sections = append(in.sections, section{start: rc.at, h: rc.p.h})
	return rc.write(kindHeader, rc.p.h.append(nil))
}

// frame takes one frame.
func (rc *receiver) frame() error {
	k, payload, err := rc.next()
	if err != nil {
		return err
	}
	if k != kindRecords {
		if err := rc.p.frame(k, payload); err != nil {
			return err
		}
		if k == kindEnd {
			return rc.finish(payload)
		}
		return rc.write(k, payload)
	}
	rc.full = true
	rc.p.resolve = rc.resolve
	rc.p.record = nil
	if err := eachRecord(payload, rc.look); err != nil {
		return err
	}
	if rc.full {
		if err := rc.p.frame(k, payload); err != nil {
			return err
		}
		return rc.write(k, payload)
	}
	rc.p.record = func(r *record) error {
		r.omitted = false
		return rc.batch.add(r, rc.writeRecords)
	}
	err = rc.p.frame(k, payload)
	return errors.Join(err, rc.batch.flush(rc.writeRecords))
}

// look finds out whether a payload was left out.
func (rc *receiver) look(r *record) error {
	if r.omitted {
		rc.full = false
	}
	return nil
}

func (rc *receiver) writeRecords(payload []byte) error { return rc.write(kindRecords, payload) }

// write appends a frame to the staging file.
func (rc *receiver) write(k kind, payload []byte) error {
	in := rc.in
	at, crc := rc.at, rc.out.crc
	b := rc.out.frame(k, payload)
	if most := in.opts.MaxBytes; most > 0 && at+int64(len(b)) > most {
		return errDisk{fmt.Errorf("%w of %d bytes", ErrTooLarge, most)}
	}
	if _, err := in.f.WriteAt(b, at); err != nil {
		if errors.Is(err, vfs.ErrNoSpace) {
			err = fmt.Errorf("no room to stage a snapshot, free some and try again: %w", err)
		}
		return errDisk{err}
	}
	rc.at += int64(len(b))
	in.last().note(&rc.p, place{at, crc}, place{rc.at, rc.out.crc})
	return nil
}

// finish makes a complete section durable.
func (rc *receiver) finish(payload []byte) error {
	in := rc.in
	if err := rc.write(kindEnd, payload); err != nil {
		return err
	}
	s := in.last()
	s.complete = false // not yet
	if err := in.f.SyncData(); err != nil {
		return errDisk{err}
	}
	if err := in.fs.SyncDir(in.dir); err != nil {
		return errDisk{err}
	}
	s.complete = true
	return nil
}

// resolve takes a payload that was left out from the donors.
func (rc *receiver) resolve(r *record) error {
	in := rc.in
	err := errors.New("nobody has a donor")
	if in.opts.Donors != nil {
		var kv []byte
		if kv, err = in.opts.Donors.Payload(r.Record); err == nil {
			if crc32.Checksum(kv, castagnoli) == r.crc {
				r.KV = kv
				return nil
			}
			err = fmt.Errorf("record %d.%d is not the sender's", r.Rev.Main, r.Rev.Sub)
		}
	}
	bad := revlog.Interval{First: r.Rev.Main, Last: r.Rev.Main}
	if in.opts.Donors != nil {
		for _, d := range in.opts.Donors.Intervals() {
			if d.First <= bad.First && bad.First <= d.Last {
				bad.Last = d.Last
			}
		}
	}
	in.bad = append(in.bad, bad)
	return &DonorError{First: bad.First, Last: bad.Last, Err: err}
}
