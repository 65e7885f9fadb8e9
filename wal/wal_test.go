package wal

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t testing.TB, fs vfs.FS, opts Options) *WAL {
	t.Helper()
	w, err := Open(fs, testDir, opts)
	must(t, err)
	return w
}

// run makes the entries [from, to) of a term with data of the given size.
func run(from, to, term uint64, size int) []*raftpb.Entry {
	var entries []*raftpb.Entry
	for i := from; i < to; i++ {
		data := strings.Repeat(string(rune('a'+i%26)), size)
		entries = append(entries, plain{index: i, term: term, data: data}.entry())
	}
	return entries
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

// describe is a log in short: its range, terms and hard state.
func describe(t testing.TB, w *WAL) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%d-%d:", w.FirstIndex(), w.LastIndex())
	entries, err := w.Entries(w.FirstIndex(), w.LastIndex()+1, math.MaxUint64)
	must(t, err)
	for _, e := range entries {
		fmt.Fprintf(&b, " %d/%d", e.GetIndex(), e.GetTerm())
	}
	h, _ := hardStateOf(w.HardState())
	fmt.Fprintf(&b, " %v", h)
	return b.String()
}

func wantLog(t testing.TB, w *WAL, want string) {
	t.Helper()
	if got := describe(t, w); got != want {
		t.Fatalf("the log is %s\nwant       %s", got, want)
	}
}

func TestLifeOfALog(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{Metadata: []byte("id")})
	if w.HardState() != nil {
		t.Fatal("a new log has a hard state")
	}
	wantLog(t, w, "1-0: {0 0 0}")
	must(t, w.Append(hard(1, 2, 1), run(1, 4, 1, 10)))
	must(t, w.Append(hard(2, 0, 1), run(3, 5, 2, 10)))
	must(t, w.Flush(true))
	must(t, w.Append(&raftpb.HardState{}, nil)) // an empty one says nothing
	wantLog(t, w, "1-4: 1/1 2/1 3/2 4/2 {2 0 1}")
	must(t, w.Close())
	for _, err := range []error{w.Append(nil, nil), w.Flush(true), w.Prepare(), w.Close()} {
		if !errors.Is(err, ErrClosed) {
			t.Fatalf("a closed log answers %v", err)
		}
	}
	w = mustOpen(t, fs, Options{Metadata: []byte("another")})
	wantLog(t, w, "1-4: 1/1 2/1 3/2 4/2 {2 0 1}")
	if string(w.Metadata()) != "id" {
		t.Fatalf("metadata became %q", w.Metadata())
	}
	must(t, w.Truncate(1))
	must(t, w.Truncate(1))
	wantLog(t, w, "2-4: 2/1 3/2 4/2 {2 0 1}")
	must(t, w.Reset(9, 3))
	wantLog(t, w, "10-9: {2 0 9}")
	w = mustOpen(t, fs.CrashClone(nil), Options{})
	wantLog(t, w, "10-9: {2 0 9}")
	if term, err := w.Term(9); err != nil || term != 3 {
		t.Fatalf("term of the snapshot's entry: %d, %v", term, err)
	}
	must(t, w.Append(nil, run(10, 12, 3, 1)))
	wantLog(t, w, "10-11: 10/3 11/3 {2 0 9}")
}

func TestOptions(t *testing.T) {
	for _, opts := range []Options{
		{SegmentBytes: 100}, {SegmentBytes: -1}, {SegmentBytes: MaxSegmentBytes + 1},
		{Metadata: make([]byte, MaxMetadataBytes+1)},
	} {
		if _, err := Open(vfs.NewMem(), testDir, opts); err == nil {
			t.Errorf("accepted %d, %d", opts.SegmentBytes, len(opts.Metadata))
		}
	}
}

