package sim

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/cairnkv/cairn/vfs"
)

// errIO is what a bad disk says.
var errIO = errors.New("input/output error")

// disk is the file system of one life of a member: files in memory, and what goes wrong with them.
// The next life gets what a crash or the end of the process has left.
type disk struct {
	l   *life
	mem *vfs.Mem
}

// Latencies of a sync.
const (
	fastSync  = 200 * time.Microsecond
	usualSync = 4 * time.Millisecond
	slowSync  = 400 * time.Millisecond
)

// yields says whether a sync by this task lets the rest of the member go on meanwhile: those that
// hold no lock that others need. All others are quick.
func yields(task string) bool { return task == "writer" || task == "checkpoints" }

// repairNote is the file that a member makes when it finds its data damaged. Others give it what it
// lacks, so that nothing else shows of data that was acknowledged and never made durable.
const repairNote = "/REPAIRING"

// step comes before every call that changes something on disk, and may be its end.
func (d *disk) step(op vfs.Op) error {
	m := d.l.m
	if d.l.dead {
		return errIO // a deferred call of a process that is no more
	}
	if op.Kind == vfs.OpRename && strings.HasSuffix(op.Path, repairNote) && !m.damaged &&
		!m.excused {
		m.sim.fail(fmt.Errorf("%s repairs what is stored, and its disk has not lied", m.name))
	}
	if m.crashNear != "" && m.crashIn == 0 && strings.Contains(op.Path, m.crashNear) {
		m.crashNear = ""
		m.crashIn = 1 + m.sim.diskRNG.IntN(8)
	}
	if m.crashIn > 0 {
		if m.crashIn--; m.crashIn == 0 {
			m.sim.logf("%s: the power fails before %v of %s", m.name, op.Kind, base(op.Path))
			m.sim.Stats.Faults["power failure within an operation"]++
			m.powerLoss()
			panic(ended{})
		}
	}
	if m.failIn > 0 {
		if m.failIn--; m.failIn == 0 {
			m.sim.logf("%s: %v of %s fails", m.name, op.Kind, base(op.Path))
			m.sim.Stats.Faults["failed operation of the disk"]++
			m.excused = true
			m.lostPages = m.lostPages || op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncData
			return errIO
		}
	}
	return nil
}

// base is the last two elements of a path.
func base(path string) string {
	parts := strings.Split(path, "/")
	return strings.Join(parts[max(0, len(parts)-2):], "/")
}

// sync does a sync and lets time go by.
func (d *disk) sync(op vfs.Op, do func() error) error {
	if err := d.step(op); err != nil {
		return err
	}
	h := d.l.host
	if h.current == nil || !yields(h.current.name) {
		return do()
	}
	s := d.l.m.sim
	early := s.diskRNG.IntN(2) == 0 // durable before the disk says so
	var err error
	if early {
		err = do()
	}
	wait := between(s.diskRNG, fastSync, usualSync)
	if d.l.m.slowDisk {
		wait = between(s.diskRNG, usualSync, slowSync)
	}
	end := s.now + wait
	s.after(wait, d.l.touch)
	h.await(func() bool { return s.now >= end && !d.l.m.hangingDisk })
	if !early {
		err = do()
	}
	return err
}

// Create implements vfs.FS.
func (d *disk) Create(name string) (vfs.File, error) {
	if err := d.step(vfs.Op{Kind: vfs.OpCreate, Path: name}); err != nil {
		return nil, err
	}
	return d.wrap(d.mem.Create(name))
}

// Open implements vfs.FS.
func (d *disk) Open(name string) (vfs.File, error) { return d.wrap(d.mem.Open(name)) }

// OpenReadWrite implements vfs.FS.
func (d *disk) OpenReadWrite(name string) (vfs.File, error) {
	return d.wrap(d.mem.OpenReadWrite(name))
}

func (d *disk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &file{File: f, d: d}, nil
}

// Remove implements vfs.FS.
func (d *disk) Remove(name string) error {
	if err := d.step(vfs.Op{Kind: vfs.OpRemove, Path: name}); err != nil {
		return err
	}
	return d.mem.Remove(name)
}

