package datadir

import (
	"errors"
	"path/filepath"
)

// Incoming is the directory in which the state of another member gathers, Donors that of files
// whose records are whole while others of the record log are damaged.
func (d *Dir) Incoming() string { return filepath.Join(d.Root, "incoming") }
func (d *Dir) Donors() string   { return filepath.Join(d.Root, "donors") }

// DropIncoming gives up what has come of another member's state.
func (d *Dir) DropIncoming() error {
	return errors.Join(d.FS.RemoveAll(d.Incoming()), d.FS.SyncDir(d.Root))
}

// BeginInstall makes durable that a checkpoint of that index, and the raft log emptied to it, will
// take the place of what is there. Until that checkpoint is saved the directory is as it was; from
// then on the log is to be emptied, by a restart if need be.
func (d *Dir) BeginInstall(index uint64) error { return d.set(installing, index) }

// EndInstall says that the raft log was emptied.
func (d *Dir) EndInstall() error { return d.clearForGood(installing) }

// Installed says whether the checkpoint of that index took the place of an earlier state and the
// raft log may not be emptied yet, or whether there is a note of another index: of an install that
// did not come to its checkpoint.
func (d *Dir) Installed(index uint64) (installed, stale bool, err error) {
	at, ok, err := d.get(installing)
	return ok && at == index, ok && at != index, err
}

// BeginRepair makes durable that the record log lacks what was damaged, which the state of the
// checkpoint of that index needs.
func (d *Dir) BeginRepair(index uint64) error { return d.set(repairing, index) }

// EndRepair says that a checkpoint was saved which needs nothing that is missing, and gives the
// donors up.
func (d *Dir) EndRepair() error {
	if err := d.FS.RemoveAll(d.Donors()); err != nil {
		return err
	}
	return d.clearForGood(repairing)
}

// Repairing says whether the record log lacks what the checkpoint of that index needs.
func (d *Dir) Repairing(index uint64) (bool, error) {
	at, ok, err := d.get(repairing)
	return ok && at >= index, err
}
