package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// damagedLog is a log over several segments, recycled ones too, closed or not.
func damagedLog(t *testing.T, seed uint64, closed bool) *driver {
	rng := rand.New(rand.NewPCG(seed, 9))
	d := newDriver(t, rng, vfs.NewMem(), testDir)
	d.opts.SegmentBytes = 1 << 10
	must(t, d.open())
	for range 150 {
		must(t, d.randomStep())
	}
	must(t, d.flush())
	if closed {
		must(t, d.w.Close())
	}
	return d
}

// extent is the range of a segment file that records fill.
type extent struct {
	path string
	end  int64
}

func extents(w *WAL) []extent {
	var all []extent
	for _, s := range w.segs {
		all = append(all, extent{s.path, s.end})
	}
	return all
}

// TestFlippedBits flips one bit of each byte that was flushed. The log must refuse to open and
// name the file, or be the same; and the last batch, where nothing after it says that it was
// synced, may be cut.
func TestFlippedBits(t *testing.T) {
	for seed := range uint64(4) {
		closed := seed%2 == 0
		d := damagedLog(t, seed, closed)
		disk := d.fs.(*vfs.Mem).CrashClone(nil)
		rng := rand.New(rand.NewPCG(seed, 10))
		for _, e := range extents(d.w) {
			last := e.path == d.w.cur.path
			for off := range e.end {
				name := fmt.Sprintf("seed %d: %s flipped at %d", seed, e.path, off)
				unproven := last && !closed && off >= d.w.marked
				checkFlip(t, name, d, disk, e.path, off, uint(rng.IntN(8)), unproven)
			}
		}
	}
}

func checkFlip(t *testing.T, name string, d *driver, disk *vfs.Mem, path string, off int64,
	bit uint, unproven bool,
) {
	must(t, vfs.Flip(disk, path, off, bit))
	view := disk.KillClone() // opening repairs: keep the original
	must(t, vfs.Flip(disk, path, off, bit))
	w, err := Open(view, testDir, d.opts)
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		if corrupt.File != path {
			t.Fatalf("%s: blames %s", name, corrupt.File)
		}
		if corrupt.Offset > off {
			t.Fatalf("%s: blames offset %d", name, corrupt.Offset)
		}
		if !strings.Contains(err.Error(), filepath.Base(path)) {
			t.Fatalf("%s: the message names no file: %v", name, err)
		}
	case err != nil:
		t.Fatalf("%s: %v", name, err)
	default:
		diff := d.now.diff(w, false)
		if diff != "" && !unproven {
			t.Fatalf("%s: undetected, %s", name, diff)
		}
	}
}

// TestMarkVouches flips the last batch: undetected before the mark, detected after it.
func TestMarkVouches(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{})
	must(t, w.Append(nil, run(1, 3, 1, 100)))
	must(t, w.Flush(true))
	at := w.off - 50
	must(t, vfs.Flip(fs, w.cur.path, at, 3))
	if got := mustOpen(t, fs.KillClone(), Options{}).LastIndex(); got != 1 {
		t.Fatalf("without a mark the log ends at %d; a torn write is to be cut", got)
	}
	must(t, w.Mark())
	_, err := Open(fs.KillClone(), testDir, Options{})
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != w.cur.path {
		t.Fatalf("with a mark: %v", err)
	}
}

// TestFlipWhileOpen damages entries that only the files hold.
func TestFlipWhileOpen(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{SegmentBytes: 4 << 10, CacheBytes: 1})
	must(t, w.Append(nil, run(1, 30, 1, 300)))
	must(t, w.Flush(true))
	must(t, w.Append(nil, run(30, 32, 1, 300)))
	must(t, w.Flush(true))
	s, off, _ := w.find(7)
	for i := range int64(recordBytes(entryFixedBytes + 300)) {
		must(t, vfs.Flip(fs, s.path, off+i, 1))
		entries, err := w.Entries(5, 10, 1<<20)
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != s.path || corrupt.Offset != off {
			t.Fatalf("byte %d of an entry flipped: %d entries, %v", i, len(entries), err)
		}
		must(t, vfs.Flip(fs, s.path, off+i, 1))
	}
	if entries, err := w.Entries(5, 10, 1<<20); err != nil || len(entries) != 5 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	must(t, fs.Remove(s.path))
	if _, err := w.Entries(5, 10, 1<<20); err == nil {
		t.Fatal("read entries from a file that is gone")
	}
}

