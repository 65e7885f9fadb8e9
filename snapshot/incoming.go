package snapshot

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

const (
	fileName      = "incoming.snapshot"
	fileMagic     = "CAIRNSNP"
	preambleBytes = 24 // magic, version u16, zeros u16, crc u32 of the rest, id u64

	// maxSections bounds how often a transfer may break and go on. Each section may name again
	// what is kept, so that they cannot be many.
	maxSections = 128
	// readBytes is the size of reads of the staging file.
	readBytes = 256 << 10
)

// Donors has payloads of records that the store lost; *revlog.Donors is one.
type Donors interface {
	// Intervals are the revisions that it may have, in order.
	Intervals() []revlog.Interval
	// Payload returns the payload of a record, valid until the next call.
	Payload(r revlog.Record) ([]byte, error)
}

// Options configure an Incoming.
type Options struct {
	// ID is any number that names the store. What was staged for another one is dropped.
	ID uint64
	// MaxBytes bounds the staging file; 0 is no limit.
	MaxBytes int64
	// Donors may be nil.
	Donors Donors
}

// Incoming is a snapshot on its way into a store, staged in a file. It is for one goroutine at a
// time.
type Incoming struct {
	fs   vfs.FS
	dir  string
	opts Options

	f        vfs.File // nil if there is none
	sections []section
	asked    *Have // what the next stream has to answer
	bad      []revlog.Interval
}

// place is where a frame begins in the staging file.
type place struct {
	off int64
	crc uint32 // of the frame before
}

// section is what a stream brought, and where in the file.
type section struct {
	h          Header
	start, end int64 // end: of the frames that are of use
	recordsAt  place // the first frame of records; off is 0 before
	imageAt    place // the first frame of the image
	records    int64
	whole      int64 // revision up to which all records are here
	complete   bool  // with the image
}

// Open finds what is staged in dir, which is made if need be. What is damaged of it is dropped.
// Errors are of the disk.
func Open(fsys vfs.FS, dir string, opts Options) (*Incoming, error) {
	in := &Incoming{fs: fsys, dir: dir, opts: opts}
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	f, err := fsys.OpenReadWrite(in.path())
	if errors.Is(err, fs.ErrNotExist) {
		return in, nil
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	in.f = f
	if !in.checkPreamble() {
		return in, in.Remove()
	}
	if in.sections, err = in.scan(); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot: %w", err), in.Close())
	}
	return in, nil
}

func (in *Incoming) path() string { return filepath.Join(in.dir, fileName) }

func (in *Incoming) preamble() []byte {
	b := make([]byte, preambleBytes)
	copy(b, fileMagic)
	binary.LittleEndian.PutUint16(b[8:], formatVersion)
	binary.LittleEndian.PutUint64(b[16:], in.opts.ID)
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, castagnoli))
	return b
}

func (in *Incoming) checkPreamble() bool {
	var b [preambleBytes]byte
	_, err := in.f.ReadAt(b[:], 0)
	return err == nil && string(b[:]) == string(in.preamble())
}

// reader reads the frames of the file from a place on.
func (in *Incoming) reader(from place, end int64) *frameReader {
	r := io.NewSectionReader(in.f, from.off, end-from.off)
	return &frameReader{r: bufio.NewReaderSize(r, readBytes), crc: from.crc, size: from.off}
}

// scan finds the sections of the file, as far as they are whole and follow each other.
func (in *Incoming) scan() ([]section, error) {
	size, err := in.f.Size()
	if err != nil {
		return nil, err
	}
	var sections []section
	var p parser
	r := in.reader(place{off: preambleBytes}, size)
	for {
		at, crc := r.size, r.crc
		k, payload, err := r.next()
		if err != nil {
			return sections, nil // the end, or damage: in either case, what follows is of no use
		}
		if k == kindHeader {
			p = parser{}
		}
		if err := p.frame(k, payload); err != nil {
			return sections, nil
		}
		if k == kindHeader {
			if len(sections) > 0 && !sections[len(sections)-1].continues(p.h) {
				return sections, nil
			}
			sections = append(sections, section{h: p.h, start: at})
		}
		sections[len(sections)-1].note(&p, place{at, crc}, place{r.size, r.crc})
	}
}

