package revlog

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

const donorDir = "donors"

// recordsOf lists what a log that is cut at the mark has.
func recordsOf(t *testing.T, fs vfs.FS, o Options, cut Mark) ([]Record, error) {
	t.Helper()
	l, err := Open(fs, testDir, o, cut)
	if err != nil {
		return nil, err
	}
	var all []Record
	err = l.Scan(cairn.Revision{}, 1<<62, func(_ Pos, r Record) (bool, error) {
		r.KV = append([]byte(nil), r.KV...)
		all = append(all, r)
		return true, nil
	})
	return all, errors.Join(err, l.Close())
}

// spoil damages one file of a log.
func spoil(t *testing.T, fs vfs.FS, name string, kind int, off int64) {
	t.Helper()
	path := filepath.Join(testDir, name)
	var err error
	switch kind {
	case 0:
		err = vfs.Flip(fs, path, off, uint(off%8))
	case 1:
		err = fs.Remove(path)
	default:
		var f vfs.File
		if f, err = fs.OpenReadWrite(path); err == nil {
			err = errors.Join(f.Truncate(off), f.Close())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// checkSalvaged holds what was salvaged against the log as it was.
func checkSalvaged(t *testing.T, fs vfs.FS, o Options, got Salvaged, want []Record, what string) {
	t.Helper()
	kept, err := recordsOf(t, fs, o, got.Mark)
	if err != nil {
		t.Fatalf("%s: open what was salvaged: %v", what, err)
	}
	n := 0
	for n < len(want) && want[n].Rev.Main <= got.Rev {
		n++
	}
	if !slices.EqualFunc(kept, want[:n], same) {
		t.Fatalf("%s: %d records were kept up to revision %d, want %d", what, len(kept), got.Rev, n)
	}
	d, err := OpenDonors(fs, donorDir, o)
	if err != nil {
		t.Fatalf("%s: donors: %v", what, err)
	}
	last := got.Rev
	for _, i := range d.Intervals() {
		if i.First <= last || i.Last < i.First {
			t.Fatalf("%s: intervals out of order: %v", what, d.Intervals())
		}
		last = i.Last
		for _, r := range want {
			if r.Rev.Main < i.First || r.Rev.Main > i.Last {
				continue
			}
			kv, err := d.Payload(Record{Rev: r.Rev, Tombstone: r.Tombstone})
			if err != nil || string(kv) != string(r.KV) {
				t.Fatalf("%s: the donors' record %v: %d bytes, %v; want %d bytes; they have %v",
					what, r.Rev, len(kv), err, len(r.KV), d.Intervals())
			}
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func same(a, b Record) bool {
	return a.Rev == b.Rev && a.Tombstone == b.Tombstone && string(a.KV) == string(b.KV)
}

// TestSalvage damages each file of a log in each way: what is before it is kept, what is behind it
// can be had from the donors.
func TestSalvage(t *testing.T) {
	o, base := built(t, 11)
	want, err := recordsOf(t, base.KillClone(), o.opts, o.saved.mark)
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for name, size := range filesOf(t, base, o.saved.mark) {
		if id, _ := parseName(name); id.gen == 0 && id.hi < o.saved.mark.Segment && size == 0 {
			continue
		}
		for kind := range 3 {
			for range 6 {
				fs := base.KillClone()
				off := o.rng.Int64N(size)
				what := fmt.Sprintf("%s, damage %d at %d", name, kind, off)
				spoil(t, fs, name, kind, off)
				if _, err := recordsOf(t, fs.KillClone(), o.opts, o.saved.mark); err == nil {
					continue // a file that a rewrite left behind
				}
				cases++
				got, err := Salvage(fs, testDir, o.opts, o.saved.mark, donorDir)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				again, err := Salvage(fs, testDir, o.opts, o.saved.mark, donorDir)
				if err != nil || again != got {
					t.Fatalf("%s: salvaged again: %+v, %v; before %+v", what, again, err, got)
				}
				checkSalvaged(t, fs, o.opts, got, want, what)
			}
		}
	}
	if cases < 50 {
		t.Errorf("only %d cases", cases)
	}
}

// TestSalvageCrash ends the salvage at each of its operations by a crash and runs it again. With
// these seeds a rewrite has left files behind, or files that were removed may come back.
func TestSalvageCrash(t *testing.T) {
	for _, seed := range []uint64{1, 9, 13, 24} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { salvageCrash(t, seed) })
	}
}

func salvageCrash(t *testing.T, seed uint64) {
	o, base := built(t, seed)
	want, err := recordsOf(t, base.KillClone(), o.opts, o.saved.mark)
	if err != nil {
		t.Fatal(err)
	}
	names := filesOf(t, base, o.saved.mark)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		spoiled := base.KillClone()
		spoil(t, spoiled, name, 0, names[name]/2)
		if _, err := recordsOf(t, spoiled.KillClone(), o.opts, o.saved.mark); err == nil {
			continue
		}
		for n := int64(1); ; n++ {
			fs := spoiled.KillClone()
			faulty := vfs.NewFaulty(fs)
			faulty.Inject(vfs.Fault{Nth: n, Forever: true, After: n%2 == 0})
			_, err := Salvage(faulty, testDir, o.opts, o.saved.mark, donorDir)
			if err == nil {
				break // it has fewer operations
			}
			for range 5 {
				crashed := fs.CrashClone(o.rng)
				got, err := Salvage(crashed, testDir, o.opts, o.saved.mark, donorDir)
				if err != nil {
					t.Fatalf("%s, crash at operation %d: %v", name, n, err)
				}
				checkSalvaged(t, crashed, o.opts, got, want,
					fmt.Sprintf("%s, crash at operation %d", name, n))
			}
		}
	}
}
