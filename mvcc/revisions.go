package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/cairnkv/cairn"
)

// revisionBlock is how many revisions of a Revisions share an entry of its table.
const revisionBlock = 64

// MaxRevisionBytes is the most that AppendRevision appends.
const MaxRevisionBytes = 2 * binary.MaxVarintLen64

var errRevision = errors.New("revision out of order")

// AppendRevision appends rev as its distance from prev, which it comes after: mostly one byte.
func AppendRevision(dst []byte, prev, rev cairn.Revision) []byte {
	delta := uint64(rev.Main-prev.Main) << 1
	if rev.Sub == 0 {
		return binary.AppendUvarint(dst, delta)
	}
	dst = binary.AppendUvarint(dst, delta|1)
	return binary.AppendUvarint(dst, uint64(rev.Sub))
}

// ReadRevision reads what AppendRevision appended, and how many bytes it took. The error says that
// b does not begin with a revision that comes after prev.
func ReadRevision(b []byte, prev cairn.Revision) (rev cairn.Revision, n int, err error) {
	delta, n := binary.Uvarint(b)
	if n <= 0 || delta>>1 > uint64(1<<62) {
		return rev, 0, errRevision
	}
	rev.Main = prev.Main + int64(delta>>1)
	if delta&1 == 1 {
		sub, size := binary.Uvarint(b[n:])
		if size <= 0 || sub > 1<<32-1 {
			return rev, 0, errRevision
		}
		rev.Sub = int64(sub)
		n += size
	}
	if rev.Main < prev.Main || !prev.Less(rev) {
		return rev, 0, errRevision
	}
	return rev, n, nil
}

// Revisions is a set of revisions in little memory: about two bytes for each.
type Revisions struct {
	data []byte // by AppendRevision, each block from prev on
	// table has for every block the revision before it, and where in data it begins.
	table []struct {
		prev cairn.Revision
		at   int
	}
	n    int
	last cairn.Revision
}

// Add adds a revision, which must come after all others.
func (s *Revisions) Add(rev cairn.Revision) error {
	if !s.last.Less(rev) {
		return fmt.Errorf("%w: %d.%d after %d.%d",
			errRevision, rev.Main, rev.Sub, s.last.Main, s.last.Sub)
	}
	if s.n%revisionBlock == 0 {
		s.table = append(s.table, struct {
			prev cairn.Revision
			at   int
		}{s.last, len(s.data)})
	}
	s.data = AppendRevision(s.data, s.last, rev)
	s.last = rev
	s.n++
	return nil
}

// Len is the number of revisions.
func (s *Revisions) Len() int { return s.n }

// Has says whether rev is in the set.
func (s *Revisions) Has(rev cairn.Revision) bool {
	i := sort.Search(len(s.table), func(i int) bool { return !s.table[i].prev.Less(rev) }) - 1
	if i < 0 {
		return false
	}
	at, prev := s.table[i].at, s.table[i].prev
	for range min(revisionBlock, s.n-i*revisionBlock) {
		next, n, err := ReadRevision(s.data[at:], prev)
		if err != nil || rev.Less(next) {
			return false
		}
		if next == rev {
			return true
		}
		at, prev = at+n, next
	}
	return false
}
