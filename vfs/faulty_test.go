package vfs_test

import (
	"errors"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// script does each kind of mutating operation once, the same way each time.
func script(fsys vfs.FS) error {
	f, err := fsys.Create("/d/a")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("0123456789"), 0); err != nil {
		return err
	}
	steps := []func() error{
		func() error { return f.Allocate(100) },
		func() error { return f.Truncate(10) },
		f.Sync,
		f.SyncData,
		func() error { return fsys.Rename("/d/a", "/d/b") },
		func() error { return fsys.SyncDir("/d") },
		func() error { return fsys.MkdirAll("/d/e") },
		func() error { return fsys.RemoveAll("/d/e") },
		func() error { return fsys.Remove("/d/b") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func TestFaultyEveryOperation(t *testing.T) {
	counted := vfs.NewFaulty(newMem(t))
	must(t, script(counted))
	if counted.Ops() != 11 || counted.Fired() != 0 {
		t.Fatalf("%d operations, %d failed", counted.Ops(), counted.Fired())
	}
	for n := int64(1); n <= counted.Ops(); n++ {
		f := vfs.NewFaulty(newMem(t))
		f.Inject(vfs.Fault{Nth: n})
		if err := script(f); !errors.Is(err, vfs.ErrInjected) || f.Ops() != n || f.Fired() != 1 {
			t.Fatalf("operation %d: %v after %d", n, err, f.Ops())
		}
		must(t, script(f)) // once only
	}
	f := vfs.NewFaulty(newMem(t))
	f.Inject(vfs.Fault{Nth: 3, Forever: true, Err: vfs.ErrNoSpace})
	for range 3 {
		if err := script(f); !errors.Is(err, vfs.ErrNoSpace) {
			t.Fatalf("got %v", err)
		}
	}
	f.Clear()
	must(t, script(f))
}

func TestFaultyChosen(t *testing.T) {
	m := newMem(t)
	f := vfs.NewFaulty(m)
	f.Inject(vfs.Fault{
		Match: func(op vfs.Op) bool { return op.Kind == vfs.OpRead && op.Path == "/d/b" },
		Nth:   2,
	})
	a, b := mustCreate(t, f, "/d/a"), mustCreate(t, f, "/d/b")
	p := make([]byte, 1)
	for i, want := range []bool{false, true, false} {
		mustWrite(t, a, 0, p)
		mustWrite(t, b, 0, p)
		if _, err := a.ReadAt(p, 0); err != nil {
			t.Fatalf("a file that was not chosen fails: %v", err)
		}
		if _, err := b.ReadAt(p, 0); errors.Is(err, vfs.ErrInjected) != want {
			t.Fatalf("read %d: %v", i, err)
		}
	}
}

func TestFaultyShortAndAfter(t *testing.T) {
	m := newMem(t)
	f := vfs.NewFaulty(m)
	file := mustCreate(t, f, "/d/a")
	f.Inject(vfs.Fault{Short: true})
	if n, err := file.WriteAt([]byte("abcdef"), 0); n != 3 || !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("short write: %d, %v", n, err)
	}
	if got := contentOf(t, m, "/d/a"); got != "abc" {
		t.Fatalf("a short write left %q", got)
	}
	f.Inject(vfs.Fault{After: true})
	if _, err := file.WriteAt([]byte("ABCDEF"), 0); !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("got %v", err)
	}
	if got := contentOf(t, m, "/d/a"); got != "ABCDEF" {
		t.Fatalf("a write that fails after it happened left %q", got)
	}
	f.Inject(vfs.Fault{After: true})
	if err := f.Rename("/d/a", "/d/b"); !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("got %v", err)
	}
	if got := contentOf(t, m, "/d/b"); got != "ABCDEF" {
		t.Fatalf("after the rename: %q", got)
	}
}

func TestFlip(t *testing.T) {
	m := newMem(t)
	f := mustCreate(t, m, "/d/a")
	mustWrite(t, f, 0, []byte("abc"))
	must(t, m.SyncDir("/d"))
	must(t, vfs.Flip(m, "/d/a", 1, 0))
	if got := contentOf(t, m.CrashClone(nil), "/d/a"); got != "acc" {
		t.Fatalf("got %q", got)
	}
	if err := vfs.Flip(m, "/d/a", 3, 0); err == nil {
		t.Fatal("flipped a bit past the end")
	}
}
