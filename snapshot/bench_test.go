package snapshot

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

// benchRecords are the records of a benchmark's store, keys of 21 and values of 256 bytes.
const benchRecords = 200_000

func benchStore(b *testing.B) (*mvcc.Store, vfs.FS, string) {
	b.Helper()
	fsys, dir := vfs.OS(), b.TempDir()
	log, err := revlog.Open(fsys, filepath.Join(dir, "revlog"), revlog.Options{}, revlog.Mark{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	store, err := mvcc.Open(log, mvcc.FirstRev, mvcc.NeverCompacted)
	if err != nil {
		b.Fatal(err)
	}
	return store, fsys, dir
}

// fill puts keys from one number to another.
func fill(b *testing.B, s *mvcc.Store, from, to int) {
	b.Helper()
	value := bytes.Repeat([]byte{'v'}, 256)
	for i := from; i < to; i++ {
		tx := s.Begin()
		_, _, err := tx.Put(fmt.Appendf(nil, "/registry/pod/%07d", i), value, cairn.LeaseID(0))
		tx.End()
		if i%100 == 99 || err != nil {
			if _, _, err2 := s.Publish(); err != nil || err2 != nil {
				b.Fatal(err, err2)
			}
		}
	}
}

func benchSend(b *testing.B, have Have, compact bool) {
	store, _, _ := benchStore(b)
	fill(b, store, 0, benchRecords)
	if compact {
		if err := store.Compact(store.Rev()); err != nil {
			b.Fatal(err)
		}
		if _, _, err := store.Publish(); err != nil {
			b.Fatal(err)
		}
	}
	var stats Stats
	b.ReportAllocs()
	for b.Loop() {
		var err error
		stats, err = Send(b.Context(), io.Discard, Source{View: store.View()}, have, Limits{})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(stats.Bytes)
	perRecord := float64(stats.Kept+stats.Records) * float64(b.N)
	b.ReportMetric(perRecord/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkSend(b *testing.B) {
	b.Run("all", func(b *testing.B) { benchSend(b, Have{Base: 1, CompactRev: -1}, false) })
	b.Run("compacted", func(b *testing.B) { benchSend(b, Have{Base: 1, CompactRev: -1}, true) })
	b.Run("kept", func(b *testing.B) {
		benchSend(b, Have{Base: benchRecords * 9 / 10, CompactRev: -1}, true)
	})
}

// BenchmarkReceive and BenchmarkGraft bring all records to an empty store.
func BenchmarkReceive(b *testing.B) { benchBring(b, true) }
func BenchmarkGraft(b *testing.B)   { benchBring(b, false) }

func benchBring(b *testing.B, receive bool) {
	leader, _, _ := benchStore(b)
	fill(b, leader, 0, benchRecords)
	var stream bytes.Buffer
	stats, err := Send(b.Context(), &stream, Source{View: leader.View()},
		Have{Base: 1, CompactRev: -1}, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		store, fsys, dir := benchStore(b)
		in, err := Open(fsys, filepath.Join(dir, "incoming"), Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := in.Have(store.Rev(), store.CompactRev()); err != nil {
			b.Fatal(err)
		}
		if receive {
			b.StartTimer()
		}
		err = in.Receive(b.Context(), bytes.NewReader(stream.Bytes()))
		if err == nil && !receive {
			b.StartTimer()
			_, err = in.Graft(store)
		}
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		_ = in.Remove()
		b.StartTimer()
	}
	b.SetBytes(stats.Bytes)
	b.ReportMetric(benchRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
