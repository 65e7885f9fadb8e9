package revlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// Report is what Verify found.
type Report struct {
	Files   int   // checked
	Records int64 // that passed
	Bytes   int64 // of those records
	// End is the end of the last record that passed in the newest file: of a log without a
	// mark the place from which on nothing can be said.
	End Mark
	// Damages names what did not pass, the first of each file, in order.
	Damages []*CorruptError
}

// Verify checks every record of the log in dir, and that no file is missing, up to the mark. It
// changes nothing. With the zero Mark it checks all there is: of the files that are not sealed yet,
// which are the newest, up to the first bytes that are no record. That may be their regular end.
//
// progress, if not nil, is called after each file. The error says that the check could not be made;
// damage is in the Report. The log must not be open elsewhere.
func Verify(fsys vfs.FS, dir string, cut Mark, progress func(Report)) (Report, error) {
	var rep Report
	if err := cut.valid(); err != nil {
		return rep, err
	}
	ids, _, err := listDir(fsys, dir)
	if err != nil {
		return rep, err
	}
	if !cut.IsZero() {
		ids = slices.DeleteFunc(ids, func(id ident) bool { return id.lo > cut.Segment })
	}
	chain, _, err := resolve(dir, ids)
	if !rep.damage(err) && err != nil {
		return rep, err
	}
	v := verifier{fs: fsys, dir: dir, cut: cut, rep: &rep}
	if cut.IsZero() {
		if v.sealedTo, err = lastSealed(fsys, dir, chain); err != nil {
			return rep, err
		}
	} else {
		v.sealedTo = cut.Segment - 1
	}
	for _, id := range chain {
		if err := v.run(id); !rep.damage(err) && err != nil {
			return rep, err
		}
		rep.Files++
		if progress != nil {
			progress(rep)
		}
	}
	if len(chain) == 0 || chain[len(chain)-1].hi < cut.Segment {
		path := filepath.Join(dir, ident{lo: cut.Segment, hi: cut.Segment}.name())
		if !cut.IsZero() {
			rep.damage(&CorruptError{File: path, Reason: "the file is missing"})
		}
	}
	return rep, nil
}

// lastSealed is the last segment of the newest file that has a footer.
func lastSealed(fsys vfs.FS, dir string, chain []ident) (uint64, error) {
	for _, id := range slices.Backward(chain) {
		f, err := mapAny(fsys, dir, id)
		if err != nil {
			return 0, err
		}
		sealed := false
		var at int64
		err = f.guarded(&at, func() error {
			_, seed, reason, err := decodeHeader(f.data)
			if reason == "" && err == nil {
				_, _, reason = decodeFooter(f.data, seed)
				sealed = reason == ""
			}
			return nil
		})
		if err := errors.Join(err, f.mapping.Unmap()); err != nil {
			return 0, err
		}
		if sealed {
			return id.hi, nil
		}
	}
	return 0, nil
}

// mapAny maps a file without looking into it.
func mapAny(fsys vfs.FS, dir string, id ident) (*file, error) {
	return mapPath(fsys, filepath.Join(dir, id.name()), id)
}

func mapPath(fsys vfs.FS, path string, id ident) (*file, error) {
	f := &file{id: id, path: path}
	fd, err := fsys.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	if f.size, err = fd.Size(); err != nil {
		return nil, err
	}
	if f.mapping, err = fd.Map(f.size); err != nil {
		return nil, err
	}
	f.data = f.mapping.Bytes()
	return f, nil
}

// damage takes err into the report if it is about damage.
func (r *Report) damage(err error) bool {
	c, ok := errors.AsType[*CorruptError](err)
	if ok {
		r.Damages = append(r.Damages, c)
	}
	return ok
}

// verifier checks files, in order.
type verifier struct {
	fs  vfs.FS
	dir string
	cut Mark
	// sealedTo is the last segment that must be in a sealed file.
	sealedTo uint64
	rep      *Report
	last     cairn.Revision // of the last record that passed
}

func (v *verifier) run(id ident) error {
	f, err := mapAny(v.fs, v.dir, id)
	if err != nil {
		return err
	}
	var at int64
	err = f.guarded(&at, func() error { return v.check(f) })
	return errors.Join(err, f.mapping.Unmap())
}

// check reads a mapped file; it decides where its records end.
func (v *verifier) check(f *file) error {
	sealed := f.id.hi <= v.sealedTo
	h, seed, reason, err := decodeHeader(f.data)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if reason == "" && h.id != f.id {
		reason = "the header names another file, " + h.id.name()
	}
	if reason != "" && !sealed && v.cut.IsZero() {
		return nil // made ahead, but not complete when the machine stopped
	}
	if reason != "" {
		return f.corrupt(0, reason)
	}
	f.seed = seed
	if sealed {
		t, _, reason := decodeFooter(f.data, seed)
		if reason != "" {
			return f.corrupt(max(f.size-trailerBytes, 0), reason)
		}
		return v.sealed(f, t)
	}
	if v.cut.IsZero() {
		_, err := v.records(f, f.size)
		if _, damaged := errors.AsType[*CorruptError](err); damaged {
			return nil // the end of what was written
		}
		return err
	}
	if f.size < v.cut.Offset {
		return f.corrupt(f.size, "the file ends before the mark "+v.cut.String())
	}
	_, err = v.records(f, v.cut.Offset)
	return err
}

// sealed checks the records against the footer.
func (v *verifier) sealed(f *file, t trailer) error {
	before := v.last
	got, err := v.records(f, t.recordsEnd)
	if err != nil {
		return err
	}
	if t.records > 0 && (v.last != t.last || !before.Less(t.first)) ||
		got.records != t.records || got.puts != t.puts || got.tombs != t.tombs ||
		got.first != t.first {
		return f.corrupt(t.recordsEnd, "the footer does not count what is in the file")
	}
	return nil
}

// records checks the records up to end and counts them.
func (v *verifier) records(f *file, end int64) (trailer, error) {
	var got trailer
	v.rep.End = Mark{Segment: f.id.hi, Offset: headerBytes}
	_, err := f.walk(headerBytes, end, v.last, func(off, size int64, r Record) (bool, error) {
		if got.records == 0 {
			got.first = r.Rev
		}
		v.last = r.Rev
		got.records++
		if r.Tombstone {
			got.tombs += size
		} else {
			got.puts += size
		}
		v.rep.Records++
		v.rep.Bytes += size
		v.rep.End.Offset = off + size
		return true, nil
	})
	return got, err
}