// RemoveAll implements vfs.FS.
func (d *disk) RemoveAll(name string) error {
	if err := d.step(vfs.Op{Kind: vfs.OpRemoveAll, Path: name}); err != nil {
		return err
	}
	return d.mem.RemoveAll(name)
}

// Rename implements vfs.FS.
func (d *disk) Rename(oldName, newName string) error {
	if err := d.step(vfs.Op{Kind: vfs.OpRename, Path: newName, OldPath: oldName}); err != nil {
		return err
	}
	return d.mem.Rename(oldName, newName)
}

// MkdirAll implements vfs.FS.
func (d *disk) MkdirAll(dir string) error {
	if err := d.step(vfs.Op{Kind: vfs.OpMkdirAll, Path: dir}); err != nil {
		return err
	}
	return d.mem.MkdirAll(dir)
}

// SyncDir implements vfs.FS.
func (d *disk) SyncDir(dir string) error {
	if err := d.step(vfs.Op{Kind: vfs.OpSyncDir, Path: dir}); err != nil {
		return err
	}
	return d.mem.SyncDir(dir)
}

// List implements vfs.FS.
func (d *disk) List(dir string) ([]string, error) { return d.mem.List(dir) }

// Stat implements vfs.FS.
func (d *disk) Stat(name string) (fs.FileInfo, error) { return d.mem.Stat(name) }

// Lock implements vfs.FS.
func (d *disk) Lock(name string) (io.Closer, error) { return d.mem.Lock(name) }

// Space implements vfs.FS.
func (d *disk) Space(dir string) (free, total uint64, err error) { return d.mem.Space(dir) }

// file is an open file of a disk.
type file struct {
	vfs.File
	d *disk
}

// ReadAt implements vfs.File. A read that fails may be good the next time.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if m := f.d.l.m; m.unreadable > 0 && !f.d.l.dead {
		if m.unreadable--; m.unreadable == 0 {
			m.sim.logf("%s: a read of %s at %d fails", m.name, base(f.Name()), off)
			m.sim.Stats.Faults["failed read"]++
			m.excused = true
			return 0, errIO
		}
	}
	return f.File.ReadAt(p, off)
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	op := vfs.Op{Kind: vfs.OpWrite, Path: f.Name(), Offset: off, Size: int64(len(p))}
	if err := f.d.step(op); err != nil {
		if !f.d.l.dead && f.d.l.m.sim.diskRNG.IntN(2) == 0 { // a part of it has come through
			f.File.WriteAt(p[:len(p)/2], off)
		}
		return 0, err
	}
	if m := f.d.l.m; m.misdirect > 0 {
		if m.misdirect--; m.misdirect == 0 {
			return f.misdirect(p, off)
		}
	}
	return f.File.WriteAt(p, off)
}

// misdirect writes to a place nearby and says that all is well.
func (f *file) misdirect(p []byte, off int64) (int, error) {
	m := f.d.l.m
	size, err := f.File.Size()
	if err != nil {
		return 0, err
	}
	const sector = 512
	wrong := off ^ sector
	if wrong+int64(len(p)) > size {
		wrong = -1 // lost altogether
	}
	m.sim.logf("%s: a write of %d bytes to %s at %d goes to %d", m.name, len(p), base(f.Name()),
		off, wrong)
	m.sim.Stats.Faults["misdirected or lost write"]++
	m.damage()
	if wrong >= 0 {
		if _, err := f.File.WriteAt(p, wrong); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	op := vfs.Op{Kind: vfs.OpTruncate, Path: f.Name(), Size: size}
	if err := f.d.step(op); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Allocate implements vfs.File.
func (f *file) Allocate(size int64) error {
	op := vfs.Op{Kind: vfs.OpAllocate, Path: f.Name(), Size: size}
	if err := f.d.step(op); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	return f.d.sync(vfs.Op{Kind: vfs.OpSync, Path: f.Name()}, f.File.Sync)
}

// SyncData implements vfs.File.
func (f *file) SyncData() error {
	return f.d.sync(vfs.Op{Kind: vfs.OpSyncData, Path: f.Name()}, f.File.SyncData)
}
