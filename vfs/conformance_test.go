package vfs_test

import (
	"testing"

	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/vfs/vfstest"
)

func TestConformance(t *testing.T) {
	memDir := func(t *testing.T, fsys vfs.FS) string {
		if err := fsys.MkdirAll("/data/dir"); err != nil {
			t.Fatal(err)
		}
		return "/data/dir"
	}
	t.Run("OS", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { return vfs.OS(), t.TempDir() })
	})
	t.Run("Fallback", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { return vfs.Fallback(), t.TempDir() })
	})
	t.Run("Mem", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) {
			m := vfs.NewMem()
			return m, memDir(t, m)
		})
	})
	t.Run("MemClone", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) {
			m := vfs.NewMem()
			dir := memDir(t, m)
			return m.CrashClone(nil), dir
		})
	})
	t.Run("Faulty", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) {
			f := vfs.NewFaulty(vfs.NewMem())
			return f, memDir(t, f)
		})
	})
	t.Run("FaultyOS", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) {
			return vfs.NewFaulty(vfs.OS()), t.TempDir()
		})
	})
}