func TestMissingSegments(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{SegmentBytes: 1 << 10})
	for i := range uint64(40) {
		must(t, w.Append(nil, run(i+1, i+2, 1, 100)))
		must(t, w.Flush(true))
	}
	_, want, _ := strings.Cut(describe(t, w), ":")
	must(t, w.Mark())
	all := extents(w)
	if len(all) < 5 {
		t.Fatalf("only %d segments", len(all))
	}
	var corrupt *CorruptError
	// Without the first the log begins later, as if it had been truncated; without the last it
	// ends earlier. Neither can be told.
	for _, e := range all[1 : len(all)-1] {
		disk := fs.KillClone()
		must(t, disk.Remove(e.path))
		_, err := Open(disk, testDir, Options{})
		if !errors.As(err, &corrupt) || corrupt.File != e.path {
			t.Fatalf("%s is missing: %v", e.path, err)
		}
	}
	for _, e := range all {
		for cut := int64(0); cut < e.end; cut += 13 {
			disk := fs.KillClone()
			f, err := disk.OpenReadWrite(e.path)
			must(t, err)
			must(t, f.Truncate(cut))
			w, err := Open(disk, testDir, Options{})
			if errors.As(err, &corrupt) && corrupt.File == e.path && corrupt.Offset <= cut {
				continue
			}
			must(t, err)
			if e != all[len(all)-1] {
				t.Fatalf("%s cut to %d bytes: undetected", e.path, cut)
			}
			_, got, _ := strings.Cut(strings.TrimSuffix(describe(t, w), " {0 0 0}"), ":")
			if !strings.HasPrefix(want, got) || w.FirstIndex() != 1 {
				t.Fatalf("cut to %d bytes: %s", cut, got)
			}
		}
	}
}

// forge writes a record with right checks at off of a new log's segment.
func forge(t *testing.T, fs vfs.FS, off int64, prev uint32, typ uint8, payload []byte) {
	t.Helper()
	f, err := fs.OpenReadWrite(filepath.Join(testDir, segmentName(1)))
	must(t, err)
	buf, room := appendRecord(nil, typ, 0, len(payload))
	copy(room, payload)
	seal(buf, 1, off, prev, 0)
	_, err = f.WriteAt(buf, off)
	must(t, err)
	must(t, f.Close())
}

