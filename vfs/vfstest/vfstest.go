// Package vfstest holds the conformance suite that every [vfs.FS] runs.
package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// Run checks the contract of a file system. open is called once for each subtest and returns the
// file system and an existing, empty directory on it.
func Run(t *testing.T, open func(t *testing.T) (vfs.FS, string)) {
	t.Helper()
	tests := []struct {
		name string
		fn   func(t *testing.T, fsys vfs.FS, dir string)
	}{
		{"CreateReadWrite", testCreateReadWrite},
		{"CreateTruncates", testCreateTruncates},
		{"Holes", testHoles},
		{"Truncate", testTruncate},
		{"Allocate", testAllocate},
		{"NotExist", testNotExist},
		{"ReadOnly", testReadOnly},
		{"Closed", testClosed},
		{"RenameOver", testRenameOver},
		{"RemoveOpen", testRemove},
		{"RemoveAll", testRemoveAll},
		{"MkdirAll", testMkdirAll},
		{"List", testList},
		{"Lock", testLock},
		{"Space", testSpace},
		{"Sync", testSync},
		{"Map", testMap},
		{"MapOutlives", testMapOutlives},
		{"MapGrow", testMapGrow},
		{"Concurrent", testConcurrent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fsys, dir := open(t)
			test.fn(t, fsys, dir)
		})
	}
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, fsys vfs.FS, name, content string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	n, err := f.WriteAt([]byte(content), 0)
	must(t, err)
	if n != len(content) {
		t.Fatalf("WriteAt wrote %d of %d bytes without an error", n, len(content))
	}
	return f
}

func put(t *testing.T, fsys vfs.FS, name, content string) {
	t.Helper()
	must(t, create(t, fsys, name, content).Close())
}

func content(t *testing.T, f vfs.File) string {
	t.Helper()
	size, err := f.Size()
	must(t, err)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	must(t, err)
	return string(b)
}

func want(t *testing.T, fsys vfs.FS, name, text string) {
	t.Helper()
	f, err := fsys.Open(name)
	must(t, err)
	defer f.Close()
	if got := content(t, f); got != text {
		t.Fatalf("%s holds %q, want %q", name, got, text)
	}
}

func wantErr(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

func testCreateReadWrite(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "hello world")
	if f.Name() != name {
		t.Fatalf("Name is %q, want %q", f.Name(), name)
	}
	_, err := f.WriteAt([]byte("W"), 6)
	must(t, err)
	b := make([]byte, 5)
	_, err = f.ReadAt(b, 6)
	must(t, err)
	if string(b) != "World" {
		t.Fatalf("read %q", b)
	}
	n, err := f.ReadAt(make([]byte, 9), 6)
	if n != 5 || err != io.EOF {
		t.Fatalf("read past the end: %d, %v, want 5 and io.EOF itself", n, err)
	}
	n, err = f.ReadAt(b, 100)
	if n != 0 || err != io.EOF {
		t.Fatalf("read beyond the end: %d, %v, want 0 and io.EOF itself", n, err)
	}
	if _, err := f.ReadAt(b, -1); err == nil {
		t.Fatal("reading at a negative offset succeeds")
	}
	if _, err := f.WriteAt(b, -1); err == nil {
		t.Fatal("writing at a negative offset succeeds")
	}
	must(t, f.Close())
	g, err := fsys.OpenReadWrite(name)
	must(t, err)
	_, err = g.WriteAt([]byte("!"), 11)
	must(t, err)
	must(t, g.Close())
	want(t, fsys, name, "hello World!")
	info, err := fsys.Stat(name)
	must(t, err)
	if info.Name() != "a" || info.Size() != 12 || info.IsDir() || !info.Mode().IsRegular() {
		t.Fatalf("Stat gives %q, %d bytes, %v", info.Name(), info.Size(), info.Mode())
	}
}

func testCreateTruncates(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	put(t, fsys, name, "old and long")
	put(t, fsys, name, "new")
	want(t, fsys, name, "new")
}

func testHoles(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "x")
	_, err := f.WriteAt([]byte("y"), 10_000)
	must(t, err)
	must(t, f.Close())
	want(t, fsys, name, "x"+string(make([]byte, 9_999))+"y")
}

func testTruncate(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "0123456789")
	defer f.Close()
	must(t, f.Truncate(4))
	must(t, f.Truncate(8))
	if got := content(t, f); got != "0123\x00\x00\x00\x00" {
		t.Fatalf("after shrinking and growing: %q", got)
	}
	if err := f.Truncate(-1); err == nil {
		t.Fatal("a negative length succeeds")
	}
}

