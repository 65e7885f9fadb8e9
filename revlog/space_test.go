package revlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// dirBytes is what the log's files take, and how many there are.
func dirBytes(t *testing.T, fs vfs.FS) (bytes int64, files int) {
	t.Helper()
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := fs.Stat(filepath.Join(testDir, name))
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	return bytes, len(names)
}

func (o *owner) liveBytes() (n int64) {
	for _, list := range o.index {
		for _, v := range list {
			n += recordSize(len(o.recs[v.at].kv))
		}
	}
	return n
}

// settle compacts up to now and reclaims.
func (o *owner) settle() error {
	o.compactStep(1 << 30)
	o.compact(o.rev)
	o.compactStep(1 << 30)
	if err := o.checkpoint(); err != nil {
		return err
	}
	return o.reclaimAll()
}

// TestSpace overwrites keys in different ways; then compaction brings the directory below one and a
// half times the live data, and the number of files below a bound.
func TestSpace(t *testing.T) {
	const keys, segment = 8000, 32 << 10
	key := func(i int) string { return fmt.Sprintf("key-%05d", i) }
	one := func(o *owner, keys, size int) rec { return put(key(o.rng.IntN(keys)), o.value(size)) }
	patterns := map[string]func(o *owner, i int) rec{
		"in order":    func(o *owner, i int) rec { return put(key(i%keys), o.value(250)) },
		"uniform":     func(o *owner, i int) rec { return one(o, keys, 250) },
		"hot set":     func(o *owner, i int) rec { return one(o, keys/20, 250) },
		"other sizes": func(o *owner, i int) rec { return one(o, keys, 900) },
		"half deleted": func(o *owner, i int) rec {
			if k := key(o.rng.IntN(keys)); !o.exists(k) || i%2 == 0 {
				return put(k, o.value(250))
			} else {
				return del(k)
			}
		},
	}
	for name, pattern := range patterns {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			o, err := newOwner(fs, Options{SegmentBytes: segment}, testSeed(t, 1))
			if err != nil {
				t.Fatal(err)
			}
			for i := range keys {
				if err := o.txn(put(key(i), o.value(250))); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 3 * keys {
				if err := o.txn(pattern(o, i)); err != nil {
					t.Fatal(err)
				}
				if i%2000 == 0 {
					if err := o.checkpoint(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := o.settle(); err != nil {
				t.Fatal(err)
			}
			checkSpace(t, o, 1.5)
			if err := o.check(); err != nil {
				t.Fatal(err)
			}
			if err := o.open(); err != nil {
				t.Fatal(err)
			}
			checkSpace(t, o, 1.5)
			s := o.log.Stats()
			t.Logf("live %d, %+v", o.liveBytes(), s)
		})
	}
}

func checkSpace(t *testing.T, o *owner, factor float64) {
	t.Helper()
	live := o.liveBytes()
	bytes, files := dirBytes(t, o.fs)
	if float64(bytes) > factor*float64(live) {
		t.Fatalf("%d bytes on disk, %d live: %.2f times", bytes, live, float64(bytes)/float64(live))
	}
	if most := int(3*live/o.opts.SegmentBytes) + 3; files > most {
		t.Fatalf("%d files for %d live bytes, want at most %d", files, live, most)
	}
	s := o.log.Stats()
	if s.PinnedBytes != 0 || s.DiskBytes != bytes {
		t.Fatalf("stats say %d bytes on disk, %d pinned; the directory has %d",
			s.DiskBytes, s.PinnedBytes, bytes)
	}
}

func (o *owner) value(n int) []byte {
	b := make([]byte, n)
	b[0], b[n-1] = byte(o.rng.Uint32()), byte(o.rng.Uint32())
	return b
}

// TestChurn creates and deletes keys, a hundred times the live set in sum, beside keys that stay
// and some that change now and then; the directory stays bounded all along, tombstones and all.
func TestChurn(t *testing.T) {
	const stay, segment = 400, 16 << 10
	fs := vfs.NewMem()
	o, err := newOwner(fs, Options{SegmentBytes: segment}, testSeed(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	for i := range stay {
		if err := o.txn(put(fmt.Sprintf("stay-%d", i), o.value(200))); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 100 {
		for i := range stay {
			key := fmt.Sprintf("event-%d-%d", round, i)
			if err := errors.Join(o.txn(put(key, o.value(60))), o.txn(del(key))); err != nil {
				t.Fatal(err)
			}
			if i%50 == 0 {
				key := fmt.Sprintf("stay-%d", o.rng.IntN(stay))
				if err := o.txn(put(key, o.value(200))); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := o.settle(); err != nil {
			t.Fatal(err)
		}
		bytes, files := dirBytes(t, fs)
		if live := o.liveBytes(); bytes > 3*live/2+2*segment || files > 20 {
			t.Fatalf("round %d: %d bytes in %d files, %d live", round, bytes, files, live)
		}
	}
	s := o.log.Stats()
	t.Logf("live %d, %+v", o.liveBytes(), s)
	if s.Reclaim.Sweeps == 0 {
		t.Error("tombstones never piled up: the test is too weak")
	}
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
}

// TestReclaimNoSpace fills the disk: reclaim gives up, tries smaller pieces, and ends with space.
func TestReclaimNoSpace(t *testing.T) {
	const segment = 64 << 10
	fs := vfs.NewMem()
	o, err := newOwner(fs, Options{SegmentBytes: segment}, testSeed(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(2 << 20)
	var full error
	for i := 0; full == nil; i++ {
		key := fmt.Sprintf("key-%d", i%(5+2*(i/50)))
		if err := o.txn(put(key, o.value(500))); err != nil {
			t.Fatal(err) // the segment ahead gives warning before this
		}
		full = o.log.Prepare()
	}
	if !errors.Is(full, vfs.ErrNoSpace) {
		t.Fatal(full)
	}
	fs.SetCapacity(fs.Used() + 16<<10) // someone else took the rest, but for a little
	if err := o.checkpoint(); err != nil {
		t.Fatal(err)
	}
	o.compact(o.rev)
	o.compactStep(1 << 30)
	if err := o.checkpoint(); err != nil {
		t.Fatal(err)
	}
	seen := map[ReclaimState]int{}
	for range 100_000 {
		state, err := o.reclaimStep()
		if err != nil {
			t.Fatal(err)
		}
		seen[state]++
	}
	if seen[ReclaimNoSpace] == 0 || seen[ReclaimWorked] == 0 {
		t.Fatalf("the disk was not full enough for this test: %v", seen)
	}
	if err := o.log.Prepare(); err != nil {
		t.Fatal(err)
	}
	if live, n := o.liveBytes(), o.log.Stats().RecordBytes; n > 3*live/2 {
		t.Fatalf("%d bytes of records, %d live", n, live)
	}
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
}

// TestFull appends until neither the active segment nor the disk has room.
func TestFull(t *testing.T) {
	fs := vfs.NewMem()
	fs.SetCapacity(100 << 10)
	log, err := Open(fs, testDir, Options{SegmentBytes: 32 << 10}, Mark{})
	if err != nil {
		t.Fatal(err)
	}
	warned := int64(0)
	for main := int64(1); ; main++ {
		_, err = log.Append(cairn.Revision{Main: main}, false, make([]byte, 400))
		if err != nil {
			if warned == 0 || main-warned < 50 {
				t.Errorf("warned at %d, failed at %d", warned, main)
			}
			break
		}
		if err := log.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := log.Prepare(); warned == 0 && errors.Is(err, vfs.ErrNoSpace) {
			warned = main
		}
	}
	if !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatal(err)
	}
	mark := log.Mark()
	if err := log.Sync(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(fs.CrashClone(nil), testDir, Options{SegmentBytes: 32 << 10}, mark)
	if err != nil {
		t.Fatal(err)
	}
	if again.Last() != log.Last() {
		t.Fatalf("last revision %v, was %v", again.Last(), log.Last())
	}
}

// TestOpenFull opens a log on a disk without any room, at a mark in a segment that was sealed
// since: what is there can be read, synced and compacted.
func TestOpenFull(t *testing.T) {
	fs := vfs.NewMem()
	o, err := newOwner(fs, Options{SegmentBytes: 64 << 10}, testSeed(t, 4))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := o.txn(put(fmt.Sprint(i%10), o.value(1000))); err != nil {
			t.Fatal(err)
		}
		if i == 90 {
			if err := o.checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(o.log.Flush(), o.log.Sync()); err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(1)
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
	var full error
	for full == nil {
		full = o.txn(put("key", o.value(10)))
	}
	if !errors.Is(full, vfs.ErrNoSpace) {
		t.Fatal(full)
	}
	o.rev-- // the transaction did not happen
	if err := o.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
}
