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

const donorDir = "/data/donors"

// salvageable is a log with its old files cleared away, and its files up to the mark.
func salvageable(t *testing.T, seed uint64) (*owner, *vfs.Mem, []string) {
	t.Helper()
	o, fs := built(t, seed)
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
	if err := o.log.Close(); err != nil {
		t.Fatal(err)
	}
	return o, fs, slices.Sorted(maps.Keys(filesOf(t, fs, o.saved.mark)))
}

// harm damages a file in one of several ways.
func harm(o *owner, fs *vfs.Mem, name string, how int) error {
	path := filepath.Join(testDir, name)
	if how == 0 {
		return errors.Join(fs.Remove(path), fs.SyncDir(testDir))
	}
	size := int64(0)
	if info, err := fs.Stat(path); err == nil {
		size = info.Size()
	}
	if id, _ := parseName(name); id.hi == o.saved.mark.Segment {
		size = o.saved.mark.Offset
	}
	if how == 1 {
		return vfs.Flip(fs, path, o.rng.Int64N(size), uint(o.rng.IntN(8)))
	}
	f, err := fs.OpenReadWrite(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(o.rng.Int64N(size)), f.Sync(), f.Close())
}

// TestSalvage damages each file in turn: what lies before the damage stays, and what lies behind it
// comes from the donors.
func TestSalvage(t *testing.T) {
	kept, donated := 0, 0
	for seed := range uint64(4) {
		o, disk, names := salvageable(t, seed)
		for _, name := range names {
			for how := range 3 {
				fs := disk.KillClone()
				if err := harm(o, fs, name, how); err != nil {
					t.Fatal(err)
				}
				out, err := Salvage(fs, testDir, o.opts, o.saved.mark, donorDir)
				if errors.Is(err, ErrVersion) {
					continue // a flipped version is a version
				}
				if err != nil {
					t.Fatalf("seed %d, %s, %d: %v", seed, name, how, err)
				}
				n, d, err := o.salvaged(fs, out)
				if err != nil {
					t.Fatalf("seed %d, %s damaged by way %d: %+v: %v", seed, name, how, out, err)
				}
				kept, donated = kept+n, donated+d
			}
		}
	}
	t.Logf("%d records kept, %d donated", kept, donated)
	if kept == 0 || donated == 0 {
		t.Error("nothing was salvaged")
	}
}

// salvaged checks what Salvage has left: all that the checkpoint needs up to Last, and what the
// donors say that they have.
func (o *owner) salvaged(fs vfs.FS, out Salvaged) (kept, donated int, err error) {
	log, err := Open(fs, testDir, o.opts, out.Mark)
	if err != nil {
		return 0, 0, err
	}
	defer log.Close()
	donors, err := OpenDonors(fs, donorDir, o.opts)
	if err != nil {
		return 0, 0, err
	}
	defer donors.Close()
	got := map[int]bool{}
	err = log.Scan(cairn.Revision{}, 1<<62, func(_ Pos, r Record) (bool, error) {
		at, err := o.match(r)
		got[at] = true
		if err == nil && r.Rev.Main > out.Last {
			err = fmt.Errorf("record %v above %d", r.Rev, out.Last)
		}
		return true, err
	})
	if err != nil {
		return 0, 0, err
	}
	var wanted []int
	for _, list := range o.want() {
		wanted = append(wanted, list...)
	}
	slices.Sort(wanted)
	intervals := donors.Intervals()
	for _, at := range wanted {
		r := o.recs[at]
		if r.rev.Main <= out.Last {
			if kept++; !got[at] {
				return 0, 0, fmt.Errorf("record %v is lost", r.rev)
			}
			continue
		}
		in := slices.ContainsFunc(intervals, func(v Interval) bool {
			return v.First <= r.rev.Main && r.rev.Main <= v.Last
		})
		if !in || at >= o.saved.records {
			continue
		}
		kv, err := donors.Payload(Record{Rev: r.rev, Tombstone: r.tomb})
		if err != nil || string(kv) != string(r.kv) {
			return 0, 0, fmt.Errorf("donor of %v, within %v: %q, %v", r.rev, intervals, kv, err)
		}
		donated++
	}
	return kept, donated, nil
}

// TestSalvageCrash stops Salvage around each of its operations: called again, it comes to an end
// that is no better, and as sound.
func TestSalvageCrash(t *testing.T) {
	for seed := range uint64(3) {
		o, disk, names := salvageable(t, seed)
		crashes, lost := 0, 0
		for i, name := range names {
			fs := disk.KillClone()
			if err := harm(o, fs, name, i%3); err != nil {
				t.Fatal(err)
			}
			var clones []*vfs.Mem
			fs.SetHook(func(vfs.Op, bool) { clones = append(clones, fs.CrashClone(o.rng)) })
			out, err := Salvage(fs, testDir, o.opts, o.saved.mark, donorDir)
			if errors.Is(err, ErrVersion) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, clone := range append(clones, fs.CrashClone(o.rng)) {
				crashes++
				again, err := Salvage(clone, testDir, o.opts, o.saved.mark, donorDir)
				if err == nil {
					_, _, err = o.salvaged(clone, again)
				}
				if err != nil || again.Last > out.Last {
					t.Fatalf("seed %d, %s: %+v, after a crash %+v: %v", seed, name, out, again, err)
				}
				if again.Last < out.Last {
					lost++
				}
			}
			// Whoever has written the checkpoint finds nothing wrong.
			durable := fs.CrashClone(o.rng)
			done, err := Salvage(durable, testDir, o.opts, out.Mark, donorDir)
			if err != nil || done.Damage != nil || done.Mark != out.Mark || done.Last > out.Last {
				t.Fatalf("seed %d: salvaged again: %+v, %v, want %+v", seed, done, err, out)
			}
		}
		t.Logf("%d crashes, %d with a loss", crashes, lost)
	}
}

// TestSalvageFull lets the disk be full: nothing is changed then.
func TestSalvageFull(t *testing.T) {
	o, fs, names := salvageable(t, 2)
	if err := harm(o, fs, names[len(names)/2], 1); err != nil {
		t.Fatal(err)
	}
	before := filesOf(t, fs, o.saved.mark)
	fs.SetCapacity(1)
	if _, err := Salvage(fs, testDir, o.opts, o.saved.mark, donorDir); !errors.Is(err,
		vfs.ErrNoSpace) {
		t.Fatal(err)
	}
	if after := filesOf(t, fs, o.saved.mark); !maps.Equal(after, before) {
		t.Fatalf("%v, was %v", after, before)
	}
}
