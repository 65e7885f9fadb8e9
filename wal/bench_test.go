package wal

import (
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairnkv/cairn/vfs"
)

// BenchmarkAppend is one batch: Append and Flush of entries of 300 bytes, with the background step
// and truncation that a server does.
func BenchmarkAppend(b *testing.B) {
	for _, disk := range []string{"mem", "os"} {
		for _, sync := range []bool{false, true} {
			for _, n := range []uint64{1, 10, 1000} {
				b.Run(fmt.Sprintf("%s/sync=%v/entries=%d", disk, sync, n), func(b *testing.B) {
					fs, dir := vfs.FS(vfs.NewMem()), testDir
					if disk == "os" {
						fs, dir = vfs.OS(), filepath.Join(b.TempDir(), "wal")
					}
					benchmarkAppend(b, fs, dir, sync, n)
				})
			}
		}
	}
}

func benchmarkAppend(b *testing.B, fs vfs.FS, dir string, sync bool, n uint64) {
	const size, upkeep = 300, 4 << 20
	w, err := Open(fs, dir, Options{})
	must(b, err)
	must(b, w.Prepare())
	entries := run(1, n+1, 1, size)
	hs := hard(1, 1, 0)
	var written uint64
	b.SetBytes(int64(n * size))
	b.ReportAllocs()
	for b.Loop() {
		// The cache keeps the entries of the last batches: changing them is good enough here.
		for i, e := range entries {
			*e.Index = w.state.last + 1 + uint64(i)
		}
		*hs.Commit = w.state.last
		must(b, w.Append(hs, entries))
		must(b, w.Flush(sync))
		if written += n * size; written >= upkeep {
			b.StopTimer()
			written = 0
			must(b, w.Truncate(w.state.last))
			must(b, w.Prepare())
			b.StartTimer()
		}
	}
	must(b, w.Close())
}

// BenchmarkEntries reads entries of 300 bytes back, 100 at a time.
func BenchmarkEntries(b *testing.B) {
	for _, cache := range []int64{1, 1 << 30} {
		b.Run(fmt.Sprintf("cache=%d", cache), func(b *testing.B) {
			w, err := Open(vfs.OS(), filepath.Join(b.TempDir(), "wal"), Options{CacheBytes: cache})
			must(b, err)
			must(b, w.Append(nil, run(1, 20_001, 1, 300)))
			must(b, w.Flush(true))
			at := uint64(1)
			b.ReportAllocs()
			var got []*raftpb.Entry
			for b.Loop() {
				got, err = w.Entries(at, at+100, 1<<20)
				must(b, err)
				at = at%19_000 + uint64(len(got))
			}
			must(b, w.Close())
		})
	}
}

// BenchmarkOpen reads a full segment back.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "wal")
	w, err := Open(vfs.OS(), dir, Options{})
	must(b, err)
	for i := uint64(1); i <= 180_000; i += 1000 {
		must(b, w.Append(nil, run(i, i+1000, 1, 300)))
		must(b, w.Flush(false))
	}
	must(b, w.Close())
	b.SetBytes(w.off)
	for b.Loop() {
		w, err := Open(vfs.OS(), dir, Options{})
		must(b, err)
		must(b, w.Close())
	}
}