// continues says whether a section with that header may follow.
func (s *section) continues(h Header) bool {
	return h.Base == s.whole && h.CompactRev >= s.h.CompactRev && h.Index >= s.h.Index
}

// note takes in the frame that p took last, which lies between two places.
func (s *section) note(p *parser, from, to place) {
	s.whole, s.records = p.whole(), p.tally.records
	switch p.seen {
	case kindRecords, kindTally:
		if s.recordsAt.off == 0 {
			s.recordsAt = from
		}
		if p.seen == kindTally {
			s.imageAt = to
		}
	case kindImage:
		return // end stays: the image of a cut section is of no use
	case kindEnd:
		s.complete = true
		return
	}
	s.end = to.off
}

// last is the newest section; nil if there is none.
func (in *Incoming) last() *section {
	if len(in.sections) == 0 {
		return nil
	}
	return &in.sections[len(in.sections)-1]
}

// Complete returns the header of the newest stream, if it has come to its end.
func (in *Incoming) Complete() (Header, bool) {
	s := in.last()
	if s == nil || !s.complete {
		return Header{}, false
	}
	return s.h, true
}

// Continues says whether what is staged can be grafted onto a store at revision rev. After a
// restart the store may be behind where it was when it asked: entries of the raft log that are not
// known to be committed yet are not applied.
func (in *Incoming) Continues(rev int64) bool {
	return len(in.sections) > 0 && in.sections[0].h.Base <= rev
}

// Staged is the size of the staging file, in bytes.
func (in *Incoming) Staged() int64 {
	if in.f == nil {
		return 0
	}
	size, err := in.f.Size()
	if err != nil {
		return 0
	}
	return size
}

// Have tells what to ask a sender for, if the store is at revision base and compacted at
// compactRev, so that with what is staged a complete snapshot results. What does not fit the store
// is dropped. Call it when the store has applied all that it will apply by itself; the stream that
// answers goes to Receive.
func (in *Incoming) Have(base, compactRev int64) (Have, error) {
	if s := in.last(); s != nil && s.whole == s.h.Base && !s.complete {
		in.sections = in.sections[:len(in.sections)-1] // it brought nothing
	}
	s := in.last()
	if s != nil && (in.sections[0].h.Base > base || s.whole <= base ||
		len(in.sections) >= maxSections) {
		if err := in.Remove(); err != nil {
			return Have{}, err
		}
		s = nil
	}
	have := Have{Base: base, CompactRev: compactRev}
	if s != nil {
		have.Base, have.CompactRev = s.whole, max(compactRev, s.h.CompactRev)
	}
	if in.opts.Donors != nil {
		for _, d := range in.opts.Donors.Intervals() {
			have.Donors = in.addGood(have.Donors, d, have.Base)
		}
	}
	in.asked = &have
	return have, nil
}

// addGood adds what of a donor's interval is above base and did not fail.
func (in *Incoming) addGood(to []revlog.Interval, d revlog.Interval, base int64) []revlog.Interval {
	d.First = max(d.First, base+1)
	for _, b := range in.bad {
		if d.First <= b.First && b.First <= d.Last {
			d.Last = b.First - 1 // what is behind it in the same interval failed with it
		}
	}
	if d.First <= d.Last && len(to) < maxDonors {
		to = append(to, d)
	}
	return to
}

// Remove drops everything that is staged, for good.
func (in *Incoming) Remove() error {
	in.sections, in.asked = nil, nil
	if in.f == nil {
		return nil
	}
	err := errors.Join(in.f.Close(), in.fs.Remove(in.path()))
	in.f = nil
	if err == nil {
		err = in.fs.SyncDir(in.dir)
	}
	if err != nil {
		return fmt.Errorf("snapshot: drop what is staged: %w", err)
	}
	return nil
}

// Close ends the use of the file; what is staged stays.
func (in *Incoming) Close() error {
	if in.f == nil {
		return nil
	}
	err := in.f.Close()
	in.f = nil
	return err
}
