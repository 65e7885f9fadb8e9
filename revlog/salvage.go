package revlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// Salvaged is what Salvage could keep.
type Salvaged struct {
	// Mark is where the log ends now. The owner saves it in a checkpoint before all else.
	Mark Mark
	// Rev is the revision up to which the log has all that it had, 0 if it is empty.
	Rev int64
}

// Salvage keeps what is whole of a log that Open or the Scan after it found damaged: all files
// before the first one that is damaged or missing. That file and those behind it go to the
// directory donors (see OpenDonors), for their whole records need not be fetched again; an empty
// segment takes their place. cut is the mark of the owner's checkpoint.
//
// A run that a crash cuts short is made whole by running it again with the same arguments, also
// when it had ended and its mark was not saved. The log must not be open. Errors are of the disk,
// or ErrForeign, ErrVersion.
func Salvage(fsys vfs.FS, dir string, opts Options, cut Mark, donors string) (Salvaged, error) {
	if opts.SegmentBytes == 0 {
		opts.SegmentBytes = DefaultSegmentBytes
	}
	v := salvage{l: &Log{fs: fsys, dir: dir, opts: opts}, donors: donors, cut: cut}
	v.l.view.Store(&view{slots: []*file{nil}})
	if err := v.run(); err != nil {
		return Salvaged{}, fmt.Errorf("revlog: salvage %s: %w", dir, err)
	}
	return v.kept, nil
}

// salvage is a call of Salvage.
type salvage struct {
	l      *Log
	donors string
	cut    Mark
	ids    []ident // up to the mark, in order
	kept   Salvaged
}

func (v *salvage) run() error {
	for _, dir := range []string{v.l.dir, v.donors} {
		if err := v.l.fs.MkdirAll(dir); err != nil {
			return err
		}
	}
	ids, _, err := listDir(v.l.fs, v.l.dir)
	if err != nil {
		return err
	}
	v.ids = slices.DeleteFunc(ids, func(id ident) bool { return id.lo > v.cut.Segment })
	slices.SortFunc(v.ids, func(a, b ident) int {
		return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(b.hi, a.hi), cmp.Compare(b.gen, a.gen))
	})
	end, begun, err := v.boundary()
	if err != nil {
		return err
	}
	if !begun {
		if err := v.dropCovered(); err != nil {
			return err
		}
		if err := v.giveAway(end); err != nil {
			return err
		}
		if err := v.begin(end); err != nil {
			return err
		}
	}
	v.kept.Mark = Mark{Segment: end, Offset: headerBytes}
	return nil
}

// part is a whole file of the log.
type part struct {
	id          ident
	first, last cairn.Revision // if it has records
	records     int64
}

// boundary finds the segment at which the log is to end: the files before it are whole, and it
// does not divide the records of a revision. begun says that an earlier run has put the empty
// segment there already.
func (v *salvage) boundary() (end uint64, begun bool, err error) {
	var parts []part
	next, known := uint64(1), false
	var after int64 // main revision of the first record behind parts, if known
	for _, id := range v.ids {
		if id.lo != next {
			if id.lo > next {
				break
			}
			continue // covered by the one before; Open removes it
		}
		p, whole, err := v.look(id)
		if err != nil {
			return 0, false, err
		}
		if !whole && p.records == 0 && v.isEmpty(id) {
			begun = true
			break
		}
		if !whole {
			after, known = p.first.Main, p.records > 0
			break
		}
		parts = append(parts, p)
		next = id.hi + 1
	}
	for !begun && len(parts) > 0 {
		p := parts[len(parts)-1]
		if p.records == 0 || known && p.last.Main < after {
			break
		}
		// The revision may go on in what is lost.
		after, known = p.first.Main, true
		parts = parts[:len(parts)-1]
		next = p.id.lo
	}
	for _, p := range parts {
		if p.records > 0 {
			v.kept.Rev = p.last.Main
		}
	}
	return next, begun, nil
}

