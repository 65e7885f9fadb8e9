package revlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// Open opens the log in dir and cuts it at the mark: what comes later is dropped, since the
// owner makes it anew from its own log. The zero Mark drops everything, or makes dir.
//
// Headers, footers and the active segment are checked here, the other records by the Scan that the
// owner runs next to build its index. Nothing is made or changed unless all checks passed.
//
// Errors: *CorruptError if something before the mark is missing or damaged; ErrForeign, ErrVersion.
func Open(fsys vfs.FS, dir string, opts Options, cut Mark) (*Log, error) {
	if opts.SegmentBytes == 0 {
		opts.SegmentBytes = DefaultSegmentBytes
	}
	if opts.SegmentBytes < MinSegmentBytes || opts.SegmentBytes > MaxSegmentBytes {
		return nil, fmt.Errorf("revlog: segment size of %d bytes; choose from %d to %d",
			opts.SegmentBytes, MinSegmentBytes, MaxSegmentBytes)
	}
	if err := cut.valid(); err != nil {
		return nil, err
	}
	l := &Log{fs: fsys, dir: dir, opts: opts}
	l.view.Store(&view{slots: []*file{nil}})
	p, err := l.plan(cut)
	if err != nil {
		return nil, err
	}
	files, err := l.load(p)
	if err == nil {
		err = l.start(p, files, cut)
	}
	if err != nil {
		for _, f := range files {
			f.mapping.Unmap()
		}
		return nil, err
	}
	return l, nil
}

// plan is what Open is to do with the names in the directory.
type plan struct {
	exists bool     // the directory
	keep   []ident  // sealed files, in order, without a gap
	active ident    // the file that the mark is in; zero if the log starts empty
	remove []string // what is later than the mark, superseded, or half made
}

// plan decides by names alone.
func (l *Log) plan(cut Mark) (plan, error) {
	var p plan
	ids, temps, err := listDir(l.fs, l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if !cut.IsZero() {
			return p, &CorruptError{File: l.dir, Reason: "the directory is missing"}
		}
		return p, nil
	}
	if err != nil {
		return p, err
	}
	p.exists = true
	p.remove = temps
	before := make([]ident, 0, len(ids))
	for _, id := range ids {
		if id.lo > cut.Segment {
			if err := l.refuseForeign(id); err != nil {
				return p, err
			}
			p.remove = append(p.remove, id.name())
			continue
		}
		before = append(before, id)
	}
	if cut.IsZero() {
		return p, nil
	}
	chain, covered, err := resolve(l.dir, before)
	if err != nil {
		return p, err
	}
	for _, id := range covered {
		p.remove = append(p.remove, id.name())
	}
	p.active = ident{lo: cut.Segment, hi: cut.Segment}
	missing := func(id ident) error {
		return &CorruptError{File: filepath.Join(l.dir, id.name()), Reason: "the file is missing"}
	}
	if len(chain) == 0 {
		return p, missing(p.active)
	}
	last := chain[len(chain)-1]
	if last.hi < cut.Segment {
		return p, missing(p.active)
	}
	if last != p.active {
		return p, &CorruptError{
			File: filepath.Join(l.dir, last.name()), Offset: cut.Offset,
			Reason: fmt.Sprintf("the mark %v lies in a file that was rewritten since: the"+
				" checkpoint that it comes from is not the newest one", cut),
		}
	}
	p.keep = chain[:len(chain)-1]
	return p, nil
}

// listDir returns the log's files and what is left of rewrites that did not finish. Names that are
// neither, nor hidden, belong to something else.
func listDir(fsys vfs.FS, dir string) (ids []ident, temps []string, err error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		base, isTemp := strings.CutSuffix(name, tempSuffix)
		if isTemp {
			base += segSuffix
		}
		id, ok := parseName(base)
		switch {
		case ok && isTemp:
			temps = append(temps, name)
		case ok:
			ids = append(ids, id)
		case !strings.HasPrefix(name, "."):
			return nil, nil, fmt.Errorf("%w: %s holds %q; name the right directory or move"+
				" that file away", ErrForeign, dir, name)
		}
	}
	return ids, temps, nil
}

