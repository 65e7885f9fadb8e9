package server

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// filling is a file system that has less room each time it is asked.
type filling struct {
	vfs.FS
	free, total, step uint64
	asked             int
}

func (f *filling) Space(string) (free, total uint64, err error) {
	f.asked++
	free = f.free
	f.free -= min(f.free, f.step)
	return free, f.total, nil
}

// TestBackupLeavesRoom fills the disk under a backup: it gives up in time, with an error that says
// so, and leaves nothing.
func TestBackupLeavesRoom(t *testing.T) {
	sys := smallSystem(vfs.NewMem())
	sys.tmp = t.TempDir()
	r := mustStart(t, sys)
	defer r.stop(t)
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		if _, err := r.put(key, strings.Repeat(key, spacePeriod/2), 0); err != nil {
			t.Fatal(err)
		}
	}
	const live = 3 * spacePeriod
	for _, c := range []struct {
		name  string
		fs    filling
		asked int
		ok    bool
	}{
		{"room", filling{total: 1 << 30, free: spareBytes + 2*live}, 4, true},
		{"small disk", filling{total: 10 * live, free: 3 * live}, 4, true},
		{"no room from the start", filling{total: 1 << 30, free: spareBytes + live/2}, 1, false},
		{"filled meanwhile", filling{
			total: 1 << 30, free: spareBytes + 2*live, step: live,
		}, 4, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.fs.FS = vfs.OS()
			b := &backups{
				node: r.node, fs: &c.fs, tmp: dir, live: r.stores.log.LiveBytes,
			}
			sent, size, err := b.Make(context.Background())
			if c.fs.asked != c.asked {
				t.Errorf("the room was looked at %d times, want %d", c.fs.asked, c.asked)
			}
			if c.ok {
				if err != nil || size < live {
					t.Fatalf("%d bytes, %v", size, err)
				}
				err = sent.Close()
			} else if api, is := errors.AsType[*cairn.Error](err); !is ||
				api.Code != cairn.CodeResourceExhausted ||
				!strings.Contains(api.Text, "no room for a backup") {
				t.Fatalf("got %v", err)
			} else {
				err = nil
			}
			left, lerr := os.ReadDir(dir)
			if err != nil || lerr != nil || len(left) > 0 {
				t.Errorf("left %v, %v, %v", left, err, lerr)
			}
		})
	}
}
