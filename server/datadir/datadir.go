// Package datadir is the layout of a member's data directory: what lies where, who may use it, and
// what to say of a directory that is not ours.
//
//	<data-dir>/
//	    FORMAT        "cairn data 1\n": whose directory this is, and in which layout
//	    LOCK          held by the process that uses it
//	    checkpoint/   package checkpoint
//	    revlog/       package revlog
//	    wal/          package wal; elsewhere with --wal-dir
//	    tmp/          files of the moment (backups being made); emptied at every start
//	    reserve       room for a checkpoint on a full disk; given up when one needs it
//
// # Beginning
//
// FORMAT is written first, the first checkpoint last. A directory with FORMAT and no checkpoint is
// one whose making was cut short: it is made again, if its log holds nothing.
package datadir

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cairnkv/cairn/checkpoint"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/vfs"
)

const (
	formatFile = "FORMAT"
	lockFile   = "LOCK"
	formatText = "cairn data "
	format     = 1
	// maxFormatBytes bounds what is read of FORMAT.
	maxFormatBytes = 64
)

// Errors of Open, wrapped with the directory and the way out.
var (
	ErrLocked  = errors.New("the data directory is in use by another process")
	ErrEtcd    = errors.New("the data directory belongs to etcd")
	ErrForeign = errors.New("the directory holds files that are not Cairn's")
	ErrNewer   = errors.New("the data directory was written by a newer version")
	ErrDamaged = errors.New("the data directory is damaged")
	ErrMissing = errors.New("there is no data directory of Cairn")
)

// Dir is an opened and locked data directory.
type Dir struct {
	FS   vfs.FS
	Root string
	wal  string
	lock io.Closer

	reserveMu sync.Mutex // guards reserved
	reserved  bool
}

// WAL, Revlog, Checkpoint and Tmp are the directories of the parts.
func (d *Dir) WAL() string        { return d.wal }
func (d *Dir) Revlog() string     { return filepath.Join(d.Root, "revlog") }
func (d *Dir) Checkpoint() string { return filepath.Join(d.Root, "checkpoint") }
func (d *Dir) Tmp() string        { return filepath.Join(d.Root, "tmp") }

// Open locks a data directory; it is made if it does not exist or is empty. walDir is "" for the
// place below root. A directory that is not ours is not touched.
func Open(fs vfs.FS, root, walDir string) (*Dir, error) {
	if _, err := inspect(fs, root); err != nil {
		return nil, err
	}
	if err := fs.MkdirAll(root); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	return lockDir(fs, root, walDir)
}

// OpenExisting locks a data directory that must be there already.
func OpenExisting(fs vfs.FS, root, walDir string) (*Dir, error) {
	kind, err := inspect(fs, root)
	if err != nil {
		return nil, err
	}
	if kind != ours {
		return nil, fmt.Errorf("%w in %s", ErrMissing, root)
	}
	return lockDir(fs, root, walDir)
}

func lockDir(fs vfs.FS, root, walDir string) (*Dir, error) {
	lock, err := fs.Lock(filepath.Join(root, lockFile))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %s; stop that process or choose another --data-dir",
			ErrLocked, root)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	d := &Dir{FS: fs, Root: root, wal: walDir, lock: lock}
	if walDir == "" {
		d.wal = filepath.Join(root, "wal")
	}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// prepare looks once more under the lock, marks an empty directory as ours and empties tmp.
func (d *Dir) prepare() error {
	kind, err := inspect(d.FS, d.Root)
	if err != nil {
		return err
	}
	if kind == empty {
		if err := d.writeFormat(); err != nil {
			return fmt.Errorf("mark the data directory: %w", err)
		}
	}
	if err := d.FS.RemoveAll(d.Tmp()); err != nil {
		return fmt.Errorf("empty %s: %w", d.Tmp(), err)
	}
	return d.FS.MkdirAll(d.Tmp())
}

func (d *Dir) writeFormat() error {
	name := filepath.Join(d.Root, formatFile)
	f, err := d.FS.Create(name + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%s%d\n", formatText, format), 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.FS.Rename(name+".tmp", name); err != nil {
		return err
	}
	return d.FS.SyncDir(d.Root)
}

// Close gives the directory free.
func (d *Dir) Close() error { return d.lock.Close() }

type kind uint8

const (
	empty kind = iota // or not there
	ours
)

// inspect says whose directory it is. It changes nothing.
func inspect(fs vfs.FS, root string) (kind, error) {
	names, err := fs.List(root)
	if errors.Is(err, iofs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, fmt.Errorf("read the data directory: %w", err)
	}
	if slices.Contains(names, formatFile) {
		return ours, checkFormat(fs, filepath.Join(root, formatFile))
	}
	if slices.Contains(names, "member") {
		return empty, fmt.Errorf("%w: %s; save a snapshot of it with `etcdctl snapshot save` and "+
			"bring it in with `cairn utl snapshot restore`, or choose another --data-dir",
			ErrEtcd, root)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return name == lockFile || name == formatFile+".tmp" || name == "lost+found" ||
			name == "fixtures" // etcd's --auto-tls keeps certificates there
	})
	if len(names) > 0 {
		return empty, fmt.Errorf("%w: %s has %s; choose an empty --data-dir",
			ErrForeign, root, strings.Join(names[:min(len(names), 3)], ", "))
	}
	return empty, nil
}

func checkFormat(fs vfs.FS, name string) error {
	f, err := fs.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	b := make([]byte, min(size, maxFormatBytes))
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var v int
	if _, err := fmt.Sscanf(string(b), formatText+"%d\n", &v); err != nil {
		return fmt.Errorf("%w: %s reads %q", ErrDamaged, name, b)
	}
	if v > format {
		return fmt.Errorf("%w: %s says format %d, known is %d; start the newer version",
			ErrNewer, name, v, format)
	}
	return nil
}

// Load returns the newest checkpoint's image; ok is false for a directory that has none.
func (d *Dir) Load() (img *state.Image, ok bool, err error) {
	index, payload, ok, err := checkpoint.Load(d.FS, d.Checkpoint())
	if err != nil || !ok {
		return nil, false, err
	}
	if img, err = state.DecodeImage(payload); err != nil {
		return nil, false, fmt.Errorf("checkpoint %016x in %s: %w", index, d.Checkpoint(), err)
	}
	return img, true, nil
}

// reserveBytes is kept free on disk for checkpoints.
const reserveBytes = 1 << 20

// Reserve takes room that a checkpoint may need when the disk is full; nothing happens while it is
// there. ErrNoSpace (vfs) says that the disk is full.
func (d *Dir) Reserve() error {
	d.reserveMu.Lock()
	defer d.reserveMu.Unlock()
	if d.reserved {
		return nil
	}
	f, err := d.FS.Create(d.reserve())
	if err != nil {
		return err
	}
	err = f.Allocate(reserveBytes)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, d.FS.Remove(d.reserve()))
	}
	d.reserved = true
	return nil
}

// ReleaseReserve gives that room free.
func (d *Dir) ReleaseReserve() error {
	d.reserveMu.Lock()
	defer d.reserveMu.Unlock()
	d.reserved = false
	return d.FS.RemoveAll(d.reserve())
}

func (d *Dir) reserve() string { return filepath.Join(d.Root, "reserve") }

// Save makes an image the newest checkpoint.
func (d *Dir) Save(index uint64, payload []byte) error {
	return checkpoint.Save(d.FS, d.Checkpoint(), index, payload)
}
