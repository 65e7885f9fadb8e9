package revlog

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

const benchKVBytes = 300

func openBench(b *testing.B) *Log {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "revlog")
	log, err := Open(vfs.OS(), dir, Options{}, Mark{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	return log
}

// BenchmarkAppend is one record of a batch that is flushed.
func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			log := openBench(b)
			kv := make([]byte, benchKVBytes)
			b.SetBytes(benchKVBytes)
			b.ReportAllocs()
			main := int64(0)
			for b.Loop() {
				main++
				if _, err := log.Append(cairn.Revision{Main: main}, false, kv); err != nil {
					b.Fatal(err)
				}
				if main%int64(batch) == 0 {
					if err := log.Flush(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func fill(b *testing.B, log *Log, n int) []Pos {
	b.Helper()
	var all []Pos
	kv := make([]byte, benchKVBytes)
	for i := range n {
		pos, err := log.Append(cairn.Revision{Main: int64(i + 1)}, false, kv)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, pos)
	}
	if err := log.Flush(); err != nil {
		b.Fatal(err)
	}
	return all
}

func BenchmarkRead(b *testing.B) {
	log := openBench(b)
	all := fill(b, log, 500_000)
	rng := rand.New(rand.NewPCG(1, 1))
	b.SetBytes(benchKVBytes)
	b.ReportAllocs()
	for b.Loop() {
		pin := log.Pin()
		if _, err := log.Read(all[rng.IntN(len(all))]); err != nil {
			b.Fatal(err)
		}
		pin.Release()
	}
}

func BenchmarkScan(b *testing.B) {
	log := openBench(b)
	n := 500_000
	fill(b, log, n)
	b.SetBytes(int64(n) * recordSize(benchKVBytes))
	b.ReportAllocs()
	for b.Loop() {
		got := 0
		err := log.Scan(cairn.Revision{}, 1<<62, func(Pos, Record) (bool, error) {
			got++
			return true, nil
		})
		if err != nil || got != n {
			b.Fatal(got, err)
		}
	}
}

func BenchmarkPin(b *testing.B) {
	log := openBench(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			log.Pin().Release()
		}
	})
}
