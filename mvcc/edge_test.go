package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/wire"
)

// newStore is an empty store in memory.
func newStore(t *testing.T) (*Store, *revlog.Log, *vfs.Mem) {
	t.Helper()
	fs := vfs.NewMem()
	log, err := revlog.Open(fs, testDir, testOptions(), revlog.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(log, FirstRev, NeverCompacted)
	if err != nil {
		t.Fatal(err)
	}
	return s, log, fs
}

func mustPut(t *testing.T, s *Store, key, value string) {
	t.Helper()
	tx := s.Begin()
	if _, _, err := tx.Put([]byte(key), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
	tx.End()
	if _, _, err := s.Publish(); err != nil {
		t.Fatal(err)
	}
}

// TestDamage flips each byte of the log in turn: whatever is read afterwards is right or a
// *revlog.CorruptError, and dst is given back as it was.
func TestDamage(t *testing.T) {
	s, log, fs := newStore(t)
	for i := range 20 {
		mustPut(t, s, fmt.Sprintf("k%02d", i), strings.Repeat("v", i*5))
	}
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.OpenReadWrite(filepath.Join(testDir, names[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := &cairn.RangeRequest{Key: []byte{0}, End: []byte{0}}
	ctx := context.Background()
	whole, err := s.AppendRange(ctx, nil, &cairn.Header{}, all)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	end := s.Mark().Offset
	for off := int64(0); off < end; off++ {
		var b [1]byte
		if _, err := f.ReadAt(b[:], off); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := f.WriteAt(b[:], off); err != nil {
			t.Fatal(err)
		}
		got, err := s.AppendRange(ctx, []byte("x"), &cairn.Header{}, all)
		var corrupt *revlog.CorruptError
		switch {
		case errors.As(err, &corrupt):
			refused++
			if string(got) != "x" {
				t.Fatalf("offset %d: %q came with the error", off, got)
			}
			if _, _, _, err := s.HashKV(ctx, 0); !errors.As(err, &corrupt) {
				t.Fatalf("offset %d: HashKV: %v", off, err)
			}
		case err != nil || !bytes.Equal(got[1:], whole):
			t.Fatalf("offset %d: wrong reply, %v", off, err)
		}
		b[0] ^= 0x10
		if _, err := f.WriteAt(b[:], off); err != nil {
			t.Fatal(err)
		}
	}
	if refused < 1000 {
		t.Errorf("only %d of %d flips were found", refused, end)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOpenRefuses opens logs that do not belong to the checkpoint's revision.
func TestOpenRefuses(t *testing.T) {
	s, log, fs := newStore(t)
	for i := range 5 {
		mustPut(t, s, "k", fmt.Sprint(i))
	}
	mark := s.Mark()
	if err := log.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		rev, compactRev int64
		want            error
	}{
		{6, NeverCompacted, nil}, {6, 6, nil}, {9, 7, nil},
		{5, NeverCompacted, ErrIncomplete}, {0, NeverCompacted, errAny}, {6, 7, errAny},
	}
	for _, tt := range tests {
		log, err := revlog.Open(fs, testDir, testOptions(), mark)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(log, tt.rev, tt.compactRev)
		if tt.want == errAny && err == nil || tt.want != errAny && !errors.Is(err, tt.want) {
			t.Errorf("Open at %d, %d: %v", tt.rev, tt.compactRev, err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

var errAny = errors.New("any error")

// TestMissingRecord opens a log in which a version is missing between two others.
func TestMissingRecord(t *testing.T) {
	fs := vfs.NewMem()
	log, err := revlog.Open(fs, testDir, testOptions(), revlog.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range []cairn.KeyValue{
		{Key: []byte("k"), CreateRevision: 2, ModRevision: 2, Version: 1},
		{Key: []byte("k"), CreateRevision: 2, ModRevision: 4, Version: 3},
	} {
		rev := cairn.Revision{Main: kv.ModRevision}
		if _, err := log.Append(rev, false, wire.AppendKeyValue(nil, &kv)); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(log, 4, NeverCompacted); !errors.Is(err, ErrIncomplete) {
		t.Errorf("Open: %v", err)
	}
	if _, err := Open(log, 4, 4); err != nil {
		t.Errorf("Open, compacted: %v", err) // what is missing would have been dropped
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestViewHoldsCompactionBack reads through a view that is older than a compaction.
func TestViewHoldsCompactionBack(t *testing.T) {
	s, log, _ := newStore(t)
	mustPut(t, s, "a", "1")
	mustPut(t, s, "a", "2")
	view := s.View()
	mustPut(t, s, "a", "3")
	if err := s.Compact(4); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Publish(); err != nil {
		t.Fatal(err)
	}
	later := s.View()
	for range 10 {
		if !s.CompactStep(1000) {
			t.Fatal("CompactStep has something to do")
		}
	}
	if s.CompactedRev() != NeverCompacted || s.Stats().Versions != 3 {
		t.Fatalf("compacted to %d, %+v", s.CompactedRev(), s.Stats())
	}
	for rev, want := range map[int64]string{1: "", 2: "1", 3: "2", 0: "2"} {
		q := &cairn.RangeRequest{Key: []byte("a"), Revision: rev}
		got, err := view.AppendRange(nil, &cairn.Header{}, q)
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("at %d: %q %v", rev, got, err)
		}
		_, err = later.AppendRange(nil, &cairn.Header{}, q)
		if rev != 0 && !errors.Is(err, cairn.ErrCompacted) {
			t.Errorf("at %d, later: %v", rev, err)
		}
	}
	view.Close()
	if !s.CompactStep(1000) || s.CompactedRev() != 4 || s.Stats().Versions != 1 {
		t.Fatalf("compacted to %d, %+v", s.CompactedRev(), s.Stats())
	}
	later.Close()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCompactShowsWithPublish: in a batch, a compaction is refused or obeyed at once by what comes
// after it, and readers do not see it before they see the revisions that it came after.
func TestCompactShowsWithPublish(t *testing.T) {
	s, log, _ := newStore(t)
	mustPut(t, s, "a", "1")
	tx := s.Begin()
	if _, _, err := tx.Put([]byte("a"), []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	tx.End()
	if err := s.Compact(3); err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(3); !errors.Is(err, cairn.ErrCompacted) {
		t.Errorf("a second Compact: %v", err)
	}
	q := &cairn.RangeRequest{Key: []byte("a"), Revision: 2}
	if _, err := s.AppendRange(context.Background(), nil, &cairn.Header{}, q); err != nil {
		t.Errorf("a reader at revision 2 before Publish: %v", err)
	}
	tx = s.Begin()
	if _, err := tx.AppendRange(nil, &cairn.Header{}, q); !errors.Is(err, cairn.ErrCompacted) {
		t.Errorf("a transaction at revision 2: %v", err)
	}
	for rev, want := range map[int64]error{
		0: nil, -1: cairn.ErrCompacted, 2: cairn.ErrCompacted, 3: nil, 4: cairn.ErrFutureRev,
	} {
		q := &cairn.RangeRequest{Key: []byte("a"), Revision: rev}
		if err := tx.CheckRange(q); !errors.Is(err, want) {
			t.Errorf("CheckRange(%d): %v", rev, err)
		}
	}
	tx.End()
	if _, _, err := s.Publish(); err != nil {
		t.Fatal(err)
	}
	_, err := s.AppendRange(context.Background(), nil, &cairn.Header{}, q)
	if !errors.Is(err, cairn.ErrCompacted) {
		t.Errorf("a reader at revision 2 after Publish: %v", err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestUnwrittenRecord keeps a payload that was read before it was flushed while the log's buffer
// goes on.
func TestUnwrittenRecord(t *testing.T) {
	log, err := revlog.Open(vfs.NewMem(), testDir, revlog.Options{}, revlog.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(log, FirstRev, NeverCompacted)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "large", strings.Repeat("x", 1<<20)) // so that the log has a buffer
	tx := s.Begin()
	if _, _, err := tx.Put([]byte("a"), []byte("first"), 0); err != nil {
		t.Fatal(err)
	}
	v, _ := tx.Get([]byte("a"))
	kv, err := tx.KV(v)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(kv)
	for i := range 40 { // fills the log's buffer, which is flushed and used again
		if _, _, err := tx.Put(fmt.Appendf(nil, "b%d", i), make([]byte, 1<<19), 0); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(kv, want) {
		t.Errorf("%q became %q", want, kv)
	}
	tx.End()
	if _, _, err := s.Publish(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCanceledContext: long reads look at the context.
func TestCanceledContext(t *testing.T) {
	s, log, _ := newStore(t)
	for i := range 3 * ctxRecords {
		mustPut(t, s, fmt.Sprint("k", i), "v")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	all := &cairn.RangeRequest{Key: []byte{0}, End: []byte{0}}
	sorted := &cairn.RangeRequest{Key: []byte{0}, End: []byte{0}, SortOrder: cairn.SortDescend}
	count := &cairn.RangeRequest{Key: []byte{0}, End: []byte{0}, CountOnly: true}
	for _, q := range []*cairn.RangeRequest{all, sorted, count} {
		if _, err := s.AppendRange(ctx, nil, &cairn.Header{}, q); !errors.Is(err, ctx.Err()) {
			t.Errorf("AppendRange: %v", err)
		}
	}
	err := s.StreamRange(ctx, &cairn.Header{}, all, 1, func([]byte) error { return nil })
	if !errors.Is(err, ctx.Err()) {
		t.Errorf("StreamRange: %v", err)
	}
	if _, err := s.Changes(ctx, 0, 999, 999, 1<<20,
		func(*Event) error { return nil }); !errors.Is(err, ctx.Err()) {
		t.Errorf("Changes: %v", err)
	}
	if _, _, _, err := s.HashKV(ctx, 0); !errors.Is(err, ctx.Err()) {
		t.Errorf("HashKV: %v", err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFailedFlush: what was not written is not shown.
func TestFailedFlush(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem())
	log, err := revlog.Open(faulty, testDir, testOptions(), revlog.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(log, FirstRev, NeverCompacted)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "a", "1")
	tx := s.Begin()
	if _, _, err := tx.Put([]byte("a"), []byte("2"), 0); err != nil {
		t.Fatal(err)
	}
	tx.End()
	faulty.Inject(vfs.Fault{Match: func(op vfs.Op) bool { return op.Kind == vfs.OpWrite }})
	if _, _, err := s.Publish(); !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("Publish: %v", err)
	}
	view := s.View()
	defer view.Close()
	v, ok := view.Get([]byte("a"))
	if kv, err := view.KV(v); !ok || err != nil || !bytes.Contains(kv, []byte("1")) {
		t.Errorf("after the failure: %q %v", kv, err)
	}
	if s.Rev() != 2 {
		t.Errorf("revision %d", s.Rev())
	}
}

// TestOpenDamaged: a damaged record is named by file and offset.
func TestOpenDamaged(t *testing.T) {
	s, log, fs := newStore(t)
	for i := range 200 { // several segments: Open checks the last one itself
		mustPut(t, s, fmt.Sprint("k", i), strings.Repeat("v", 100))
	}
	mark := s.Mark()
	if err := log.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fs.OpenReadWrite(filepath.Join(testDir, names[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xee}, 500); err != nil {
		t.Fatal(err)
	}
	if log, err = revlog.Open(fs, testDir, testOptions(), mark); err != nil {
		t.Fatal(err)
	}
	var corrupt *revlog.CorruptError
	if _, err := Open(log, 201, NeverCompacted); !errors.As(err, &corrupt) {
		t.Errorf("Open: %v", err)
	} else if filepath.Base(corrupt.File) != names[0] {
		t.Errorf("Open: %v", err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBudgetOfFewKeys: a range of few keys with large values is beyond its budget too, before much
// of it was built.
func TestBudgetOfFewKeys(t *testing.T) {
	s, log, _ := newStore(t)
	defer log.Close()
	const value, budget = 16 << 10, 64 << 10
	for i := range 64 {
		mustPut(t, s, fmt.Sprintf("k%02d", i), strings.Repeat("v", value))
	}
	for _, order := range []cairn.SortOrder{cairn.SortNone, cairn.SortDescend} {
		r := &cairn.RangeRequest{Key: []byte("k"), End: []byte("l"), SortOrder: order}
		got, err := s.AppendRangeWithin(context.Background(), nil, &cairn.Header{}, r,
			Budget{Keys: 9 * chunkKeys, Bytes: budget})
		if !errors.Is(err, ErrLong) || len(got) > 0 || cap(got) > 3*budget {
			t.Errorf("order %d: %d bytes, room for %d, %v", order, len(got), cap(got), err)
		}
		r.Limit = 3
		got, err = s.AppendRangeWithin(context.Background(), nil, &cairn.Header{}, r,
			Budget{Keys: 9 * chunkKeys, Bytes: budget})
		if err != nil || len(got) < 3*value {
			t.Errorf("order %d, three of them: %d bytes, %v", order, len(got), err)
		}
	}
}
