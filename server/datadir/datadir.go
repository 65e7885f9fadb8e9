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
//	    incoming/     the state of another member, on its way
//	    INSTALLING    that state takes the place of this one's: its index
//	    REPAIRING     records are missing that were damaged; donors/ has whole ones behind them
//	    PROVEN        during a start: the revision that the raft log must reach again
//	    RESTORING     a restore from a backup began here and did not end
//
// # Beginning
//
// FORMAT is written first, then the empty raft log, the first checkpoint, the record log. A
// directory with FORMAT and no checkpoint is one whose making was cut short: it is made again, if
// neither log holds anything. A restore writes the records before the checkpoint; it sets RESTORING
// before all else and takes it away at the end, so that what is left of one that was cut short is
// never taken for a directory to begin in.
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
	"github.com/cairnkv/cairn/internal/remedy"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/vfs"
)

const (
	formatFile    = "FORMAT"
	lockFile      = "LOCK"
	restoringFile = "RESTORING"
	revlogDir     = "revlog"
	checkpointDir = "checkpoint"
	// walLockFile is held in a raft log's directory that is not below the data directory.
	walLockFile = "WAL.LOCK"
	formatText  = "cairn data "
	format      = 1
	// maxFormatBytes bounds what is read of FORMAT.
	maxFormatBytes = 64
	tmpSuffix      = ".tmp"
)

// Errors of Open, wrapped with the directory and the way out.
var (
	ErrLocked  = errors.New("the data directory is in use by another process")
	ErrEtcd    = errors.New("the data directory belongs to etcd")
	ErrForeign = errors.New("the directory holds files that are not Cairn's")
	ErrNewer   = errors.New("the data directory was written by a newer version")
	ErrDamaged = errors.New("the data directory is damaged")
	ErrMissing = errors.New("there is no data directory of Cairn")
	ErrPartial = errors.New("a restore into the data directory was cut short")
	ErrWALDir  = errors.New("the directory of the raft log does not fit")
)

// Dir is an opened and locked data directory.
type Dir struct {
	FS   vfs.FS
	Root string
	wal  string
	lock []io.Closer

	reserveMu sync.Mutex // guards what follows
	reserved  int64      // bytes that are kept free; 0: none
	saved     int64      // bytes of the newest checkpoint
}

// WAL, Revlog, Checkpoint and Tmp are the directories of the parts.
func (d *Dir) WAL() string        { return d.wal }
func (d *Dir) Revlog() string     { return filepath.Join(d.Root, revlogDir) }
func (d *Dir) Checkpoint() string { return filepath.Join(d.Root, checkpointDir) }
func (d *Dir) Tmp() string        { return filepath.Join(d.Root, "tmp") }

// Open locks a data directory; it is made if it does not exist or is empty. walDir is "" for the
// place below root. A directory that is not ours is not touched.
func Open(fs vfs.FS, root, walDir string) (*Dir, error) {
	if _, err := inspect(fs, root); err != nil {
		return nil, err
	}
	return makeDir(fs, root, walDir, false)
}

// makeDir makes the directory if need be, and locks it.
func makeDir(fs vfs.FS, root, walDir string, restoring bool) (*Dir, error) {
	if err := checkPlace(root, walDir); err != nil {
		return nil, err
	}
	if err := fs.MkdirAll(root); err != nil {
		return nil, fmt.Errorf("make the data directory: %w; %s", err, remedyAccess)
	}
	return lockDir(fs, root, walDir, restoring)
}

const remedyAccess = "let the user that runs cairn write there, or choose another --data-dir"

// OpenExisting locks a data directory that must be there already.
func OpenExisting(fs vfs.FS, root, walDir string) (*Dir, error) {
	kind, err := inspect(fs, root)
	if err != nil {
		return nil, err
	}
	if kind != ours {
		return nil, fmt.Errorf("%w in %s; name one that a member has used", ErrMissing, root)
	}
	return lockDir(fs, root, walDir, false)
}

func lockDir(fs vfs.FS, root, walDir string, restoring bool) (_ *Dir, err error) {
	d := &Dir{FS: fs, Root: root, wal: walDir}
	if walDir == "" {
		d.wal = filepath.Join(root, "wal")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := d.take(filepath.Join(root, lockFile), "--data-dir"); err != nil {
		return nil, err
	}
	if err := d.prepare(restoring); err != nil {
		return nil, err
	}
	if walDir == "" {
		return d, nil
	}
	if err := fs.MkdirAll(walDir); err != nil {
		return nil, fmt.Errorf("make the --wal-dir: %w", err)
	}
	return d, d.take(filepath.Join(walDir, walLockFile), "--wal-dir")
}

// take locks a directory by a file in it.
func (d *Dir) take(name, flag string) error {
	lock, err := d.FS.Lock(name)
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("%w: %s; stop that process or choose another %s",
			ErrLocked, filepath.Dir(name), flag)
	}
	if err != nil {
		return fmt.Errorf("lock the data directory: %w; %s", err, remedyAccess)
	}
	d.lock = append(d.lock, lock)
	return nil
}

// checkPlace refuses a --wal-dir among the files of other parts.
func checkPlace(root, walDir string) error {
	if walDir == "" {
		return nil
	}
	d := Dir{Root: root}
	for _, dir := range []string{d.Checkpoint(), d.Revlog(), d.Tmp()} {
		rel, err := filepath.Rel(dir, walDir)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return fmt.Errorf("%w: --wal-dir=%s lies in %s, which is used for something else; "+
				"choose another", ErrWALDir, walDir, dir)
		}
	}
	return nil
}