func TestRefusals(t *testing.T) {
	w := mustOpen(t, vfs.NewMem(), Options{})
	must(t, w.Append(hard(3, 1, 4), run(1, 7, 2, 10)))
	must(t, w.Flush(true))
	must(t, w.Truncate(2))
	gap := append(run(7, 8, 2, 1), run(9, 10, 2, 1)...)
	back := append(run(7, 8, 3, 1), run(8, 9, 2, 1)...)
	unknown := run(7, 8, 3, 1)
	unknown[0].Type = raftpb.EntryType(1000).Enum()
	for name, test := range map[string]struct {
		hs      *raftpb.HardState
		entries []*raftpb.Entry
		want    string
	}{
		"before":         {nil, run(2, 3, 2, 1), "entry 2 is before the log, which begins at 3"},
		"committed":      {nil, run(4, 8, 2, 1), "entry 4 replaces one that is committed (up to"},
		"gap":            {nil, run(8, 9, 2, 1), "entry 8 leaves a gap after 6"},
		"term":           {nil, run(7, 8, 1, 1), "entry 7 has term 1, lower than the 2"},
		"gap inside":     {nil, gap, "entry 9 of term 2 follows 7 of term 2"},
		"term inside":    {nil, back, "entry 8 of term 2 follows 7 of term 3"},
		"type":           {nil, unknown, "entry 7 has the unknown type 1000"},
		"state term":     {hard(2, 1, 4), nil, "hard state goes back from term 3 to 2"},
		"state commit":   {hard(3, 1, 3), nil, "hard state goes back from commit 4 to 3"},
		"commit nothing": {hard(3, 1, 7), nil, "hard state commits 7, and the log ends at 6"},
		"commit cut":     {hard(3, 1, 6), run(5, 6, 3, 1), "commits 6, and the log ends at 5"},
	} {
		err := w.Append(test.hs, test.entries)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if err := w.Reset(3, 3); err == nil {
		t.Error("a reset lost what is committed")
	}
	if err := w.Truncate(7); err == nil {
		t.Error("truncated past the end")
	}
	if w.Err() != nil {
		t.Fatalf("a refusal poisoned the log: %v", w.Err())
	}
	must(t, w.Flush(true))
	wantLog(t, w, "3-6: 3/2 4/2 5/2 6/2 {3 1 4}")
}

// TestAgainstMemoryStorage compares the answers with those of raft's own storage.
func TestAgainstMemoryStorage(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		w := mustOpen(t, vfs.NewMem(), Options{SegmentBytes: 2 << 10, CacheBytes: 500})
		m := raft.NewMemoryStorage()
		last, term, low := uint64(0), uint64(1), uint64(0)
		for range 60 {
			index := last + 1
			if rng.IntN(5) == 0 && last > low {
				index = low + 1 + rng.Uint64N(last-low)
				term++
			}
			entries := run(index, index+1+rng.Uint64N(6), term, rng.IntN(100))
			last = index + uint64(len(entries)) - 1
			must(t, m.Append(entries))
			must(t, w.Append(nil, entries))
			must(t, w.Flush(rng.IntN(2) == 0))
			if rng.IntN(8) == 0 && last > low+1 {
				low += 1 + rng.Uint64N(last-low-1)
				must(t, m.Compact(low))
				must(t, w.Truncate(low))
			}
			for i := uint64(0); i <= last+2; i++ {
				wantTerm, wantErr := m.Term(i)
				if got, err := w.Term(i); got != wantTerm || err != wantErr {
					t.Fatalf("seed %d: term of %d: %d, %v, want %d, %v",
						seed, i, got, err, wantTerm, wantErr)
				}
			}
			lo := rng.Uint64N(last) + 1
			hi := lo + 1 + rng.Uint64N(last+1-lo)
			limit := rng.Uint64N(600)
			want, wantErr := m.Entries(lo, hi, limit)
			got, err := w.Entries(lo, hi, limit)
			if err != wantErr || !slices.EqualFunc(got, want, func(a, b *raftpb.Entry) bool {
				return a.String() == b.String()
			}) {
				t.Fatalf("seed %d: [%d, %d) within %d: %d entries, %v, want %d, %v",
					seed, lo, hi, limit, len(got), err, len(want), wantErr)
			}
		}
		if _, err := w.Entries(last+1, last+3, 1); err != raft.ErrUnavailable {
			t.Fatalf("past the end: %v", err)
		}
	}
}

func TestEntryBytesIsRafts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		e := plain{
			index: rng.Uint64() >> rng.IntN(64), term: rng.Uint64() >> rng.IntN(64),
			typ: raftpb.EntryType(rng.IntN(3)), data: string(make([]byte, rng.IntN(300))),
		}.entry()
		if rng.IntN(4) == 0 {
			e.Term, e.Type = nil, nil
		}
		if got, want := entryBytes(e), proto.Size(e); got != want {
			t.Fatalf("%d bytes, want %d: %v", got, want, e)
		}
	}
}

