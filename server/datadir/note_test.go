package datadir

import (
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// TestNotesStayAway lets the power fail after a note was taken away: it must not come back, for an
// INSTALLING that does empties a raft log which has gone on since.
func TestNotesStayAway(t *testing.T) {
	fs := vfs.NewMem()
	d, err := Open(fs, "data", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BeginInstall(23); err != nil {
		t.Fatal(err)
	}
	if err := d.EndInstall(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(fs.CrashClone(nil), "data", "")
	if err != nil {
		t.Fatal(err)
	}
	if installed, stale, err := again.Installed(23); installed || stale || err != nil {
		t.Errorf("after a power failure Installed(23) = %v, %v", installed, err)
	}
}
