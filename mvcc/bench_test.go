package mvcc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

const (
	benchKeys  = 1_000_000
	benchBatch = 256 // transactions in a Publish
)

func benchKey(buf []byte, i int) []byte {
	return fmt.Appendf(buf[:0], "/registry/pods/default/p%08d", uint32(i)*2654435761%100_000_000)
}

// benchStore is a store on the real file system with n keys of 32 bytes and values of 256.
func benchStore(b *testing.B, n int) (*Store, *revlog.Log, string) {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "revlog")
	log, err := revlog.Open(vfs.OS(), dir, revlog.Options{}, revlog.Mark{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(log, FirstRev, NeverCompacted)
	if err != nil {
		b.Fatal(err)
	}
	var key []byte
	for i := range n {
		key = benchKey(key, i)
		benchPut(b, s, key)
		if i%benchBatch == 0 || i == n-1 {
			benchPublish(b, s)
		}
		if i%(64<<10) == 0 {
			if err := log.Prepare(); err != nil {
				b.Fatal(err)
			}
		}
	}
	return s, log, dir
}

var benchValue = make([]byte, 256)

func benchPut(b *testing.B, s *Store, key []byte) {
	tx := s.Begin()
	if _, _, err := tx.Put(key, benchValue, 0); err != nil {
		b.Fatal(err)
	}
	tx.End()
}

func benchPublish(b *testing.B, s *Store) {
	if _, _, err := s.Publish(); err != nil {
		b.Fatal(err)
	}
}

func closeBench(b *testing.B, log *revlog.Log) {
	b.StopTimer()
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkPutExisting(b *testing.B) {
	s, log, _ := benchStore(b, benchKeys)
	defer closeBench(b, log)
	r := rand.New(rand.NewPCG(1, 1))
	var key []byte
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		key = benchKey(key, r.IntN(benchKeys))
		benchPut(b, s, key)
		if n++; n%benchBatch == 0 {
			benchPublish(b, s)
		}
	}
	benchPublish(b, s)
}

func BenchmarkPutNew(b *testing.B) {
	s, log, _ := benchStore(b, 0)
	defer closeBench(b, log)
	var key []byte
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		key = benchKey(key, n)
		benchPut(b, s, key)
		if n++; n%benchBatch == 0 {
			benchPublish(b, s)
		}
	}
	benchPublish(b, s)
}

func benchRange(b *testing.B, limit int64) {
	s, log, _ := benchStore(b, benchKeys/10)
	defer closeBench(b, log)
	r := rand.New(rand.NewPCG(1, 1))
	ctx, h := context.Background(), cairn.Header{ClusterID: 1, MemberID: 2, RaftTerm: 3}
	q := cairn.RangeRequest{Limit: limit}
	var key, reply []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		key = benchKey(key, r.IntN(benchKeys/10))
		if q.Key = key; limit > 0 {
			q.End = append(q.End[:0], "/registry/pods/default/p"...)
			q.End = fmt.Appendf(q.End, "%08d", benchEnd(key, int(limit)))
		}
		if reply, err = s.AppendRange(ctx, reply[:0], &h, &q); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(reply)))
}

// benchEnd is a number some 20% more than limit keys behind key.
func benchEnd(key []byte, limit int) int {
	n := 0
	for _, c := range key[len(key)-8:] {
		n = n*10 + int(c-'0')
	}
	return n + limit*12/10*(100_000_000/(benchKeys/10))
}

func BenchmarkGet(b *testing.B)      { benchRange(b, 0) }
func BenchmarkRange10(b *testing.B)  { benchRange(b, 10) }
func BenchmarkRange500(b *testing.B) { benchRange(b, 500) }

// BenchmarkRebuild1M is Open with a million records of some 300 bytes.
func BenchmarkRebuild1M(b *testing.B) {
	s, log, dir := benchStore(b, benchKeys)
	mark, rev := s.Mark(), s.Rev()
	if err := log.Sync(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		if err := log.Close(); err != nil {
			b.Fatal(err)
		}
		var err error
		if log, err = revlog.Open(vfs.OS(), dir, revlog.Options{}, mark); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if s, err = Open(log, rev, NeverCompacted); err != nil || s.Stats().Keys != benchKeys {
			b.Fatal(err)
		}
	}
	closeBench(b, log)
}
