package revlog

import (
	"testing"

	cairn "github.com/cairnkv/cairn"
)

// TestGroupOfTombstones: files of nothing but dead tombstones, which a rewrite may have to keep,
// are not put together into one that does not hold them.
func TestGroupOfTombstones(t *testing.T) {
	s := survey{segment: 100, budget: 1000}
	for range 50 {
		f := &file{}
		f.puts.Store(10)
		f.deadPuts.Store(10)
		f.tombs.Store(30)
		f.deadTombs.Store(30)
		s.files = append(s.files, f)
	}
	for name, group := range map[string]func() (from, to int){
		"extend": func() (from, to int) { return s.extend(20) }, "smallest": s.smallest,
	} {
		from, to := group()
		if to-from < 2 || (to-from)*30 > 100 {
			t.Errorf("%s: %d files with 30 bytes of tombstones each, for a segment of 100", name,
				to-from)
		}
	}
}

// TestRewriteOfAll: a file that is made for some records takes them all, whatever their size: of
// equal ones whose size divides the stride of the table each stride has an entry.
func TestRewriteOfAll(t *testing.T) {
	for length := range 300 {
		size := recordSize(length)
		for n := int64(1); n < 60; n++ {
			bytes := headerBytes + n*size
			room := bytes + footerRoom(bytes)
			f := &file{table: make([]tableEntry, room/strideOf(room)+1)}
			w := newWriter(f, room, headerBytes)
			for i := range n {
				if !w.fits(size) {
					t.Fatalf("of %d records with %d bytes number %d does not fit", n, size, i+1)
				}
				w.add(cairn.Revision{Main: i + 1}, false, make([]byte, length))
			}
		}
	}
}