// resolve finds the files that form the log, from segment 1 on without a gap, and those that
// another one covers.
func resolve(dir string, ids []ident) (chain, covered []ident, err error) {
	slices.SortFunc(ids, func(a, b ident) int {
		return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(b.hi, a.hi), cmp.Compare(b.gen, a.gen))
	})
	next := uint64(1)
	for _, id := range ids {
		if id.lo == next {
			chain = append(chain, id)
			next = id.hi + 1
			continue
		}
		if id.lo > next {
			break
		}
		if prev := chain[len(chain)-1]; !prev.covers(id) {
			return nil, nil, &CorruptError{
				File:   filepath.Join(dir, id.name()),
				Reason: "it overlaps " + prev.name() + ", which does not replace it",
			}
		}
		covered = append(covered, id)
	}
	if len(chain)+len(covered) < len(ids) {
		return nil, nil, &CorruptError{
			File:   filepath.Join(dir, ident{lo: next, hi: next}.name()),
			Reason: "the file is missing, though later ones are there",
		}
	}
	return chain, covered, nil
}

// refuseForeign looks into a file that is to be removed: it may be another log's. What cannot be
// read is what a crash leaves.
func (l *Log) refuseForeign(id ident) error {
	fd, err := l.fs.Open(l.path(id.name()))
	if err != nil {
		return err
	}
	defer fd.Close()
	var b [headerBytes]byte
	if _, err := fd.ReadAt(b[:], 0); err != nil && err != io.EOF {
		return err
	}
	h, _, reason, err := decodeHeader(b[:])
	if err != nil {
		return fmt.Errorf("%s: %w", fd.Name(), err)
	}
	if reason == "" && h.logID != l.opts.LogID {
		return fmt.Errorf("%w: %s belongs to log %016x, this is %016x",
			ErrForeign, fd.Name(), h.logID, l.opts.LogID)
	}
	return nil
}

// load maps the sealed files and checks what is cheap to check. On an error it returns those that
// are mapped.
func (l *Log) load(p plan) ([]*file, error) {
	var files []*file
	var last cairn.Revision
	for _, id := range p.keep {
		f, err := mapSealed(l.fs, l.dir, id, l.opts.LogID)
		if err != nil {
			return files, err
		}
		files = append(files, f)
		if f.records.Load() == 0 {
			continue
		}
		if !last.Less(f.first) {
			return files, f.corrupt(headerBytes, "revisions out of order between files")
		}
		last = f.last
	}
	if len(files) >= maxFiles {
		return files, fmt.Errorf("revlog: %s: more than %d files; use larger segments",
			l.dir, maxFiles)
	}
	l.last = last
	return files, nil
}

// start makes the changes on disk and puts the parts together.
func (l *Log) start(p plan, files []*file, cut Mark) error {
	if p.active.lo > 0 {
		if err := l.checkActive(p.active, cut); err != nil {
			return err
		}
	}
	if !p.exists {
		if err := l.fs.MkdirAll(l.dir); err != nil {
			return err
		}
	}
	if err := l.removeAll(p.remove); err != nil {
		return err
	}
	l.nextSeq = cut.Segment
	if p.active.lo == 0 {
		l.nextSeq = 1
		w, err := l.create(l.nextSeq, targetBytes(0, l.opts.SegmentBytes))
		if err != nil {
			return err
		}
		l.w = w
		l.names++
	} else {
		w, err := l.reopen(p.active, cut, files)
		if err != nil {
			return err
		}
		l.w = w
	}
	l.nextSeq++
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = []*file{l.w.f}
	l.install(append(files, l.w.f))
	return nil
}

// install makes the first view; the caller holds mu.
func (l *Log) install(files []*file) {
	v := &view{slots: []*file{nil}, files: files}
	l.uses = make([]uint8, len(files)+1)
	for i, f := range files {
		f.slot = uint16(i + 1)
		v.slots = append(v.slots, f)
	}
	l.view.Store(v)
}

// removeAll removes files of the directory for good: before others with the same names are made.
func (l *Log) removeAll(names []string) error {
	if len(names) == 0 {
		return nil
	}
	for _, name := range names {
		if err := l.fs.Remove(l.path(name)); err != nil {
			return err
		}
	}
	return l.fs.SyncDir(l.dir)
}