func testAllocate(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "data")
	defer f.Close()
	must(t, f.Truncate(300_000)) // a hole to be filled
	_, err := f.WriteAt([]byte("tail"), 299_996)
	must(t, err)
	must(t, f.Allocate(0))
	must(t, f.Allocate(100_000))
	must(t, f.Allocate(1_000_000))
	if size, err := f.Size(); err != nil || size != 1_000_000 {
		t.Fatalf("size is %d, %v after Allocate", size, err)
	}
	must(t, f.Allocate(10)) // never shrinks
	model := make([]byte, 1_000_000)
	copy(model, "data")
	copy(model[299_996:], "tail")
	if got := content(t, f); got != string(model) {
		t.Fatal("Allocate changed the content")
	}
}

func testNotExist(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "none")
	_, err := fsys.Open(name)
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.OpenReadWrite(name)
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.Stat(name)
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.List(name)
	wantErr(t, err, fs.ErrNotExist)
	_, err = fsys.Create(filepath.Join(name, "a"))
	wantErr(t, err, fs.ErrNotExist)
	wantErr(t, fsys.Remove(name), fs.ErrNotExist)
	wantErr(t, fsys.Rename(name, filepath.Join(dir, "a")), fs.ErrNotExist)
	wantErr(t, fsys.SyncDir(name), fs.ErrNotExist)
}

func testReadOnly(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	put(t, fsys, name, "data")
	f, err := fsys.Open(name)
	must(t, err)
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Fatal("a file opened for reading takes a write")
	}
	want(t, fsys, name, "data")
}

func testClosed(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "data")
	must(t, f.Close())
	_, err := f.WriteAt([]byte("x"), 0)
	wantErr(t, err, fs.ErrClosed)
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, fs.ErrClosed)
	if f.Sync() == nil || f.SyncData() == nil || f.Close() == nil {
		t.Fatal("a closed file can be synced or closed again")
	}
}

func testRenameOver(t *testing.T, fsys vfs.FS, dir string) {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	put(t, fsys, a, "new")
	put(t, fsys, b, "old")
	must(t, fsys.Rename(a, b))
	want(t, fsys, b, "new")
	_, err := fsys.Stat(a)
	wantErr(t, err, fs.ErrNotExist)
	sub := filepath.Join(dir, "sub")
	must(t, fsys.MkdirAll(sub))
	must(t, fsys.Rename(b, filepath.Join(sub, "c")))
	want(t, fsys, filepath.Join(sub, "c"), "new")
}

func testRemove(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	put(t, fsys, name, "data")
	must(t, fsys.Remove(name))
	_, err := fsys.Stat(name)
	wantErr(t, err, fs.ErrNotExist)
	sub := filepath.Join(dir, "sub")
	must(t, fsys.MkdirAll(sub))
	put(t, fsys, filepath.Join(sub, "b"), "")
	if err := fsys.Remove(sub); err == nil {
		t.Fatal("a directory that is not empty was removed")
	}
	must(t, fsys.Remove(filepath.Join(sub, "b")))
	must(t, fsys.Remove(sub))
}

func testRemoveAll(t *testing.T, fsys vfs.FS, dir string) {
	sub := filepath.Join(dir, "x")
	must(t, fsys.MkdirAll(filepath.Join(sub, "y", "z")))
	put(t, fsys, filepath.Join(sub, "y", "a"), "data")
	put(t, fsys, filepath.Join(dir, "keep"), "data")
	must(t, fsys.RemoveAll(sub))
	must(t, fsys.RemoveAll(sub))
	must(t, fsys.RemoveAll(filepath.Join(sub, "y", "z")))
	names, err := fsys.List(dir)
	must(t, err)
	if !slices.Equal(names, []string{"keep"}) {
		t.Fatalf("left: %v", names)
	}
}

func testMkdirAll(t *testing.T, fsys vfs.FS, dir string) {
	sub := filepath.Join(dir, "x", "y")
	must(t, fsys.MkdirAll(sub))
	must(t, fsys.MkdirAll(sub))
	info, err := fsys.Stat(sub)
	must(t, err)
	if !info.IsDir() || info.Name() != "y" {
		t.Fatalf("%s is %v", info.Name(), info.Mode())
	}
	put(t, fsys, filepath.Join(sub, "a"), "data")
	if err := fsys.MkdirAll(filepath.Join(sub, "a")); err == nil {
		t.Fatal("made a directory over a file")
	}
	if err := fsys.MkdirAll(filepath.Join(sub, "a", "b")); err == nil {
		t.Fatal("made a directory below a file")
	}
}

