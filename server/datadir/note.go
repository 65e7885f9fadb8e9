package datadir

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path/filepath"

	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/internal/remedy"
)

// A note is a small file that says how far something is that a crash may cut short: its name says
// what, and a number what it is about.
type note struct {
	file string // its name in the data directory
	unit string // of the number
}

var (
	// proven: while a start has not ended, the newest revision that the record log showed.
	proven = note{"PROVEN", "revision"}
	// installing: while another member's state takes the place of this one's, its index.
	installing = note{"INSTALLING", "index"}
	// repairing: while records are missing that were damaged, the index of the checkpoint that
	// names them.
	repairing = note{"REPAIRING", "index"}
)

// set makes a note durable.
func (d *Dir) set(n note, number uint64) error {
	if err := d.writeFile(n.file, fmt.Appendf(nil, "%s %d\n", n.unit, number)); err != nil {
		return fmt.Errorf("note the %s in %s: %w", n.unit, n.file, err)
	}
	return nil
}

// get reads a note; ok is false if there is none.
func (d *Dir) get(n note) (number uint64, ok bool, err error) {
	f, err := d.FS.Open(filepath.Join(d.Root, n.file))
	if errors.Is(err, iofs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	b := make([]byte, maxFormatBytes)
	size, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	if _, err := fmt.Sscanf(string(b[:size]), n.unit+" %d\n", &number); err != nil {
		return 0, false, fmt.Errorf("%w: %s reads %q; %s", ErrDamaged, f.Name(), b[:size],
			remedy.Replace)
	}
	return number, true, nil
}

// clear takes a note away, if it is there. It may come back after a power failure.
func (d *Dir) clear(n note) error {
	err := d.FS.Remove(filepath.Join(d.Root, n.file))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	return err
}

// clearForGood takes a note away that must not come back: it would speak of a time that is over.
func (d *Dir) clearForGood(n note) error {
	if err := d.clear(n); err != nil {
		return err
	}
	if mutate.On(mutate.NoteStays) {
		return nil
	}
	return d.FS.SyncDir(d.Root)
}
