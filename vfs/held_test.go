package vfs_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/vfs/vfstest"
)

func TestHeldConformance(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { return vfs.Held(vfs.OS()), t.TempDir() })
}

// TestHeldLoses: another process sees what was synced, and nothing else.
func TestHeldLoses(t *testing.T) {
	dir, held := t.TempDir(), vfs.Held(vfs.OS())
	name := filepath.Join(dir, "f")
	f, err := held.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string, off int64) {
		t.Helper()
		if _, err := f.WriteAt([]byte(text), off); err != nil {
			t.Fatal(err)
		}
	}
	read := func(fsys vfs.FS) string {
		t.Helper()
		g, err := fsys.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		size, err := g.Size()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		if _, err := g.ReadAt(b, 0); err != nil && size > 0 {
			t.Fatal(err)
		}
		return string(bytes.TrimRight(b, "\x00"))
	}
	write("synced", 0)
	if err := f.SyncData(); err != nil {
		t.Fatal(err)
	}
	write("lost", 6)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(held); got != "syncedlost" {
		t.Errorf("the process itself reads %q", got)
	}
	if got := read(vfs.OS()); got != "synced" {
		t.Errorf("after its end there is %q", got)
	}
}
