package revlog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

func openMem(t *testing.T, opts Options) (*Log, *vfs.Mem) {
	t.Helper()
	fs := vfs.NewMem()
	log, err := Open(fs, testDir, opts, Mark{})
	if err != nil {
		t.Fatal(err)
	}
	return log, fs
}

func TestAppendRefuses(t *testing.T) {
	log, _ := openMem(t, Options{})
	if _, err := log.Append(cairn.Revision{Main: 5, Sub: 1}, false, nil); err != nil {
		t.Fatal(err)
	}
	for _, rev := range []cairn.Revision{
		{Main: 5, Sub: 1}, {Main: 5}, {Main: 4, Sub: 9}, {Main: 6, Sub: -1},
		{Main: 6, Sub: maxSub + 1},
	} {
		if _, err := log.Append(rev, false, nil); !errors.Is(err, ErrOrder) {
			t.Errorf("%v: %v", rev, err)
		}
	}
	_, err := log.Append(cairn.Revision{Main: 6}, false, make([]byte, MaxKVBytes+1))
	if !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if _, err := log.Append(cairn.Revision{Main: 6}, false, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := log.Close(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	for _, size := range []int64{-1, MinSegmentBytes - 1, MaxSegmentBytes + 1} {
		if _, err := Open(vfs.NewMem(), testDir, Options{SegmentBytes: size}, Mark{}); err == nil {
			t.Errorf("segments of %d bytes", size)
		}
	}
}

// TestUnflushed reads what is not written yet, and checks how long that stays valid.
func TestUnflushed(t *testing.T) {
	log, _ := openMem(t, Options{})
	var recs []Record
	for main := int64(1); main <= 100; main++ {
		kv := bytes.Repeat([]byte{byte(main)}, int(main))
		pos, err := log.Append(cairn.Revision{Main: main}, main%2 == 0, kv)
		if err != nil {
			t.Fatal(err)
		}
		r, err := log.Read(pos)
		if err != nil || r.Rev.Main != main || !bytes.Equal(r.KV, kv) {
			t.Fatalf("%v %v", r, err)
		}
		recs = append(recs, r)
	}
	n := 0
	count := func(Pos, Record) (bool, error) { n++; return true, nil }
	if err := log.Scan(cairn.Revision{}, 1000, count); err != nil || n != 0 {
		t.Fatalf("a scan saw %d records that were not flushed: %v", n, err)
	}
	if err := log.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := log.Scan(cairn.Revision{}, 1000, count); err != nil || n != 100 {
		t.Fatalf("a scan saw %d records: %v", n, err)
	}
	for i, r := range recs {
		if want := bytes.Repeat([]byte{byte(i + 1)}, i+1); !bytes.Equal(r.KV, want) {
			t.Fatalf("record %d changed by Flush", i)
		}
	}
}

// TestLarge appends records larger than a segment and than the buffer.
func TestLarge(t *testing.T) {
	log, fs := openMem(t, Options{SegmentBytes: 64 << 10})
	sizes := []int{10, 70 << 10, 1, 64 << 10, maxTailBytes + 5, 100}
	for i, n := range sizes {
		if i%2 == 0 {
			if err := log.Prepare(); err != nil { // too small for the next one
				t.Fatal(err)
			}
		}
		rev := cairn.Revision{Main: int64(i + 1)}
		pos, err := log.Append(rev, false, bytes.Repeat([]byte{7}, n))
		if err != nil {
			t.Fatal(err)
		}
		if pos.size() < int64(n) || pos.size() > int64(n)+int64(n)/256+64 {
			t.Errorf("%d bytes: the position says %d", n, pos.size())
		}
		if r, err := log.Read(pos); err != nil || len(r.KV) != n {
			t.Fatal(err)
		}
	}
	if err := errors.Join(log.Flush(), log.Sync()); err != nil {
		t.Fatal(err)
	}
	again, err := Open(fs.CrashClone(nil), testDir, Options{}, log.Mark())
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	err = again.Scan(cairn.Revision{}, 1000, func(_ Pos, r Record) (bool, error) {
		got = append(got, len(r.KV))
		return true, nil
	})
	if err != nil || len(got) != len(sizes) {
		t.Fatalf("%v %v", got, err)
	}
}

// TestSeek checks that a scan reads little before its first record: damage further off is not seen.
func TestSeek(t *testing.T) {
	log, fs := openMem(t, Options{SegmentBytes: 1 << 20})
	var pos []Pos
	for main := int64(1); main <= 20_000; main++ {
		for sub := range int64(1 + main%3) {
			p, err := log.Append(cairn.Revision{Main: main, Sub: sub}, false, make([]byte, 90))
			if err != nil {
				t.Fatal(err)
			}
			if sub == 0 {
				pos = append(pos, p)
			}
		}
	}
	if err := log.Flush(); err != nil {
		t.Fatal(err)
	}
	rng := testSeed(t, 1)
	stride := strideOf(1 << 20)
	for range 500 {
		main := 1 + rng.Int64N(20_000)
		at := pos[main-1]
		f := log.lookup(at)
		near := max(at.offset()-stride-400, 0)
		if near > headerBytes { // damage everything before
			if err := vfs.Flip(fs, f.path, near, 0); err != nil {
				t.Fatal(err)
			}
		}
		want := main
		err := log.Scan(cairn.Revision{Main: main}, main+5, func(_ Pos, r Record) (bool, error) {
			if r.Rev.Main != want && r.Rev.Main != want+1 {
				t.Fatalf("%v after %d", r.Rev, want)
			}
			want = r.Rev.Main
			return true, nil
		})
		if err != nil || want != min(main+5, 20_000) {
			t.Fatalf("from %d: ended at %d, %v", main, want, err)
		}
		if near > headerBytes {
			if err := vfs.Flip(fs, f.path, near, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestFailureSticks checks that nothing is tried again after a write or a sync has failed.
func TestFailureSticks(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSyncData, vfs.OpSyncDir} {
		faulty := vfs.NewFaulty(vfs.NewMem())
		log, err := Open(faulty, testDir, Options{}, Mark{})
		if err != nil {
			t.Fatal(err)
		}
		faulty.Inject(vfs.Fault{Match: func(op vfs.Op) bool { return op.Kind == kind }})
		if _, err := log.Append(cairn.Revision{Main: 1}, false, nil); err != nil {
			t.Fatal(err)
		}
		if err = log.Flush(); err == nil {
			err = log.Sync()
		}
		if !errors.Is(err, vfs.ErrInjected) {
			t.Fatalf("%v: %v", kind, err)
		}
		_, appendErr := log.Append(cairn.Revision{Main: 2}, false, nil)
		_, stepErr := log.ReclaimStep(nil, Checkpoint{}, 1)
		for i, again := range []error{log.Flush(), log.Sync(), log.Prepare(), appendErr, stepErr} {
			if again != err {
				t.Errorf("%v: call %d then said %v", kind, i, again)
			}
		}
	}
}

// TestVerifyUnsealed checks a log without a mark, as a kill leaves it: full files without a
// footer, the active one, one made ahead.
func TestVerifyUnsealed(t *testing.T) {
	log, fs := openMem(t, Options{SegmentBytes: MinSegmentBytes})
	const records = 30
	for main := int64(1); main <= records; main++ {
		if err := log.Prepare(); err != nil {
			t.Fatal(err)
		}
		if main == 10 {
			if err := log.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := log.Append(cairn.Revision{Main: main}, false, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(log.Flush(), log.Prepare()); err != nil {
		t.Fatal(err)
	}
	calls := 0
	rep, err := Verify(fs.KillClone(), testDir, Mark{}, func(Report) { calls++ })
	if err != nil || len(rep.Damages) > 0 || rep.Records != records || rep.Files != calls {
		t.Fatalf("%+v, %d calls, %v", rep, calls, err)
	}
	if want := (Mark{Segment: log.Mark().Segment + 1, Offset: headerBytes}); rep.End != want {
		t.Fatalf("end %v, want %v", rep.End, want)
	}
}

// TestAbortReclaim gives up a rewrite that waits for a checkpoint.
func TestAbortReclaim(t *testing.T) {
	fs := vfs.NewMem()
	o, err := newOwner(fs, Options{SegmentBytes: MinSegmentBytes}, testSeed(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if err := o.txn(put("key", o.value(1000))); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.checkpoint(); err != nil {
		t.Fatal(err)
	}
	o.compact(o.rev)
	o.compactStep(10)
	before, _ := dirBytes(t, fs)
	var state ReclaimState
	for state = ReclaimWorked; state == ReclaimWorked; {
		if state, err = o.reclaimStep(); err != nil {
			t.Fatal(err)
		}
	}
	if bytes, _ := dirBytes(t, fs); state != ReclaimWaits || bytes <= before {
		t.Fatalf("%v, %d bytes, %d before", state, bytes, before)
	}
	if !o.log.Stats().Reclaim.Waiting {
		t.Error("stats do not say that it waits")
	}
	if err := o.log.AbortReclaim(); err != nil {
		t.Fatal(err)
	}
	if bytes, _ := dirBytes(t, fs); bytes != before {
		t.Fatalf("%d bytes, %d before", bytes, before)
	}
	for range maxBackoff {
		if state, err = o.reclaimStep(); err != nil {
			t.Fatal(err)
		}
	}
	if state != ReclaimWaits {
		t.Fatal("it is never tried again")
	}
	if err := o.settle(); err != nil {
		t.Fatal(err)
	}
	if s := o.log.Stats(); s.Records > 4 || s.Reclaim.Rewrites == 0 || s.Reclaim.Waiting {
		t.Fatalf("%+v", s)
	}
}

func TestPos(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		f := &file{slot: uint16(1 + rng.IntN(maxFiles)), use: uint8(rng.IntN(useMask + 1))}
		off := rng.Int64N(MaxSegmentBytes/recordAlign) * recordAlign
		size := recordSize(rng.IntN(1 << rng.IntN(29)))
		tomb := rng.IntN(2) == 0
		p := makePos(f, off, size, tomb)
		if p.slot() != int(f.slot) || p.use() != f.use || p.offset() != off ||
			p.tombstone() != tomb {
			t.Fatalf("%x", p)
		}
		diff := p.size() - size
		if diff != 0 && (size < 4<<10 || max(diff, -diff) > size/512+recordAlign) {
			t.Fatalf("size %d, was %d", p.size(), size)
		}
	}
}

func TestMark(t *testing.T) {
	for _, m := range []Mark{{}, {1, headerBytes}, {1 << 40, MaxSegmentBytes}} {
		got, err := DecodeMark(m.AppendTo(nil))
		if err != nil || got != m {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	for _, m := range []Mark{{0, 64}, {1, 0}, {1, 65}, {1, -64}, {1, MaxSegmentBytes + 8}} {
		if _, err := DecodeMark(m.AppendTo(nil)); err == nil {
			t.Errorf("%v was taken", m)
		}
	}
	if _, err := DecodeMark(make([]byte, MarkBytes-1)); err == nil {
		t.Error("a short mark was taken")
	}
}

func TestNames(t *testing.T) {
	for _, id := range []ident{{1, 1, 0}, {12, 15, 3}, {1, 1 << 40, 1 << 20}} {
		if got, ok := parseName(id.name()); !ok || got != id {
			t.Errorf("%s: %v %v", id.name(), got, ok)
		}
	}
	for _, s := range []string{
		"", ".seg", "00000001-00000001.0000", "1-1.0.seg", "00000000-00000001.0000.seg",
		"00000002-00000001.0000.seg", "0000000G-00000001.0000.seg", "db", "00000001.0000.seg",
		"00000001-00000001.0000.seg.seg", "+0000001-00000001.0000.seg",
	} {
		if id, ok := parseName(s); ok {
			t.Errorf("%q is %v", s, id)
		}
	}
}

// TestSegmentSizes checks that small logs use small segments.
func TestSegmentSizes(t *testing.T) {
	for _, c := range []struct{ total, limit, want int64 }{
		{0, 64 << 20, 4 << 20},
		{0, 64 << 10, 64 << 10},
		{255 << 20, 64 << 20, 4 << 20},
		{256 << 20, 64 << 20, 8 << 20},
		{1 << 30, 64 << 20, 32 << 20},
		{1 << 40, 64 << 20, 64 << 20},
		{1 << 40, 100 << 20, 100 << 20},
	} {
		if got := targetBytes(c.total, c.limit); got != c.want {
			t.Errorf("%d bytes, limit %d: segments of %d, want %d", c.total, c.limit, got, c.want)
		}
	}
}