func testList(t *testing.T, fsys vfs.FS, dir string) {
	for _, name := range []string{"c", "a", "b"} {
		put(t, fsys, filepath.Join(dir, name), "")
	}
	must(t, fsys.MkdirAll(filepath.Join(dir, "B")))
	names, err := fsys.List(dir)
	must(t, err)
	if !slices.Equal(names, []string{"B", "a", "b", "c"}) {
		t.Fatalf("List gives %v", names)
	}
}

func testLock(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "LOCK")
	lock, err := fsys.Lock(name)
	must(t, err)
	_, err = fsys.Lock(name)
	wantErr(t, err, vfs.ErrLocked)
	must(t, lock.Close())
	again, err := fsys.Lock(name)
	must(t, err)
	must(t, again.Close())
}

func testSpace(t *testing.T, fsys vfs.FS, dir string) {
	free, total, err := fsys.Space(dir)
	must(t, err)
	if total == 0 || free > total {
		t.Fatalf("free %d of %d", free, total)
	}
}

func testSync(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "data")
	must(t, f.StartWriteback(0, 4))
	must(t, f.SyncData())
	must(t, f.Sync())
	must(t, f.Close())
	must(t, fsys.SyncDir(dir))
	want(t, fsys, name, "data")
}

func testMap(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "0123456789")
	defer f.Close()
	must(t, f.Allocate(20_000))
	m, err := f.Map(15_000)
	must(t, err)
	if len(m.Bytes()) != 15_000 || string(m.Bytes()[:10]) != "0123456789" {
		t.Fatalf("mapping of %d bytes begins %q", len(m.Bytes()), m.Bytes()[:10])
	}
	_, err = f.WriteAt([]byte("written"), 14_990)
	must(t, err)
	if got := string(m.Bytes()[14_990:14_997]); got != "written" {
		t.Fatalf("mapping shows %q", got)
	}
	_, err = f.WriteAt([]byte("across the end"), 14_995)
	must(t, err)
	if got := string(m.Bytes()[14_995:]); got != "acros" {
		t.Fatalf("mapping shows %q at its end", got)
	}
	must(t, m.Unmap())
	must(t, m.Unmap())
	if _, err := f.Map(20_001); err == nil {
		t.Fatal("mapped past the end")
	}
	if _, err := f.Map(-1); err == nil {
		t.Fatal("mapped a negative size")
	}
	empty, err := f.Map(0)
	must(t, err)
	if len(empty.Bytes()) != 0 {
		t.Fatal("an empty mapping has bytes")
	}
	must(t, empty.Unmap())
}

func testMapOutlives(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "0123456789")
	m, err := f.Map(10)
	must(t, err)
	must(t, f.Close())
	if string(m.Bytes()) != "0123456789" {
		t.Fatalf("after Close the mapping shows %q", m.Bytes())
	}
	must(t, m.Unmap())
}

func testMapGrow(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "0123456789")
	defer f.Close()
	small, err := f.Map(10)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("x"), 1<<20), 10)
	must(t, err)
	large, err := f.Map(1 << 20)
	must(t, err)
	_, err = f.WriteAt([]byte("AB"), 2)
	must(t, err)
	if a, b := string(small.Bytes()), string(large.Bytes()[:12]); a != "01AB456789" || b != a+"xx" {
		t.Fatalf("the mappings show %q and %q", a, b)
	}
	must(t, small.Unmap())
	must(t, large.Unmap())
}

// testConcurrent writes, reads and maps ranges that do not overlap, at once.
func testConcurrent(t *testing.T, fsys vfs.FS, dir string) {
	const workers, part, rounds = 4, 8192, 20
	f, err := fsys.Create(filepath.Join(dir, "a"))
	must(t, err)
	defer f.Close()
	must(t, f.Allocate(workers*part))
	m, err := f.Map(workers * part)
	must(t, err)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for round := range rounds {
				p := bytes.Repeat([]byte{byte(w*rounds + round + 1)}, part)
				got := make([]byte, part)
				_, werr := f.WriteAt(p, int64(w*part))
				_, rerr := f.ReadAt(got, int64(w*part))
				if werr != nil || rerr != nil || !bytes.Equal(got, p) {
					t.Errorf("worker %d reads back other bytes: %v, %v", w, werr, rerr)
				}
				if !bytes.Equal(m.Bytes()[w*part:(w+1)*part], p) {
					t.Errorf("worker %d sees other bytes in the mapping", w)
				}
				if err := f.SyncData(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, m.Unmap())
}
