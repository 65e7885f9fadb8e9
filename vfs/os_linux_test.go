package vfs_test

import (
	"errors"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// TestFullDisk writes to the device that is always full.
func TestFullDisk(t *testing.T) {
	f, err := vfs.OS().OpenReadWrite("/dev/full")
	must(t, err)
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("a full disk says %v", err)
	}
}
