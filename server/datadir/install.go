package datadir

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path/filepath"
)

// installFile holds, while the state of another member takes the place of this one's, the index of
// that state.
const installFile = "INSTALLING"

// Incoming is the directory in which the state of another member gathers.
func (d *Dir) Incoming() string { return filepath.Join(d.Root, "incoming") }

// BeginInstall makes durable that a checkpoint of that index, and the raft log emptied to it, will
// take the place of what is there. Until that checkpoint is saved the directory is as it was; from
// then on the log is to be emptied, by a restart if need be.
func (d *Dir) BeginInstall(index, term uint64) error {
	content := fmt.Appendf(nil, "index %d term %d\n", index, term)
	if err := d.writeFile(installFile, content); err != nil {
		return fmt.Errorf("note that a state is installed: %w", err)
	}
	return nil
}

// EndInstall says that the raft log was emptied.
func (d *Dir) EndInstall() error {
	err := d.FS.Remove(filepath.Join(d.Root, installFile))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	return err
}

// Installed is the index of the state whose installation did not end, 0 if there is none.
func (d *Dir) Installed() (index uint64, err error) {
	f, err := d.FS.Open(filepath.Join(d.Root, installFile))
	if errors.Is(err, iofs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, maxFormatBytes)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	var term uint64
	if _, err := fmt.Sscanf(string(b[:n]), "index %d term %d\n", &index, &term); err != nil {
		return 0, fmt.Errorf("%w: %s reads %q; restore the member from a backup", ErrDamaged,
			f.Name(), b[:n])
	}
	return index, nil
}
