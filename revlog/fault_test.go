//go:build linux || darwin || freebsd

package revlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// TestUnreadablePage cuts a file under its mapping, which faults like a page that the disk cannot
// deliver.
func TestUnreadablePage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "revlog")
	log, err := Open(vfs.OS(), dir, Options{SegmentBytes: 16 << 10}, Mark{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var first Pos
	for main := int64(1); main < 100; main++ {
		pos, err := log.Append(cairn.Revision{Main: main}, false, make([]byte, 300))
		if err != nil {
			t.Fatal(err)
		}
		if main == 1 {
			first = pos
		}
	}
	if err := errors.Join(log.Flush(), log.Sync()); err != nil {
		t.Fatal(err)
	}
	path := log.lookup(first).path
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err = log.Read(first)
	checkUnreadable(t, err, path)
	err = log.Scan(cairn.Revision{}, 1<<62, func(Pos, Record) (bool, error) { return true, nil })
	checkUnreadable(t, err, path)
	// A panic of the caller's is not swallowed.
	defer func() {
		if recover() != "mine" {
			t.Error("the panic was lost")
		}
	}()
	log.Scan(cairn.Revision{Main: 99}, 99, func(Pos, Record) (bool, error) { panic("mine") })
}

func checkUnreadable(t *testing.T, err error, path string) {
	t.Helper()
	var c *CorruptError
	if !errors.As(err, &c) || c.File != path || !strings.Contains(c.Reason, "cannot be read") {
		t.Fatal(err)
	}
}
