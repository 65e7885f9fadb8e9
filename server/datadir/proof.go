package datadir

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path/filepath"
)

// provenFile holds, while a start has not ended, the newest revision that the record log showed.
const provenFile = "PROVEN"

// Prove makes durable that writes up to rev had been applied, which the raft log must reproduce:
// the records that show it go when the record log is cut. A greater revision of an earlier start
// that did not end stays. It returns the revision to reach.
func (d *Dir) Prove(rev int64) (int64, error) {
	earlier, err := d.proven()
	if err != nil || earlier >= rev {
		return earlier, err
	}
	if err := d.writeFile(provenFile, fmt.Appendf(nil, "revision %d\n", rev)); err != nil {
		return 0, fmt.Errorf("note the newest revision: %w", err)
	}
	return rev, nil
}

// Proven ends the proof: the revision was reached.
func (d *Dir) Proven() error {
	err := d.FS.Remove(filepath.Join(d.Root, provenFile))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *Dir) proven() (rev int64, err error) {
	f, err := d.FS.Open(filepath.Join(d.Root, provenFile))
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
	if _, err := fmt.Sscanf(string(b[:n]), "revision %d\n", &rev); err != nil {
		return 0, fmt.Errorf("%w: %s reads %q; restore the member from a backup", ErrDamaged,
			f.Name(), b[:n])
	}
	return rev, nil
}
