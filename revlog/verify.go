package revlog

import (
	"errors"
	"path/filepath"

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
// changes nothing. With the zero Mark it checks all there is; a newest file without a footer is
// then checked up to the first bytes that are no record, which may be its regular end.
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
	var before []ident
	for _, id := range ids {
		if cut.IsZero() || id.lo <= cut.Segment {
			before = append(before, id)
		}
	}
	chain, _, err := resolve(dir, before)
	if !rep.damage(err) && err != nil {
		return rep, err
	}
	var last cairn.Revision
	for i, id := range chain {
		v := verifier{fs: fsys, dir: dir, id: id, newest: i == len(chain)-1, cut: cut}
		err := v.run(&rep, &last)
		if !rep.damage(err) && err != nil {
			return rep, err
		}
		rep.Files++
		if progress != nil {
			progress(rep)
		}
	}
	if cut.Segment > 0 && (len(chain) == 0 || chain[len(chain)-1].hi < cut.Segment) {
		path := filepath.Join(dir, ident{lo: cut.Segment, hi: cut.Segment}.name())
		rep.damage(&CorruptError{File: path, Reason: "the file is missing"})
	}
	return rep, nil
}

// damage takes err into the report if it is about damage.
func (r *Report) damage(err error) bool {
	var c *CorruptError
	if !errors.As(err, &c) {
		return false
	}
	r.Damages = append(r.Damages, c)
	return true
}

// verifier checks one file.
type verifier struct {
	fs     vfs.FS
	dir    string
	id     ident
	newest bool
	cut    Mark
}

func (v *verifier) run(rep *Report, last *cairn.Revision) error {
	path := filepath.Join(v.dir, v.id.name())
	fd, err := v.fs.Open(path)
	if err != nil {
		return err
	}
	defer fd.Close()
	f := &file{id: v.id, path: path}
	if f.size, err = fd.Size(); err != nil {
		return err
	}
	if f.mapping, err = fd.Map(f.size); err != nil {
		return err
	}
	defer f.mapping.Unmap()
	f.data = f.mapping.Bytes()
	var at int64
	return f.guarded(&at, func() error { return v.check(f, rep, last) })
}

// check reads a mapped file; it decides where its records end.
func (v *verifier) check(f *file, rep *Report, last *cairn.Revision) error {
	h, seed, reason, err := decodeHeader(f.data)
	if err != nil {
		return err
	}
	if reason == "" && h.id != v.id {
		reason = "the header names another file, " + h.id.name()
	}
	if reason != "" {
		return f.corrupt(0, reason)
	}
	f.seed = seed
	if v.newest && v.cut.Segment == v.id.hi {
		if f.size < v.cut.Offset {
			return f.corrupt(f.size, "the file ends before the mark "+v.cut.String())
		}
		_, err := v.records(f, v.cut.Offset, rep, last)
		return err
	}
	t, _, reason := decodeFooter(f.data, seed)
	if reason == "" {
		return v.sealed(f, t, rep, last)
	}
	if !v.newest {
		return f.corrupt(max(f.size-trailerBytes, 0), reason)
	}
	_, err = v.records(f, f.size, rep, last)
	var c *CorruptError
	if errors.As(err, &c) {
		return nil // the end of what was written
	}
	return err
}

// sealed checks the records against the footer.
func (v *verifier) sealed(f *file, t trailer, rep *Report, last *cairn.Revision) error {
	before := *last
	got, err := v.records(f, t.recordsEnd, rep, last)
	if err != nil {
		return err
	}
	if t.records > 0 && (*last != t.last || !before.Less(t.first)) ||
		got.records != t.records || got.puts != t.puts || got.tombs != t.tombs ||
		got.first != t.first {
		return f.corrupt(t.recordsEnd, "the footer does not count what is in the file")
	}
	return nil
}

// records checks the records up to end and counts them.
func (v *verifier) records(f *file, end int64, rep *Report, last *cairn.Revision) (trailer, error) {
	var got trailer
	rep.End = Mark{Segment: v.id.hi, Offset: headerBytes}
	_, err := f.walk(headerBytes, end, *last, func(off, size int64, r Record) (bool, error) {
		if got.records == 0 {
			got.first = r.Rev
		}
		*last = r.Rev
		got.records++
		if r.Tombstone {
			got.tombs += size
		} else {
			got.puts += size
		}
		rep.Records++
		rep.Bytes += size
		rep.End.Offset = off + size
		return true, nil
	})
	return got, err
}
