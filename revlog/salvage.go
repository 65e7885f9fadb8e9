package revlog

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// salvageWriteBytes is the size of one write of the records that are kept.
const salvageWriteBytes = 1 << 20

// Salvaged is what Salvage has made of a log.
type Salvaged struct {
	// Mark is where the log can be opened now.
	Mark Mark
	// Last is the revision up to which the log holds all records that the checkpoint needs; none
	// is above it. 0 is an empty log.
	Last int64
	// Damage is what was wrong; nil if nothing was, and nothing was done.
	Damage *CorruptError
}

// Salvage cuts a log for which Open or Scan at the mark gave a *CorruptError before the damage, at
// the last revision that is known to be whole. The files behind the cut, and the damaged one, are
// moved to donorDir, which must be on the same disk (see OpenDonors). The log must not be open.
//
// The log is then less than the owner's checkpoint says: the owner writes one with the new mark
// right after Salvage, which says that a snapshot above Last must come before the log is read.
// Until then, or if Salvage does not come to its end, it is to be called again with the old mark:
// what is found then is cut at the same revision, or at an earlier one.
//
// Errors: the disk's (vfs.ErrNoSpace: nothing was changed), ErrForeign, ErrVersion.
func Salvage(fsys vfs.FS, dir string, opts Options, cut Mark, donorDir string) (Salvaged, error) {
	s := salvager{l: Log{fs: fsys, dir: dir, opts: opts}, donorDir: donorDir}
	out, err := s.run(cut)
	if err != nil {
		err = fmt.Errorf("revlog: salvage %s: %w", dir, err)
	}
	return out, err
}

// salvager is a call of Salvage.
type salvager struct {
	l        Log // not open: for its paths
	donorDir string

	chain  []ident  // the files from segment 1 on, without a gap
	behind []ident  // those behind a gap
	stale  []string // superseded or half made
	// ends is, for each file of chain that was checked, the newest whole record up to its end.
	ends []cairn.Revision
}

func (s *salvager) run(cut Mark) (out Salvaged, err error) {
	if err := errors.Join(cut.valid(), s.list(cut)); err != nil {
		return out, err
	}
	damage, err := s.check(cut)
	if err != nil || damage == nil {
		last := int64(0)
		if n := len(s.ends); n > 0 {
			last = s.ends[n-1].Main
		}
		return Salvaged{Mark: cut, Last: last}, err
	}
	out = Salvaged{Damage: damage, Mark: Mark{Segment: 1, Offset: headerBytes}}
	// Nobody knows whether the newest revision is whole.
	at, main := len(s.ends), int64(0)
	if at > 0 {
		main = s.ends[at-1].Main
		at = slices.IndexFunc(s.ends, func(r cairn.Revision) bool { return r.Main >= main })
		out.Mark.Segment = s.chain[at].lo
	}
	out.Last = max(main-1, 0)
	id := ident{lo: out.Mark.Segment, hi: out.Mark.Segment}
	temp := s.l.path(strings.TrimSuffix(id.name(), segSuffix) + tempSuffix)
	// For good, also those that were removed before without a sync: no older generation may come
	// back when the file that replaced it has moved.
	if err := errors.Join(s.l.removeAll(s.stale), s.l.fs.SyncDir(s.l.dir)); err != nil {
		return out, err
	}
	if out.Mark.Offset, err = s.copy(temp, id, at, main); err != nil {
		return out, errors.Join(err, s.l.fs.Remove(temp))
	}
	if err := s.move(slices.Concat(s.chain[min(at, len(s.chain)):], s.behind)); err != nil {
		return out, err
	}
	if err := s.l.fs.Rename(temp, s.l.path(id.name())); err != nil {
		return out, err
	}
	return out, s.l.fs.SyncDir(s.l.dir)
}