// TestOneWriteOneSync counts what a batch costs once space was prepared.
func TestOneWriteOneSync(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{SegmentBytes: 1 << 20})
	must(t, w.Prepare())
	var ops []string
	fs.SetHook(func(op vfs.Op, after bool) {
		if !after {
			ops = append(ops, op.Kind.String())
		}
	})
	for i := range uint64(10) {
		must(t, w.Append(nil, run(10*i+1, 10*i+6, 1, 300)))
		must(t, w.Append(hard(1, 1, 10*i+5), run(10*i+6, 10*i+11, 1, 300)))
		must(t, w.Flush(true))
		must(t, w.Flush(true)) // nothing to do
		if !slices.Equal(ops, []string{"write", "syncdata"}) {
			t.Fatalf("a batch cost %v", ops)
		}
		ops = nil
	}
	must(t, w.Mark())
	must(t, w.Mark())
	if !slices.Equal(ops, []string{"write"}) {
		t.Fatalf("two marks cost %v", ops)
	}
}

// TestRecycling fills many segments: files are used again, not made.
func TestRecycling(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{SegmentBytes: 16 << 10})
	var created, renamed, zeroed int
	fs.SetHook(func(op vfs.Op, after bool) {
		switch {
		case after:
		case op.Kind == vfs.OpCreate:
			created++
		case op.Kind == vfs.OpRename:
			renamed++
		case op.Kind == vfs.OpAllocate:
			zeroed++
		}
	})
	for i := range uint64(500) {
		must(t, w.Append(hard(1, 1, i+1), run(i+1, i+2, 1, 1000)))
		must(t, w.Flush(true))
		must(t, w.Truncate(i+1))
		must(t, w.Prepare())
	}
	if created > 4 || renamed < 50 || zeroed > 0 {
		t.Fatalf("%d files made, %d renames, %d reservations", created, renamed, zeroed)
	}
	if len(w.segs) > 2 {
		t.Fatalf("%d segments kept", len(w.segs))
	}
	w = mustOpen(t, fs.CrashClone(nil), Options{})
	if w.LastIndex() != 500 || w.FirstIndex() < 480 {
		t.Fatalf("the log is %d-%d", w.FirstIndex(), w.LastIndex())
	}
}

// TestTornTailStaysCut writes again what a torn batch began with: the rest of that batch, still on
// the disk and whole, must not come back with it.
func TestTornTailStaysCut(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{})
	must(t, w.Append(nil, run(1, 3, 1, 100)))
	must(t, w.Flush(true))
	w = mustOpen(t, fs.CrashClone(nil), Options{})
	fs = w.fs.(*vfs.Mem)
	start := w.off
	must(t, w.Append(hard(1, 3, 4), run(3, 6, 1, 100)))
	must(t, w.Flush(false))
	torn := fs.KillClone()
	f, err := torn.OpenReadWrite(filepath.Join(testDir, segmentName(1)))
	must(t, err)
	_, err = f.WriteAt(make([]byte, recordBytes(entryFixedBytes+100)), start)
	must(t, err)
	w = mustOpen(t, torn, Options{})
	wantLog(t, w, "1-2: 1/1 2/1 {0 0 0}")
	must(t, w.Append(nil, run(3, 4, 1, 100)))
	must(t, w.Flush(true))
	w = mustOpen(t, torn.CrashClone(nil), Options{})
	wantLog(t, w, "1-3: 1/1 2/1 3/1 {0 0 0}")
}

// TestOpenWritesAgain looks for the second write of what nothing proves to be on disk: after a sync
// that failed, the system may hold it and believe it written.
func TestOpenWritesAgain(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{})
	must(t, w.Append(nil, run(1, 2, 1, 100)))
	must(t, w.Flush(true))
	must(t, w.Append(nil, run(2, 4, 1, 100)))
	must(t, w.Flush(true))
	var got []string
	fs.SetHook(func(op vfs.Op, after bool) {
		if !after && filepath.Base(op.Path) == segmentName(1) {
			got = append(got, fmt.Sprint(op.Kind, " ", op.Offset, "+", op.Size))
		}
	})
	mustOpen(t, fs, Options{})
	want := []string{fmt.Sprintf("write %d+%d", w.marked, w.off-w.marked), "syncdata 0+0"}
	if !slices.Equal(got, want) {
		t.Fatalf("Open did %v, want %v", got, want)
	}
}

