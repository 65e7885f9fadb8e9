package wal

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// writes counts the writes to segments that fn causes.
func writes(fs *vfs.Mem, fn func()) int {
	n := 0
	fs.SetHook(func(op vfs.Op, after bool) {
		if op.Kind == vfs.OpWrite && !after {
			n++
		}
	})
	fn()
	fs.SetHook(nil)
	return n
}

func TestMarkIsWrittenOnce(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{})
	idle := func() {
		for range 3 {
			must(t, w.Mark())
			must(t, w.Flush(true))
		}
	}
	if n := writes(fs, idle); n != 0 {
		t.Fatalf("an idle log that Open marked wrote %d marks", n)
	}
	must(t, w.Append(nil, run(1, 2, 1, 10)))
	if n := writes(fs, func() { must(t, w.Mark()) }); n != 0 {
		t.Fatal("marked with a batch waiting")
	}
	must(t, w.Flush(false))
	if n := writes(fs, func() { must(t, w.Mark()) }); n != 0 {
		t.Fatal("marked what is not synced")
	}
	must(t, w.Flush(true))
	if n := writes(fs, idle); n != 1 {
		t.Fatalf("an idle log wrote %d marks", n)
	}
	w = mustOpen(t, fs, Options{})
	if n := writes(fs, idle); n != 0 {
		t.Fatalf("a log that was marked before it was opened wrote %d marks", n)
	}
}

// TestBrokenChain forges a record that passes its own check and follows no other: it is not read.
func TestBrokenChain(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{})
	must(t, w.Append(nil, run(1, 3, 1, 10)))
	must(t, w.Flush(true))
	payload := make([]byte, entryFixedBytes)
	putPair(payload, 3, 1)
	forge(t, fs, w.off, w.crc+1, typeEntry, payload)
	wantLog(t, mustOpen(t, fs.KillClone(), Options{}), "1-2: 1/1 2/1 {0 0 0}")
	forge(t, fs, w.off, w.crc, typeEntry, payload)
	wantLog(t, mustOpen(t, fs, Options{}), "1-3: 1/1 2/1 3/1 {0 0 0}")
}

// TestForeignSegment puts segments in place that pass all checks of their own and belong elsewhere.
func TestForeignSegment(t *testing.T) {
	fs := vfs.NewMem()
	opts := Options{SegmentBytes: 2 << 10, Metadata: []byte("one")}
	w := mustOpen(t, fs, opts)
	must(t, w.Append(hard(1, 1, 1), run(1, 8, 1, 100)))
	must(t, w.Flush(true))
	must(t, w.Append(nil, run(8, 9, 1, 1000)))
	must(t, w.Flush(true))
	good := segmentHead{
		number: 2, base: 7, baseTerm: 1, prevEnd: w.prevEnd, prevCRC: w.prevCRC,
		state: w.written, metadata: []byte("one"),
	}
	for want, spoil := range map[string]func(*segmentHead){
		"":                          func(h *segmentHead) {},
		"the header does not":       func(h *segmentHead) { h.prevCRC++ },
		"the header follows entry":  func(h *segmentHead) { h.base-- },
		"7 of term 2, and":          func(h *segmentHead) { h.baseTerm++ },
		"another hard state than":   func(h *segmentHead) { h.state.vote++ },
		"other metadata than":       func(h *segmentHead) { h.metadata = []byte("two") },
		"header names another segm": func(h *segmentHead) { h.number++ },
	} {
		disk := fs.KillClone()
		h := good
		spoil(&h)
		buf, payload := appendRecord(nil, typeSegment, 0, segmentFixedBytes+len(h.metadata))
		h.encode(payload)
		crc := seal(buf, 2, 0, 0, 0)
		entry, room := appendRecord(nil, typeEntry, 0, entryFixedBytes)
		putPair(room, 8, 1)
		seal(entry, 2, int64(len(buf)), crc, uint32(len(buf)))
		f, err := disk.OpenReadWrite(filepath.Join(testDir, segmentName(2)))
		must(t, err)
		_, err = f.WriteAt(append(buf, entry...), 0)
		must(t, err)
		_, err = Open(disk, testDir, opts)
		var corrupt *CorruptError
		if want == "" {
			must(t, err)
		} else if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), want) ||
			corrupt.File != f.Name() {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestResetBack resets a log to before its end, as a member whose last entries nobody else has.
func TestResetBack(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{SegmentBytes: 1 << 10})
	for i := range uint64(40) {
		must(t, w.Append(hard(1, 1, min(i, 10)), run(i+1, i+2, 1, 100)))
		must(t, w.Flush(true))
	}
	must(t, w.Reset(20, 2))
	must(t, w.Prepare())
	if len(w.segs) != 1 {
		t.Fatalf("%d segments kept after a reset", len(w.segs))
	}
	wantLog(t, mustOpen(t, fs.CrashClone(nil), Options{}), "21-20: {1 1 20}")
	must(t, w.Append(nil, run(21, 23, 3, 10)))
	must(t, w.Flush(true))
	wantLog(t, mustOpen(t, fs.CrashClone(nil), Options{}), "21-22: 21/3 22/3 {1 1 20}")
}

// TestNoSpaceInSync: a full disk is harmless where space is reserved, final where a sync says so.
func TestNoSpaceInSync(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSyncData} {
		fs := vfs.NewFaulty(vfs.NewMem())
		w := mustOpen(t, fs, Options{})
		fs.Inject(vfs.Fault{
			Match: func(op vfs.Op) bool { return op.Kind == kind }, Err: vfs.ErrNoSpace,
		})
		if err := w.Prepare(); !errors.Is(err, vfs.ErrNoSpace) {
			t.Fatalf("%v: %v", kind, err)
		}
		if poisoned := w.Err() != nil; poisoned != (kind == vfs.OpSyncData) {
			t.Fatalf("%v: poisoned by %v", kind, w.Err())
		}
	}
}

// TestKilledBeforeTheName ends the process after it made the first segment and before its name was
// durable. The next one finds the file and must not trust the name.
func TestKilledBeforeTheName(t *testing.T) {
	fs := vfs.NewMem()
	must(t, fs.MkdirAll(testDir))
	var killed *vfs.Mem
	dirSyncs := 0
	fs.SetHook(func(op vfs.Op, after bool) {
		if op.Kind != vfs.OpSyncDir || after {
			return
		}
		if dirSyncs++; dirSyncs == 2 {
			killed = fs.KillClone()
		}
	})
	mustOpen(t, fs, Options{})
	if names, err := killed.List(testDir); err != nil || len(names) != 1 {
		t.Fatalf("files %v, %v, want the first segment", names, err)
	}
	w := mustOpen(t, killed, Options{})
	must(t, w.Append(nil, run(1, 3, 1, 10)))
	must(t, w.Flush(true))
	wantLog(t, mustOpen(t, killed.CrashClone(nil), Options{}), "1-2: 1/1 2/1 {0 0 0}")
}
