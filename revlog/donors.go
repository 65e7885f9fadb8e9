package revlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// Interval is the main revisions from First to Last, both included.
type Interval struct{ First, Last int64 }

// Donors are the files that Salvage took out of a log: payloads of records that another member can
// name. They are for one goroutine.
type Donors struct{ files []*donor }

// donor is one file, and the place where it was read last.
type donor struct {
	*file
	whole bool // up to the end that its footer names
	at    int64
}

// OpenDonors opens what Salvage has put into dir, each file as far as it is whole. A dir that is
// not there has none. When nobody needs them any more, the owner removes dir. Errors: the disk's.
func OpenDonors(fsys vfs.FS, dir string, opts Options) (*Donors, error) {
	d := &Donors{}
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("revlog: donors: %w", err)
	}
	for _, name := range names {
		_, rest, _ := strings.Cut(name, "-")
		id, ok := parseName(rest)
		if !ok {
			continue
		}
		f, err := openDonor(fsys, filepath.Join(dir, name), id, opts.LogID)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("revlog: donors: %w", err), d.Close())
		}
		if f != nil {
			d.files = append(d.files, f)
		}
	}
	slices.SortStableFunc(d.files, func(a, b *donor) int {
		return cmp.Compare(a.first.Main, b.first.Main)
	})
	return d, nil
}

// openDonor maps a file and finds its first and last record; nil if there is none.
func openDonor(fsys vfs.FS, path string, id ident, logID uint64) (*donor, error) {
	f, err := mapPath(fsys, path, id)
	if err != nil {
		return nil, err
	}
	var at int64
	err = f.guarded(&at, func() error { return f.checkHeader(logID) })
	if err == nil {
		at, err = f.walk(headerBytes, f.size, cairn.Revision{},
			func(off, _ int64, r Record) (bool, error) {
				if off == headerBytes {
					f.first = r.Rev
				}
				f.last = r.Rev
				return true, nil
			})
	}
	if _, damaged := errors.AsType[*CorruptError](err); err != nil && !damaged ||
		f.last == (cairn.Revision{}) {
		if damaged || errors.Is(err, ErrForeign) {
			err = nil
		}
		return nil, errors.Join(err, f.mapping.Unmap())
	}
	f.end.Store(at)
	d := &donor{file: f, at: headerBytes}
	var page int64
	err = f.guarded(&page, func() error {
		t, _, reason := decodeFooter(f.data, f.seed)
		d.whole = reason == "" && t.recordsEnd == at
		return nil
	})
	if _, damaged := errors.AsType[*CorruptError](err); damaged {
		err = nil
	}
	return d, err
}

// Intervals are the revisions of which there may be payloads, in order, without those that may be
// in part in a file that is not here.
func (d *Donors) Intervals() []Interval {
	var out []Interval
	var before *donor
	for _, f := range d.files {
		v := Interval{First: f.first.Main + 1, Last: f.last.Main - 1}
		switch n := len(out); {
		case n > 0 && before.whole && before.id.hi+1 == f.id.lo:
			out[n-1].Last = max(out[n-1].Last, v.Last)
		case n > 0 && v.First <= out[n-1].Last+1:
			out[n-1].Last = max(out[n-1].Last, v.Last)
		default:
			out = append(out, v)
		}
		before = f
	}
	return slices.DeleteFunc(out, func(v Interval) bool { return v.First > v.Last })
}

// Payload returns the payload of the record with that revision and kind, valid until Close. To ask
// in the order of revisions is fast.
func (d *Donors) Payload(r Record) ([]byte, error) {
	err := errors.New("no file has it")
	for _, f := range d.files {
		if r.Rev.Less(f.first) || f.last.Less(r.Rev) {
			continue
		}
		kv, found, walkErr := f.payload(r)
		if found {
			return kv, nil
		}
		err = cmp.Or(walkErr, err)
	}
	return nil, fmt.Errorf("revlog: donor of revision %d.%d: %w", r.Rev.Main, r.Rev.Sub, err)
}

func (f *donor) payload(want Record) (kv []byte, found bool, err error) {
	for again := false; ; again = true {
		start := f.at
		f.at, err = f.walk(start, f.end.Load(), cairn.Revision{},
			func(off, _ int64, r Record) (bool, error) {
				if r.Rev.Less(want.Rev) {
					return true, nil
				}
				if found = r.Rev == want.Rev && r.Tombstone == want.Tombstone; found {
					kv = r.KV
				}
				return false, nil
			})
		if found || again || start == headerBytes {
			return kv, found, err
		}
		f.at = headerBytes // asked for in another order
	}
}

// Close ends the use of the files.
func (d *Donors) Close() error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.mapping.Unmap())
	}
	d.files = nil
	return errors.Join(errs...)
}