// look reads a file. whole says that it is a sealed one without damage; else first is that of the
// records before the damage.
func (v *salvage) look(id ident) (p part, whole bool, err error) {
	p.id = id
	f, err := mapAny(v.l.fs, v.l.dir, id)
	if err != nil {
		return p, false, err
	}
	defer f.mapping.Unmap()
	sealed := false
	var at int64
	err = f.guarded(&at, func() error {
		if err := f.checkHeader(v.l.opts.LogID); err != nil {
			return err
		}
		t, table, reason := decodeFooter(f.data, f.seed)
		if sealed = reason == ""; sealed {
			f.load(t, table)
		}
		return nil
	})
	if isDamage(err) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	end := f.size
	if sealed {
		end = f.end.Load()
	}
	_, err = f.walk(headerBytes, end, cairn.Revision{}, func(_, _ int64, r Record) (bool, error) {
		if p.records == 0 {
			p.first = r.Rev
		}
		p.last = r.Rev
		p.records++
		return true, nil
	})
	if err != nil && !isDamage(err) {
		return p, false, err
	}
	return p, sealed && err == nil && p.records == f.records.Load(), nil
}

func isDamage(err error) bool {
	_, ok := errors.AsType[*CorruptError](err)
	return ok
}

// isEmpty says whether a file is a segment that nothing was written to.
func (v *salvage) isEmpty(id ident) bool {
	f, err := mapAny(v.l.fs, v.l.dir, id)
	if err != nil {
		return false
	}
	defer f.mapping.Unmap()
	empty := id.gen == 0 && id.lo == id.hi
	var at int64
	err = f.guarded(&at, func() error {
		if err := f.checkHeader(v.l.opts.LogID); err != nil {
			return err
		}
		for _, b := range f.data[headerBytes:] {
			empty = empty && b == 0
		}
		return nil
	})
	return err == nil && empty
}

// dropCovered removes for good what a rewrite has replaced, which a crash may have left behind or
// may bring back: once the file that replaced it is given away, it would be taken for a part of the
// log, next to files that were rewritten with less in mind.
func (v *salvage) dropCovered() error {
	for _, id := range v.ids {
		if !slices.ContainsFunc(v.ids, func(o ident) bool { return o.covers(id) }) {
			continue
		}
		if err := v.l.fs.Remove(v.l.path(id.name())); err != nil {
			return err
		}
	}
	return v.l.fs.SyncDir(v.l.dir)
}