// TestUnusedSegments crashes while Open removes segments that were begun and never synced.
func TestUnusedSegments(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{SegmentBytes: 1 << 10})
	must(t, w.Append(nil, run(1, 9, 1, 100)))
	must(t, w.Flush(true))
	must(t, w.Prepare())
	must(t, w.Append(nil, run(9, 10, 1, 100)))
	must(t, w.Flush(false))
	must(t, w.Prepare())
	disk := fs.CrashClone(nil)
	names, err := disk.List(testDir)
	must(t, err)
	if len(names) != 3 {
		t.Fatalf("files %v, want one in use and two that are not", names)
	}
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 6))
		again := disk.KillClone()
		again.SetHook(func(op vfs.Op, after bool) {
			wantLog(t, mustOpen(t, again.CrashClone(rng), Options{}),
				"1-8: 1/1 2/1 3/1 4/1 5/1 6/1 7/1 8/1 {0 0 0}")
		})
		mustOpen(t, again, Options{SegmentBytes: 1 << 10})
	}
}

func TestNoSpace(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{SegmentBytes: 64 << 10})
	must(t, w.Prepare())
	fs.SetCapacity(fs.Used() + 8<<10)
	if err := w.Prepare(); err != nil {
		t.Fatalf("nothing is to be prepared yet: %v", err)
	}
	i, failed := uint64(1), false
	for ; i < 1000; i++ {
		must(t, w.Append(hard(1, 1, i), run(i, i+1, 1, 1000)))
		if err := w.Prepare(); err != nil {
			failed = true
			if !errors.Is(err, vfs.ErrNoSpace) || w.Err() != nil {
				t.Fatalf("Prepare: %v; poisoned by %v", err, w.Err())
			}
		}
		if err := w.Flush(true); err != nil {
			if !errors.Is(err, vfs.ErrNoSpace) || w.Err() != nil {
				t.Fatalf("Flush: %v; poisoned by %v", err, w.Err())
			}
			break
		}
	}
	if i < 60 || i == 1000 || !failed {
		t.Fatalf("full after %d entries; Prepare said so: %v", i, failed)
	}
	if got := mustOpen(t, fs.CrashClone(nil), Options{}).LastIndex(); got != i-1 {
		t.Fatalf("on the full disk the log ends at %d, want %d", got, i-1)
	}
	if err := w.Flush(true); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("the disk is still full: %v", err)
	}
	must(t, w.Truncate(i-1))
	fs.SetCapacity(0)
	must(t, w.Flush(true))
	must(t, w.Prepare())
	must(t, w.Append(nil, run(i+1, i+50, 2, 1000)))
	must(t, w.Flush(true))
	if got := mustOpen(t, fs.CrashClone(nil), Options{}).LastIndex(); got != i+49 {
		t.Fatalf("the log ends at %d, want %d", got, i+49)
	}
}

func TestMetrics(t *testing.T) {
	manual := clock.NewManual(time.Unix(1e9, 0))
	fs := vfs.NewMem()
	var got []string
	note := func(what string) func(int, time.Duration) {
		return func(bytes int, d time.Duration) {
			got = append(got, fmt.Sprintf("%s %d %v", what, bytes, d))
		}
	}
	w := mustOpen(t, fs, Options{Clock: manual, OnWrite: note("write"), OnSync: note("sync")})
	got = nil
	fs.SetHook(func(op vfs.Op, after bool) { manual.Advance(time.Millisecond) })
	must(t, w.Flush(true)) // the mark that Open wrote
	must(t, w.Append(nil, run(1, 2, 1, 1)))
	must(t, w.Flush(false))
	must(t, w.Append(nil, run(2, 3, 1, 1000)))
	must(t, w.Flush(true))
	want := []string{"sync 24 2ms", "write 48 2ms", "write 1040 2ms", "sync 1088 2ms"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
}
