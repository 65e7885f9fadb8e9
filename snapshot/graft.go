package snapshot

import (
	"fmt"
	"io"
	"slices"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

// recordRoom is at least what a record takes in the log beside its payload, in bytes.
const recordRoom = 32

// Graft adds what is staged to the store, if it is complete: the store's revision and compact
// revision are then those of the header. The staging stays until Remove, for a restart before the
// owner's next checkpoint needs it again. The whole file is checked first. It is the applier's
// call, as mvcc.Store.Graft, which tells what an error means for the store; ErrIncomplete,
// ErrDamaged and a full disk that is foreseen leave it unchanged.
func (in *Incoming) Graft(store *mvcc.Store) (stats mvcc.GraftStats, err error) {
	if err := in.verify(); err != nil {
		return stats, err
	}
	if err := in.checkSpace(); err != nil {
		return stats, err
	}
	var sections []mvcc.Section
	for i := range in.sections {
		s := &in.sections[i]
		sec := mvcc.Section{
			Base: s.h.Base, Rev: s.h.Rev, CompactRev: s.h.CompactRev,
			Kept:    func(fn func(cairn.Revision) error) error { return in.eachKept(s, fn) },
			Records: func(fn func(revlog.Record) error) error { return in.eachRecord(s, fn) },
		}
		if i+1 < len(in.sections) {
			sec.Rev = in.sections[i+1].h.Base
		}
		sections = append(sections, sec)
	}
	stats, err = store.Graft(sections)
	if err != nil {
		err = fmt.Errorf("snapshot: %w", err)
	}
	return stats, err
}

// verify reads the file again: what was whole when it came may have decayed.
func (in *Incoming) verify() error {
	if _, ok := in.Complete(); !ok {
		return ErrIncomplete
	}
	now, err := in.scan()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if !slices.Equal(now, in.sections) {
		in.sections = now
		return ErrDamaged
	}
	return nil
}

// checkSpace foresees a disk too full for what will be added to the log.
func (in *Incoming) checkSpace() error {
	var need int64
	for _, s := range in.sections {
		need += s.end - s.start + s.records*recordRoom
	}
	free, _, err := in.fs.Space(in.dir)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if int64(free) < need {
		return fmt.Errorf("snapshot: graft about %d bytes, %d are free, make room: %w",
			need, free, vfs.ErrNoSpace)
	}
	return nil
}

// frames calls fn with the frames of one kind from a place of the section on, up to the first of
// another kind.
func (in *Incoming) frames(s *section, from place, want kind, fn func(b []byte) error) error {
	r := in.reader(from, s.end)
	for {
		k, payload, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if k == kindHeader {
			continue
		}
		if k != want {
			return nil
		}
		if err := fn(payload); err != nil {
			return err
		}
	}
}

func (in *Incoming) eachKept(s *section, fn func(cairn.Revision) error) error {
	var last cairn.Revision
	return in.frames(s, place{off: s.start}, kindKept, func(b []byte) error {
		return eachKept(b, last, func(rev cairn.Revision) error {
			last = rev
			return fn(rev)
		})
	})
}

func (in *Incoming) eachRecord(s *section, fn func(revlog.Record) error) error {
	if s.recordsAt.off == 0 {
		return nil
	}
	return in.frames(s, s.recordsAt, kindRecords, func(b []byte) error {
		return eachRecord(b, func(r *record) error { return fn(r.Record) })
	})
}

// Image returns the image of the newest stream, which must be complete.
func (in *Incoming) Image() ([]byte, error) {
	if _, ok := in.Complete(); !ok {
		return nil, ErrIncomplete
	}
	s := *in.last()
	size, err := in.f.Size()
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	s.end = size
	image := make([]byte, 0, s.h.ImageBytes)
	err = in.frames(&s, s.imageAt, kindImage, func(b []byte) error {
		if len(image)+len(b) > cap(image) {
			return ErrDamaged
		}
		image = append(image, b...)
		return nil
	})
	if err == nil && len(image) < cap(image) {
		err = ErrDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot: read the image: %w", err)
	}
	return image, nil
}
