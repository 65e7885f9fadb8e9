package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

const benchKeys = 1_000_000

func benchKey(buf []byte, i int) []byte {
	return fmt.Appendf(buf[:0], "/registry/pods/default/p%08d", uint32(i)*2654435761%100_000_000)
}

func filled(b *testing.B, n int) *Index {
	b.Helper()
	x := New()
	var buf []byte
	for i := range n {
		buf = benchKey(buf, i)
		rev := int64(i + 2)
		if _, err := x.Put(buf, Version{Main: rev, Create: rev, Version: 1, Pos: 1}); err != nil {
			b.Fatal(err)
		}
	}
	return x
}

// BenchmarkMemory prints what the index takes for a key, without the key's own 32 bytes, and how
// long a garbage collection of it takes: of an index that was filled, and of one that was restored.
func BenchmarkMemory(b *testing.B) {
	b.Run("filled", func(b *testing.B) { benchMemory(b, filled) })
	b.Run("restored", func(b *testing.B) { benchMemory(b, restored) })
}

func benchMemory(b *testing.B, fill func(b *testing.B, n int) *Index) {
	var before, after runtime.MemStats
	var pause time.Duration
	var perKey, told float64
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		x := fill(b, benchKeys)
		runtime.GC()
		runtime.ReadMemStats(&after)
		start := time.Now()
		runtime.GC()
		pause = time.Since(start)
		perKey = float64(after.HeapAlloc-before.HeapAlloc)/float64(x.Len()) - 32
		told = float64(x.Bytes())/float64(x.Len()) - 32
		runtime.KeepAlive(x)
	}
	b.ReportMetric(float64(pause.Microseconds()), "GC-µs")
	b.ReportMetric(perKey, "B/key")
	b.ReportMetric(told, "Bytes()/key")
}

func restored(_ *testing.B, n int) *Index {
	x := New()
	x.RestoreBegin()
	var buf []byte
	for i := range n {
		rev := int64(i + 2)
		buf = benchKey(buf, i)
		v := Version{Main: rev, Create: rev, Version: 1, Pos: 1}
		_, _ = x.Restore(buf, v, 0, nil)
	}
	x.RestoreEnd()
	return x
}

func BenchmarkPutNew(b *testing.B) {
	x, rev := New(), int64(1)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		rev++
		buf = benchKey(buf, int(rev))
		_, _ = x.Put(buf, Version{Main: rev, Create: rev, Version: 1, Pos: 1})
	}
}

func BenchmarkPutExisting(b *testing.B) {
	x, rev := filled(b, benchKeys), int64(benchKeys+2)
	r := rand.New(rand.NewPCG(1, 1))
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		rev++
		buf = benchKey(buf, r.IntN(benchKeys))
		id := x.Find(buf)
		v := x.Newest(id)
		v.Main, v.Version = rev, v.Version+1
		_, _ = x.Put(buf, v)
	}
}

func BenchmarkFind(b *testing.B) {
	x := filled(b, benchKeys)
	r := rand.New(rand.NewPCG(1, 1))
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = benchKey(buf, r.IntN(benchKeys))
		if x.Newest(x.Find(buf)).Main == 0 {
			b.Fatal("not found")
		}
	}
}

// BenchmarkCount1M counts a million keys of which none, some or all have changed since the revision
// that is read.
func BenchmarkCount1M(b *testing.B) {
	for _, changed := range []int{0, 100, benchKeys} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			x, rev := filled(b, benchKeys), int64(benchKeys+2)
			var buf []byte
			for i := range changed {
				buf = benchKey(buf, i)
				v := x.Newest(x.Find(buf))
				v.Main, v.Version = rev+1+int64(i), 2
				_, _ = x.Put(buf, v)
			}
			b.ReportAllocs()
			for b.Loop() {
				if n, next := x.Count(nil, nil, rev, 1<<30); n != benchKeys || next != 0 {
					b.Fatal(n, next)
				}
			}
		})
	}
}

func BenchmarkRestore1M(b *testing.B) {
	for b.Loop() {
		restored(b, benchKeys)
	}
}

// BenchmarkCompact1M overwrites 1M keys once, compacts, and prints the longest step of 256 units.
func BenchmarkCompact1M(b *testing.B) {
	x, rev := filled(b, benchKeys), int64(benchKeys+2)
	var buf []byte
	var worst, total time.Duration
	var dropped []uint64
	for b.Loop() {
		b.StopTimer()
		for i := range benchKeys {
			rev++
			buf = benchKey(buf, i)
			id := x.Find(buf)
			v := x.Newest(id)
			v.Main, v.Version = rev, v.Version+1
			_, _ = x.Put(buf, v)
		}
		b.StartTimer()
		x.CompactBegin(rev)
		for done := false; !done; {
			start := time.Now()
			dropped, done = x.CompactStep(256, dropped[:0])
			d := time.Since(start)
			worst, total = max(worst, d), total+d
		}
	}
	b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
	b.ReportMetric(float64(total.Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
}

// BenchmarkHotKey reads versions of a key that has a million.
func BenchmarkHotKey(b *testing.B) {
	x := New()
	key := []byte("hot")
	for i := range int64(benchKeys) {
		_, _ = x.Put(key, Version{Main: i + 2, Create: 2, Version: i + 1, Pos: 1})
	}
	r := rand.New(rand.NewPCG(1, 1))
	id := x.Find(key)
	b.ReportAllocs()
	for b.Loop() {
		rev := 2 + r.Int64N(benchKeys)
		if v, _ := x.At(id, rev); v.Main != rev {
			b.Fatal(v)
		}
	}
	b.ReportMetric(float64(x.nodesUsed*32)/benchKeys, "B/version")
}
