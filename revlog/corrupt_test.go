package revlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// built is a log with files of all kinds, closed at a checkpoint.
func built(t *testing.T, seed uint64) (*owner, *vfs.Mem) {
	t.Helper()
	fs := vfs.NewMem()
	o, err := newOwner(fs, Options{SegmentBytes: MinSegmentBytes}, testSeed(t, seed))
	if err != nil {
		t.Fatal(err)
	}
	o.keys = 80
	for range 600 {
		if err := o.randomStep(); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := o.txn(put("behind the mark", nil)); err != nil {
		t.Fatal(err)
	}
	if err := o.log.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := o.log.Close(); err != nil {
		t.Fatal(err)
	}
	return o, fs
}

// filesOf returns the names and sizes of a log's files up to the mark.
func filesOf(t *testing.T, fs vfs.FS, cut Mark) map[string]int64 {
	t.Helper()
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]int64{}
	for _, name := range names {
		info, err := fs.Stat(filepath.Join(testDir, name))
		if err != nil {
			t.Fatal(err)
		}
		id, ok := parseName(name)
		switch {
		case !ok || id.lo > cut.Segment:
		case id.hi == cut.Segment:
			files[name] = cut.Offset
		default:
			files[name] = info.Size()
		}
	}
	return files
}

// TestBitFlips flips single bits everywhere before the mark: Open with its scan, and Verify, name
// the file and a place at or before the bit.
func TestBitFlips(t *testing.T) {
	o, fs := built(t, 3)
	// A restart removes what a rewrite left behind; so will the flips find only what counts.
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
	if err := o.log.Close(); err != nil {
		t.Fatal(err)
	}
	rewritten, flips := 0, 0
	for name, size := range filesOf(t, fs, o.saved.mark) {
		if id, _ := parseName(name); id.gen > 0 {
			rewritten++
		}
		path := filepath.Join(testDir, name)
		for off := int64(0); off < size; off += 1 + o.rng.Int64N(90) {
			bit := uint(o.rng.IntN(8))
			flip := func() {
				if err := vfs.Flip(fs, path, off, bit); err != nil {
					t.Fatal(err)
				}
			}
			flip()
			flips++
			err := o.open()
			if err == nil {
				t.Fatalf("%s: bit %d of byte %d flipped, and nobody saw it", name, bit, off)
			}
			wantCorrupt(t, err, path, off)
			rep, err := Verify(fs, testDir, o.saved.mark, nil)
			if err != nil && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			if err == nil {
				if len(rep.Damages) == 0 {
					t.Fatalf("%s: verify did not see bit %d of byte %d", name, bit, off)
				}
				wantCorrupt(t, rep.Damages[0], path, off)
			}
			flip()
		}
	}
	if err := o.open(); err != nil || rewritten == 0 || flips < 400 {
		t.Fatalf("%d rewritten files, %d flips; then %v", rewritten, flips, err)
	}
}

// wantCorrupt checks that err names the place. A flipped version is a version.
func wantCorrupt(t *testing.T, err error, path string, off int64) {
	t.Helper()
	if errors.Is(err, ErrVersion) && strings.Contains(err.Error(), path) && off/2 == 4 {
		return
	}
	var c *CorruptError
	if !errors.As(err, &c) {
		t.Fatalf("%s, byte %d: %v", path, off, err)
	}
	// A footer is looked for at the end of the file, wherever the bit is in it.
	if c.File != path || c.Offset > off && !strings.Contains(c.Reason, "footer") {
		t.Fatalf("byte %d of %s: %v", off, path, err)
	}
}

// TestReadDamaged flips bits of a log that is open.
func TestReadDamaged(t *testing.T) {
	o, fs := built(t, 4)
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
	for _, list := range o.index {
		for _, v := range list {
			f := o.log.lookup(v.pos)
			off := v.pos.offset()
			at := off + o.rng.Int64N(recordSize(len(o.recs[v.at].kv)))
			if err := vfs.Flip(fs, f.path, at, uint(o.rng.IntN(8))); err != nil {
				t.Fatal(err)
			}
			_, err := o.log.Read(v.pos)
			var c *CorruptError
			if !errors.As(err, &c) || c.File != f.path || c.Offset != off {
				t.Fatalf("byte %d of the record at %d: %v", at-off, off, err)
			}
		}
	}
}