// prepare looks once more under the lock, marks an empty directory as ours and empties tmp.
func (d *Dir) prepare(restoring bool) error {
	kind, err := inspect(d.FS, d.Root)
	if err != nil {
		return err
	}
	if restoring {
		if kind == ours {
			return fmt.Errorf("%w: %s is in use; choose another --data-dir", ErrForeign, d.Root)
		}
		if err := d.writeFile(restoringFile, nil); err != nil {
			return fmt.Errorf("mark the data directory: %w; %s", err, remedyAccess)
		}
	}
	if kind == empty {
		err := d.writeFile(formatFile, fmt.Appendf(nil, "%s%d\n", formatText, format))
		if err != nil {
			return fmt.Errorf("mark the data directory: %w; %s", err, remedyAccess)
		}
	}
	if err := d.FS.RemoveAll(d.Tmp()); err != nil {
		return fmt.Errorf("empty %s: %w", d.Tmp(), err)
	}
	return d.FS.MkdirAll(d.Tmp())
}

// CheckBegin says whether a directory without a checkpoint may be begun anew: not if there are
// records, which the start of an empty log would remove.
func (d *Dir) CheckBegin() error {
	names, err := d.FS.List(d.Revlog())
	if errors.Is(err, iofs.ErrNotExist) || err == nil && len(names) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s has records (%s) and no checkpoint; %s", ErrDamaged, d.Root, names[0],
		remedy.Replace)
}

// CheckWAL says whether the raft log of a directory that has a checkpoint is where it is looked
// for. To open a log that is not there would make one.
func (d *Dir) CheckWAL() error {
	names, err := d.FS.List(d.wal)
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("read the raft log: %w", err)
	}
	if !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, ".wal") }) {
		return fmt.Errorf("%w: there is no raft log in %s, and %s has a checkpoint that needs it; "+
			"start with the --wal-dir that the member was made with (none if it had none); if it "+
			"is lost: %s", ErrWALDir, d.wal, d.Root, remedy.Replace)
	}
	return nil
}

// writeFile makes a small file, whole and durable.
func (d *Dir) writeFile(base string, content []byte) error {
	name := filepath.Join(d.Root, base)
	f, err := d.FS.Create(name + tmpSuffix)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.FS.Rename(name+tmpSuffix, name); err != nil {
		return err
	}
	return d.FS.SyncDir(d.Root)
}

// Close gives the directory free.
func (d *Dir) Close() error {
	var errs []error
	for _, lock := range d.lock {
		errs = append(errs, lock.Close())
	}
	d.lock = nil
	return errors.Join(errs...)
}

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
		return empty, fmt.Errorf("read the data directory: %w; %s", err, remedyAccess)
	}
	if slices.Contains(names, restoringFile) {
		return empty, fmt.Errorf("%w: %s; remove it and restore again", ErrPartial, root)
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
		return name == lockFile || name == walLockFile || name == "lost+found" ||
			name == formatFile+tmpSuffix || name == restoringFile+tmpSuffix ||
			name == "fixtures" // etcd's --auto-tls keeps certificates there
	})
	if slices.Contains(names, revlogDir) || slices.Contains(names, checkpointDir) {
		return empty, fmt.Errorf("%w: %s has a member's data, but its file %s is gone; %s",
			ErrDamaged, root, formatFile, remedy.Replace)
	}
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
		return fmt.Errorf("%w: %s reads %q, not %q; %s", ErrDamaged, name, b,
			fmt.Sprint(formatText, format), remedy.Replace)
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
	d.saved = int64(len(payload))
	if img, err = state.DecodeImage(payload); err != nil {
		return nil, false, fmt.Errorf("checkpoint %016x in %s: %w", index, d.Checkpoint(), err)
	}
	return img, true, nil
}

// reserveBytes is kept free on disk for checkpoints at least; twice the newest one if that is more.
const reserveBytes = 1 << 20

// Reserve takes room that a checkpoint may need when the disk is full; nothing happens while it is
// there. ErrNoSpace (vfs) says that the disk is full.
func (d *Dir) Reserve() error {
	d.reserveMu.Lock()
	defer d.reserveMu.Unlock()
	want := max(reserveBytes, 2*d.saved)
	if d.reserved >= d.saved && d.reserved >= reserveBytes {
		return nil
	}
	f, err := d.FS.Create(d.reserve())
	if err != nil {
		return err
	}
	err = f.Allocate(want)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, d.FS.Remove(d.reserve()))
	}
	d.reserved = want
	return nil
}

// ReleaseReserve gives that room free.
func (d *Dir) ReleaseReserve() error {
	d.reserveMu.Lock()
	defer d.reserveMu.Unlock()
	d.reserved = 0
	return d.FS.RemoveAll(d.reserve())
}

func (d *Dir) reserve() string { return filepath.Join(d.Root, "reserve") }

// Save makes an image the newest checkpoint.
func (d *Dir) Save(index uint64, payload []byte) error {
	d.reserveMu.Lock()
	d.saved = int64(len(payload))
	d.reserveMu.Unlock()
	return checkpoint.Save(d.FS, d.Checkpoint(), index, payload)
}
