package server

import (
	"errors"
	"testing"

	"github.com/cairnkv/cairn/server/datadir"
	"github.com/cairnkv/cairn/vfs"
)

// TestStopLeavesCheckpoint: a start after a clean stop finds a checkpoint of all that was done, and
// one after a kill replays it.
func TestStopLeavesCheckpoint(t *testing.T) {
	const puts = 20
	fs := vfs.NewMem()
	sys := smallSystem(fs)
	// Nothing but the stop makes a checkpoint.
	r := mustStart(t, sys, "--snapshot-count=1000000")
	var rev int64
	for range puts {
		var err error
		if rev, err = r.put("k", "v", 0); err != nil {
			t.Fatal(err)
		}
	}
	killed := fs.KillClone()
	r.stop(t)
	for _, c := range []struct {
		name string
		fs   *vfs.Mem
		rev  int64
	}{{"a kill", killed, 1}, {"a stop", fs, rev}} {
		dir, err := datadir.Open(c.fs, "data", "")
		if err != nil {
			t.Fatal(err)
		}
		img, found, err := dir.Load()
		if err := errors.Join(err, dir.Close()); err != nil || !found {
			t.Fatalf("after %s: no checkpoint: %v", c.name, err)
		}
		if img.Rev != c.rev {
			t.Errorf("after %s the checkpoint has revision %d of %d", c.name, img.Rev, rev)
		}
		sys.fs = c.fs
		r := mustStart(t, sys)
		if got := r.stores.machine.Store().Rev(); got != rev {
			t.Errorf("after %s the start comes to revision %d of %d", c.name, got, rev)
		}
		r.stop(t)
	}
}