// TestWrongOrder forges records that pass every check and cannot be.
func TestWrongOrder(t *testing.T) {
	pair := func(index, term uint64) []byte {
		b := make([]byte, 16)
		putPair(b, index, term)
		return b
	}
	state := func(term, vote, commit uint64) []byte {
		b := make([]byte, 24)
		hardState{term, vote, commit}.encode(b)
		return b
	}
	for name, test := range map[string]struct {
		typ     uint8
		payload []byte
		want    string
	}{
		"gap":             {typeEntry, pair(5, 2), "entry 5 leaves a gap after 3"},
		"committed":       {typeEntry, pair(2, 2), "entry 2 replaces one that is committed"},
		"zero":            {typeEntry, pair(0, 2), "entry 0 is before the log"},
		"term":            {typeEntry, pair(4, 1), "lower than the 2"},
		"state back":      {typeState, state(1, 0, 2), "goes back from term 2 to 1"},
		"commit back":     {typeState, state(2, 0, 1), "goes back from commit 2 to 1"},
		"commit too much": {typeState, state(2, 0, 4), "the log ends at 3"},
		"reset back":      {typeReset, pair(1, 2), "reset to 1, and 2 is committed"},
		"short entry":     {typeEntry, make([]byte, 8), "with 8 bytes"},
		"short state":     {typeState, make([]byte, 8), "with 8 bytes"},
		"full mark":       {typeMark, make([]byte, 8), "with 8 bytes"},
		"second header":   {typeSegment, make([]byte, 80), "with 80 bytes"},
	} {
		fs := vfs.NewMem()
		w := mustOpen(t, fs, Options{})
		must(t, w.Append(hard(2, 0, 2), run(1, 4, 2, 8)))
		must(t, w.Flush(true))
		forge(t, fs, w.off, w.crc, test.typ, test.payload)
		_, err := Open(fs, testDir, Options{})
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || corrupt.Offset != w.off ||
			!strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOtherVersion(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{})
	payload := make([]byte, segmentFixedBytes)
	(&segmentHead{number: 1}).encode(payload)
	binary.LittleEndian.PutUint32(payload[8:], version+1)
	forge(t, fs, 0, 0, typeSegment, payload)
	_, err := Open(fs, testDir, Options{})
	var corrupt *CorruptError
	if err == nil || errors.As(err, &corrupt) || !strings.Contains(err.Error(), reasonVersion) {
		t.Fatalf("a log of another version: %v", err)
	}
	must(t, w.cur.close())
}

// TestInsaneLength gives a record whose head passes its check a length far past the file.
func TestInsaneLength(t *testing.T) {
	fs := vfs.NewMem()
	w := mustOpen(t, fs, Options{})
	must(t, w.Append(nil, run(1, 2, 1, 8)))
	must(t, w.Flush(true))
	for _, length := range []uint32{maxPayloadBytes, maxPayloadBytes + 1, 1<<32 - 1} {
		b := make([]byte, recordHeadBytes)
		binary.LittleEndian.PutUint32(b[8:], length)
		b[16] = typeEntry
		binary.LittleEndian.PutUint32(b[20:], crc32.Update(seed(1, w.off), castagnoli, b[4:20]))
		disk := fs.KillClone()
		f, err := disk.OpenReadWrite(w.cur.path)
		must(t, err)
		_, err = f.WriteAt(b, w.off)
		must(t, err)
		size, err := f.Size()
		must(t, err)
		win := newWindow(f, size)
		_, _, bad, err := win.record(1, w.off)
		if bad == "" || err != nil || len(win.buf) > windowBytes {
			t.Fatalf("length %d: %q, %v, %d bytes taken", length, bad, err, len(win.buf))
		}
		if got := mustOpen(t, disk, Options{}).LastIndex(); got != 1 {
			t.Fatalf("length %d: the log ends at %d", length, got)
		}
	}
}

// TestSeed shows that a record never passes in another segment, nor elsewhere in its own.
func TestSeed(t *testing.T) {
	for off := int64(0); off < 64<<20; off += 8 << 10 {
		for n := uint64(1); n < 100; n++ {
			if seed(n, off) == seed(n+1, off) || seed(n, off) == seed(1, off) && n > 1 {
				t.Fatalf("segments %d and others share a seed at %d", n, off)
			}
		}
	}
	buf, payload := appendRecord(nil, typeEntry, 0, 100)
	copy(payload, "some data")
	seal(buf, 7, 4096, 1, 0)
	for n := uint64(0); n < 2000; n++ {
		for _, off := range []int64{0, 4088, 4096, 8192} {
			if _, ok := decodeHead(buf, n, off); ok != (n == 7 && off == 4096) {
				t.Fatalf("a record of segment 7 at 4096 passes as of %d at %d: %v", n, off, ok)
			}
		}
	}
}

// FuzzRecord reads any bytes as a record. One that passes is written again as the same bytes.
func FuzzRecord(f *testing.F) {
	for _, n := range []int{0, 1, 16, 24, 100} {
		buf, payload := appendRecord(nil, uint8(n%typeLast)+1, 3, n)
		for i := range payload {
			payload[i] = byte(i)
		}
		seal(buf, 5, 64, 77, 8)
		f.Add(buf, uint64(5), uint16(8))
	}
	f.Fuzz(func(t *testing.T, data []byte, number uint64, at uint16) {
		off := int64(at) * recordAlign
		fs := vfs.NewMem()
		must(t, fs.MkdirAll(testDir))
		file, err := fs.Create(filepath.Join(testDir, "f"))
		must(t, err)
		_, err = file.WriteAt(data, off)
		must(t, err)
		size := off + int64(len(data))
		win := newWindow(file, size)
		h, payload, bad, err := win.record(number, off)
		if err != nil || int64(len(win.buf)) > size {
			t.Fatalf("%v, %d bytes taken for a file of %d", err, len(win.buf), size)
		}
		if bad != "" {
			return
		}
		buf, room := appendRecord(nil, h.typ, h.sub, len(payload))
		copy(room, payload)
		if crc := seal(buf, number, off, h.prev, h.synced); crc != h.crc && isZero(data, h) {
			t.Fatal("a record that passes is written differently")
		}
		decodeSegment(payload, number)
		decodeEntry(payload, h.sub)
	})
}

// isZero says whether the pad of the record is zero, as it is in all that we write.
func isZero(data []byte, h head) bool {
	return strings.Trim(string(data[recordHeadBytes+h.length:h.bytes()]), "\x00") == ""
}

// FuzzOpen overwrites a part of a log with any bytes: Open fails or gives a log that can be read.
func FuzzOpen(f *testing.F) {
	f.Add(uint16(0), []byte{1})
	f.Add(uint16(104), []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(uint16(500), []byte(strings.Repeat("x", 600)))
	base := vfs.NewMem()
	w := mustOpen(f, base, Options{SegmentBytes: 1 << 10})
	for i := range uint64(20) {
		must(f, w.Append(hard(1, 0, i), run(i+1, i+2, 1, 50)))
		must(f, w.Flush(i%2 == 0))
	}
	all := extents(w)
	f.Fuzz(func(t *testing.T, at uint16, data []byte) {
		fs := base.KillClone()
		e := all[int(at)%len(all)]
		file, err := fs.OpenReadWrite(e.path)
		must(t, err)
		data = data[:min(len(data), 4<<10)]
		_, err = file.WriteAt(data, int64(at)%(2<<10))
		must(t, err)
		w, err := Open(fs, testDir, Options{})
		if err != nil {
			return
		}
		describe(t, w)
		must(t, w.Append(nil, run(w.LastIndex()+1, w.LastIndex()+2, 1<<62, 10)))
		must(t, w.Close())
	})
}