// TestMisplaced puts the bytes of a record in another place, and a file under another name.
func TestMisplaced(t *testing.T) {
	fs := vfs.NewMem()
	o, err := newOwner(fs, Options{SegmentBytes: MinSegmentBytes}, testSeed(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := o.txn(put("key", []byte("as long as the other"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.checkpoint(); err != nil {
		t.Fatal(err)
	}
	f := o.log.w.f
	size := recordSize(len(o.recs[0].kv))
	if _, err := f.f.WriteAt(f.data[headerBytes:headerBytes+size], headerBytes+size); err != nil {
		t.Fatal(err)
	}
	var c *CorruptError
	_, err = o.log.Read(o.index["key"][1].pos)
	if !errors.As(err, &c) || c.Reason != "record checksum" {
		t.Fatal(err)
	}
	if err := o.open(); !errors.As(err, &c) || c.Offset != headerBytes+size {
		t.Fatal(err)
	}
	other := filepath.Join(testDir, ident{lo: 2, hi: 2}.name())
	if err := fs.Rename(f.path, other); err != nil {
		t.Fatal(err)
	}
	_, err = Open(fs, testDir, o.opts, Mark{Segment: 2, Offset: o.saved.mark.Offset})
	if !errors.As(err, &c) || c.File != filepath.Join(testDir, ident{lo: 1, hi: 1}.name()) {
		t.Fatal(err)
	}
}

// TestMissing removes each file before the mark in turn.
func TestMissing(t *testing.T) {
	o, fs := built(t, 5)
	for name := range filesOf(t, fs, o.saved.mark) {
		c := *o
		c.fs = fs.KillClone()
		if err := c.open(); err != nil { // removes what is superseded
			t.Fatal(err)
		}
		path := filepath.Join(testDir, name)
		if c.fs.Remove(path) != nil {
			continue // it was superseded
		}
		var corrupt *CorruptError
		if err := c.open(); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "missing") {
			t.Fatalf("without %s: %v", name, err)
		}
		rep, err := Verify(c.fs, testDir, c.saved.mark, nil)
		if err != nil || len(rep.Damages) == 0 {
			t.Fatalf("without %s: %v %v", name, rep, err)
		}
	}
}

// TestOpenRefuses checks what Open says of directories that are not this log's, and that it leaves
// them as they are.
func TestOpenRefuses(t *testing.T) {
	o, mem := built(t, 6)
	older := Mark{Segment: 1, Offset: headerBytes}
	for _, c := range []struct {
		name   string
		cut    Mark
		change func(fs *vfs.Mem) (Options, error)
		want   error // nil: a CorruptError
	}{
		{"another log", o.saved.mark, func(*vfs.Mem) (Options, error) {
			return Options{LogID: 7, SegmentBytes: MinSegmentBytes}, nil
		}, ErrForeign},
		{"another log, to be emptied", Mark{}, func(*vfs.Mem) (Options, error) {
			return Options{LogID: 7, SegmentBytes: MinSegmentBytes}, nil
		}, ErrForeign},
		{"a stranger's file", o.saved.mark, func(fs *vfs.Mem) (Options, error) {
			_, err := fs.Create(filepath.Join(testDir, "db"))
			return o.opts, err
		}, ErrForeign},
		{"a newer format", o.saved.mark, func(fs *vfs.Mem) (Options, error) {
			return o.opts, setVersion(fs, firstFile(fs), formatVersion+1)
		}, ErrVersion},
		{"a flipped bit in the format", o.saved.mark, func(fs *vfs.Mem) (Options, error) {
			return o.opts, vfs.Flip(fs, firstFile(fs), 9, 1)
		}, nil},
		{"no directory", o.saved.mark, func(fs *vfs.Mem) (Options, error) {
			return o.opts, fs.RemoveAll(testDir)
		}, nil},
		{"an old checkpoint", older, func(*vfs.Mem) (Options, error) { return o.opts, nil }, nil},
		{"a mark behind the end", Mark{Segment: 1 << 20, Offset: headerBytes},
			func(*vfs.Mem) (Options, error) { return o.opts, nil }, nil},
		{"a mark behind the file", Mark{Segment: o.saved.mark.Segment, Offset: 1 << 20},
			func(*vfs.Mem) (Options, error) { return o.opts, nil }, nil},
		{"a mark inside a record", Mark{o.saved.mark.Segment, o.saved.mark.Offset - recordAlign},
			func(*vfs.Mem) (Options, error) { return o.opts, nil }, nil},
	} {
		fs := mem.KillClone()
		opts, err := c.change(fs)
		if err != nil {
			t.Fatal(err)
		}
		fs.SetHook(func(op vfs.Op, after bool) { t.Errorf("%s: Open did %v", c.name, op) })
		log, err := Open(fs, testDir, opts, c.cut)
		var corrupt *CorruptError
		if c.want != nil && !errors.Is(err, c.want) || c.want == nil && !errors.As(err, &corrupt) {
			t.Errorf("%s: %v, %v", c.name, log, err)
		}
	}
}

// setVersion makes the header that of another release.
func setVersion(fs vfs.FS, name string, version uint16) error {
	f, err := fs.OpenReadWrite(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [headerBytes]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return err
	}
	binary.LittleEndian.PutUint16(b[8:], version)
	sum := crc32.Checksum(b[:headerBytes-4], castagnoli)
	binary.LittleEndian.PutUint32(b[headerBytes-4:], sum)
	_, err = f.WriteAt(b[:], 0)
	return err
}

func firstFile(fs vfs.FS) string {
	names, err := fs.List(testDir)
	if err != nil {
		panic(err)
	}
	return filepath.Join(testDir, names[0])
}

// TestErased checks that nothing of the old tail is left behind a mark.
func TestErased(t *testing.T) {
	o, fs := built(t, 8)
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
	f := o.log.w.f
	for off := f.end.Load(); off < int64(len(f.data)); off++ {
		if f.data[off] != 0 {
			t.Fatalf("byte %d of %s is %d", off, f.path, f.data[off])
		}
	}
	names, err := fs.List(testDir)
	if err != nil || filepath.Join(testDir, names[len(names)-1]) != f.path {
		t.Fatalf("%v %v: files behind the mark", names, err)
	}
}

// TestDecodeNoise feeds noise to the decoders: an answer, never a panic.
func TestDecodeNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	w := newWriter(&file{table: make([]tableEntry, 100)}, MinSegmentBytes, headerBytes)
	for i := range int64(20) {
		w.add(cairn.Revision{Main: i + 1}, i%3 == 0, randomBytes(rng, rng.IntN(100)))
	}
	h, _ := header{id: ident{lo: 1, hi: 1}}.encode()
	f := w.f
	f.last = w.last
	w.start = w.pos()
	w.publish()
	good := append(append(h[:], w.tail...), f.footer()...)
	if _, _, reason := decodeFooter(good, 0); reason != "" {
		t.Fatal(reason)
	}
	for range 20_000 {
		b := append([]byte(nil), good[:rng.IntN(len(good)+1)]...)
		for range rng.IntN(8) {
			if len(b) > 0 {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
		}
		if len(b) > trailerBytes && rng.IntN(2) == 0 { // a footer whose checksum is right
			tr := b[len(b)-trailerBytes:]
			copy(tr[76:], good[len(good)-4:])
		}
		decodeHeader(b)
		decodeFooter(b, 0)
		decodeRecord(b, 0, headerBytes)
		parseName(string(b))
		DecodeMark(b[:min(len(b), MarkBytes)])
	}
}