// list sorts the files up to the mark. Those behind it are left to Open.
func (s *salvager) list(cut Mark) error {
	ids, temps, err := listDir(s.l.fs, s.l.dir)
	if err != nil {
		return err
	}
	s.stale = temps
	slices.SortFunc(ids, func(a, b ident) int {
		return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(b.hi, a.hi), cmp.Compare(b.gen, a.gen))
	})
	next, gap := uint64(1), false
	for _, id := range ids {
		if id.lo > cut.Segment {
			continue
		}
		if err := s.l.refuseForeign(id); err != nil {
			return err
		}
		if id.lo < next {
			s.stale = append(s.stale, id.name()) // superseded
			continue
		}
		gap = gap || id.lo > next
		next = id.hi + 1
		if gap {
			s.behind = append(s.behind, id)
		} else {
			s.chain = append(s.chain, id)
		}
	}
	return nil
}

// check reads the chain up to the first damage.
func (s *salvager) check(cut Mark) (*CorruptError, error) {
	rep := Report{}
	v := verifier{fs: s.l.fs, dir: s.l.dir, cut: cut, sealedTo: cut.Segment - 1, rep: &rep}
	next := uint64(1)
	for _, id := range s.chain {
		err := v.run(id)
		s.ends = append(s.ends, v.last)
		if damage, ok := errors.AsType[*CorruptError](err); ok {
			return damage, nil
		}
		if err != nil {
			return nil, err
		}
		next = id.hi + 1
	}
	if next <= cut.Segment {
		path := s.l.path(ident{lo: next, hi: next}.name())
		return &CorruptError{File: path, Reason: "the file is missing"}, nil
	}
	return nil, nil
}

// copy writes the records below a main revision of a file of the chain to a new file, and makes it
// durable.
func (s *salvager) copy(temp string, id ident, at int, main int64) (end int64, err error) {
	fd, err := s.l.fs.Create(temp)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, fd.Close()) }()
	b, seed := header{id: id, logID: s.l.opts.LogID}.encode()
	buf, off := b[:], int64(0)
	flush := func() error {
		_, err := fd.WriteAt(buf, off)
		off, buf = off+int64(len(buf)), buf[:0]
		return err
	}
	add := func(_, _ int64, r Record) (bool, error) {
		if r.Rev.Main >= main {
			return false, nil
		}
		buf = appendRecord(buf, seed, off+int64(len(buf)), r.Rev, r.Tombstone, r.KV)
		if len(buf) < salvageWriteBytes {
			return true, nil
		}
		return true, flush()
	}
	if at < len(s.ends) && main > 0 {
		if err := s.each(s.chain[at], add); err != nil {
			return 0, err
		}
	}
	if err := flush(); err != nil {
		return 0, err
	}
	return off, fd.SyncData()
}

// each calls fn with the records of a file, until it returns false.
func (s *salvager) each(id ident, fn func(off, size int64, r Record) (bool, error)) error {
	f, err := mapAny(s.l.fs, s.l.dir, id)
	if err != nil {
		return err
	}
	var at int64
	err = f.guarded(&at, func() error { return f.checkHeader(s.l.opts.LogID) })
	if err == nil {
		_, err = f.walk(headerBytes, f.size, cairn.Revision{}, fn)
	}
	return errors.Join(err, f.mapping.Unmap())
}

// move moves files to the donors, under names that none has yet.
func (s *salvager) move(ids []ident) error {
	if err := s.l.fs.MkdirAll(s.donorDir); err != nil {
		return err
	}
	names, err := s.l.fs.List(s.donorDir)
	if err != nil {
		return err
	}
	n := 0 // above the number of any donor
	for _, name := range names {
		var has int
		if _, err := fmt.Sscanf(name, "%04x-", &has); err == nil {
			n = max(n, has+1)
		}
	}
	for i, id := range ids {
		name := fmt.Sprintf("%04x-%s", n+i, id.name())
		if err := s.l.fs.Rename(s.l.path(id.name()), filepath.Join(s.donorDir, name)); err != nil {
			return err
		}
	}
	return errors.Join(s.l.fs.SyncDir(s.donorDir), s.l.fs.SyncDir(s.l.dir))
}
