package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/raft/v3"

	"github.com/cairnkv/cairn/vfs"
)

// TestConcurrent runs the owner, the background step and readers at once, for the race detector.
func TestConcurrent(t *testing.T) {
	for _, disk := range []struct {
		name string
		fs   vfs.FS
		dir  string
	}{{"Mem", vfs.NewMem(), testDir}, {"OS", vfs.OS(), filepath.Join(t.TempDir(), "wal")}} {
		t.Run(disk.name, func(t *testing.T) {
			w, err := Open(disk.fs, disk.dir, Options{SegmentBytes: 16 << 10, CacheBytes: 4000})
			must(t, err)
			done := make(chan struct{})
			var wg sync.WaitGroup
			background(&wg, done, func() error { return w.Prepare() }, t)
			for seed := range uint64(2) {
				rng := rand.New(rand.NewPCG(seed, 11))
				background(&wg, done, func() error { return readSome(w, rng) }, t)
			}
			for i := uint64(0); i < 3000; i += 5 {
				must(t, w.Append(hard(1, 1, i), run(i+1, i+6, 1, 100)))
				must(t, w.Flush(i%50 == 0))
				if i%500 == 0 && i > 1000 {
					must(t, w.Truncate(i-1000))
				}
			}
			close(done)
			wg.Wait()
			must(t, w.Prepare()) // on a busy machine it may not have run since the last Truncate
			must(t, w.Close())
			w, err = Open(disk.fs, disk.dir, Options{})
			must(t, err)
			if w.LastIndex() != 3000 || w.FirstIndex() < 2 {
				t.Fatalf("the log is %d-%d", w.FirstIndex(), w.LastIndex())
			}
			must(t, w.Close())
		})
	}
}

// background repeats fn until done or it fails.
func background(wg *sync.WaitGroup, done chan struct{}, fn func() error, t *testing.T) {
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := fn(); err != nil {
				t.Error(err)
				return
			}
		}
	})
}

func readSome(w *WAL, rng *rand.Rand) error {
	first, last := w.FirstIndex(), w.LastIndex()
	if last < first {
		return nil
	}
	w.HardState()
	lo := first + rng.Uint64N(last-first+1)
	entries, err := w.Entries(lo, min(last, lo+50)+1, 2000)
	if errors.Is(err, raft.ErrCompacted) {
		return nil // meanwhile
	}
	if err != nil {
		return err
	}
	for i, e := range entries {
		want := run(lo+uint64(i), lo+uint64(i)+1, 1, 100)[0]
		if e.String() != want.String() {
			return fmt.Errorf("entry %d is %v", lo+uint64(i), e)
		}
	}
	if term, err := w.Term(lo); err != nil && !errors.Is(err, raft.ErrCompacted) || term > 1 {
		return fmt.Errorf("term of %d is %d, %w", lo, term, err)
	}
	return nil
}

// TestRealFiles does the random operations on the system's files.
func TestRealFiles(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 12))
		d := newDriver(t, rng, vfs.OS(), filepath.Join(t.TempDir(), "a", "wal"))
		must(t, d.open())
		for i := range 150 {
			if err := d.randomStep(); err != nil {
				t.Fatalf("seed %d: step %d: %v", seed, i, err)
			}
		}
		if diff := d.now.diff(d.w, true); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		must(t, d.reopen())
		must(t, d.w.Close())
	}
}
