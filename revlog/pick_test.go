package revlog

import "testing"

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