// giveAway moves all files from a segment on to the donors, the last ones first: the log stays one
// that ends too early.
func (v *salvage) giveAway(from uint64) error {
	names, err := v.l.fs.List(v.l.dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Backward(names) { // the names sort as the segments
		id, ok := parseName(name)
		if !ok || id.lo < from || id.lo > v.cut.Segment {
			continue
		}
		err := v.l.fs.Rename(v.l.path(name), filepath.Join(v.donors, name))
		if err != nil {
			return err
		}
	}
	return errors.Join(v.l.fs.SyncDir(v.donors), v.l.fs.SyncDir(v.l.dir))
}

// begin makes the empty segment that the log ends with.
func (v *salvage) begin(seq uint64) error {
	w, err := v.l.create(seq, targetBytes(0, v.l.opts.SegmentBytes))
	if err != nil {
		return err
	}
	return errors.Join(w.fd.SyncData(), w.f.mapping.Unmap(), w.fd.Close(),
		v.l.fs.SyncDir(v.l.dir))
}

// Donors are files that Salvage took out of a log, of which whole records can be read.
type Donors struct {
	files []*file
	runs  []run // in the order of revisions
	at    int   // the run that was read last, and where in it
	off   int64
	last  cairn.Revision
}

// run is records of a file, one after the other, that are whole.
type run struct {
	f           *file
	off, end    int64
	first, last cairn.Revision
	broken      bool // what is behind it in its file is damaged
}

// follows says that nothing is missing between o and r.
func (r *run) follows(o *run) bool { return r.off == headerBytes && r.f.id.lo == o.f.id.hi+1 }

// OpenDonors reads all donors in dir; a directory that is not there has none. Close it.
func OpenDonors(fsys vfs.FS, dir string, opts Options) (_ *Donors, err error) {
	d := &Donors{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	ids, _, err := listDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if slices.ContainsFunc(ids, func(o ident) bool { return o.covers(id) }) {
			continue // a crash left it behind when it had been rewritten
		}
		f, err := mapAny(fsys, dir, id)
		if err != nil {
			return nil, err
		}
		d.files = append(d.files, f)
		if err := d.read(f, opts.LogID); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(d.runs, func(a, b run) int {
		return cmp.Or(cmp.Compare(a.first.Main, b.first.Main),
			cmp.Compare(a.first.Sub, b.first.Sub))
	})
	return d, nil
}

// read finds the whole runs of a file. Behind damage the table of a sealed file tells where to go
// on.
func (d *Donors) read(f *file, logID uint64) error {
	end, sealed := f.size, false
	var at int64
	err := f.guarded(&at, func() error {
		if err := f.checkHeader(logID); err != nil {
			return err
		}
		if t, table, reason := decodeFooter(f.data, f.seed); reason == "" {
			f.load(t, table)
			end, sealed = t.recordsEnd, true
		}
		return nil
	})
	for off := int64(headerBytes); err == nil && off < end; {
		r := run{f: f, off: off}
		r.end, err = f.walk(off, end, cairn.Revision{}, func(_, _ int64, rec Record) (bool, error) {
			if r.last == (cairn.Revision{}) {
				r.first = rec.Rev
			}
			r.last = rec.Rev
			return true, nil
		})
		damaged := isDamage(err)
		r.broken = damaged || !sealed // else it may have been cut
		if r.last.Main > 0 {
			d.runs = append(d.runs, r)
		}
		if err = ignoreDamage(err); damaged {
			off = f.resume(r.end, end)
		} else {
			off = end
		}
	}
	return ignoreDamage(err)
}

func ignoreDamage(err error) error {
	if isDamage(err) {
		return nil
	}
	return err
}

// resume is where records begin again behind a damaged place, as far as the table knows; end if
// nowhere.
func (f *file) resume(off, end int64) int64 {
	for _, e := range f.table[:f.entries.Load()] {
		if e.off > off {
			return e.off
		}
	}
	return end
}

// Intervals are the main revisions of which the donors have all records, in order.
func (d *Donors) Intervals() []Interval {
	var list []Interval
	next := int64(0) // the first revision that is not settled
	joined := false  // the run before goes on in this one
	for n, r := range d.runs {
		i := Interval{First: r.first.Main, Last: r.last.Main}
		if !joined && r.first.Sub > 0 {
			next = r.first.Main + 1 // the revision may begin in what is not there
		}
		joined = n+1 < len(d.runs) && !r.broken && d.runs[n+1].follows(&r)
		if !joined {
			i.Last-- // or go on in it
		}
		i.First = max(i.First, next)
		if i.First <= i.Last {
			list = append(list, i)
			next = i.Last + 1
		} else if n := len(list); !joined && n > 0 && list[n-1].Last > i.Last {
			// The revision began in the run before.
			if list[n-1].Last = i.Last; list[n-1].First > i.Last {
				list = list[:n-1]
			}
		}
	}
	return list
}

// Payload returns the payload of the record with r's revision and kind, valid until Close. It is
// quick if the revisions that are asked for ascend. The error is a *CorruptError if no donor has
// the record.
func (d *Donors) Payload(r Record) ([]byte, error) {
	if r.Rev.Less(d.last) {
		d.at, d.off = 0, 0
	}
	d.last = r.Rev
	for ; d.at < len(d.runs); d.at, d.off = d.at+1, 0 {
		run := &d.runs[d.at]
		if run.last.Less(r.Rev) {
			continue
		}
		var found Record
		var err error
		d.off, err = run.f.walk(max(d.off, run.off), run.end, cairn.Revision{},
			func(_, _ int64, rec Record) (bool, error) {
				found = rec
				return rec.Rev.Less(r.Rev), nil
			})
		if err != nil {
			return nil, err
		}
		if found.Rev == r.Rev && found.Tombstone == r.Tombstone {
			return found.KV, nil
		}
		return nil, run.f.corrupt(d.off, fmt.Sprintf("no record of revision %d.%d",
			r.Rev.Main, r.Rev.Sub))
	}
	return nil, &CorruptError{File: "donors", Reason: fmt.Sprintf("no record of revision %d.%d",
		r.Rev.Main, r.Rev.Sub)}
}

// Close gives the files up.
func (d *Donors) Close() error {
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.mapping.Unmap())
	}
	d.files, d.runs = nil, nil
	return errors.Join(errs...)
}
