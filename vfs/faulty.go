package vfs

import (
	"errors"
	"io"
	"io/fs"
	"sync"
)

// ErrInjected is what a [Fault] without an error of its own fails with.
var ErrInjected = errors.New("injected input/output error")

// Fault says which operations of a [Faulty] fail, and how.
type Fault struct {
	// Match chooses among all operations, reads too; nil matches those that mutate.
	Match func(Op) bool
	// Nth is which of the matching operations fails, counted from 1 since Inject; 0 means 1.
	Nth int64
	// Forever fails all matching operations from the Nth on, not it alone.
	Forever bool
	// Err is the error; nil means ErrInjected.
	Err error
	// Short lets a failing write put the first half of its bytes in the file.
	Short bool
	// After lets the operation happen before it fails: the caller cannot tell.
	After bool
}

// Faulty wraps a file system and fails chosen operations. It counts the mutating ones, so that a
// test can first count a run and then fail each in turn. Safe for concurrent use.
type Faulty struct {
	fs FS

	mu     sync.Mutex // guards what follows
	faults []*armed
	ops    int64
	fired  int64
}

// armed is an injected fault and how many operations it has matched.
type armed struct {
	Fault
	seen int64
}

// NewFaulty wraps fsys; nothing fails until Inject.
func NewFaulty(fsys FS) *Faulty { return &Faulty{fs: fsys} }

// Inject adds a fault; earlier ones stay.
func (f *Faulty) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault.Nth = max(fault.Nth, 1)
	if fault.Err == nil {
		fault.Err = ErrInjected
	}
	f.faults = append(f.faults, &armed{Fault: fault})
}

// Clear ends all faults; the counts stay.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Ops is the number of mutating operations so far, failed ones included.
func (f *Faulty) Ops() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Fired is the number of operations that were failed.
func (f *Faulty) Fired() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// hit counts op and returns the fault that strikes it, or nil.
func (f *Faulty) hit(op Op) *armed {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op.Kind.Mutates() {
		f.ops++
	}
	var strikes *armed
	for _, a := range f.faults {
		if a.Match == nil && !op.Kind.Mutates() || a.Match != nil && !a.Match(op) {
			continue
		}
		a.seen++
		if a.seen == a.Nth || a.Forever && a.seen > a.Nth {
			strikes = a
		}
	}
	if strikes != nil {
		f.fired++
	}
	return strikes
}

// do runs fn unless a fault strikes op.
func (f *Faulty) do(op Op, fn func() error) error {
	a := f.hit(op)
	if a == nil {
		return fn()
	}
	if a.After {
		if err := fn(); err != nil {
			return err
		}
	}
	return wrap(op.Kind.String(), op.Path, a.Err)
}

// Create implements [FS].
func (f *Faulty) Create(name string) (File, error) {
	return f.open(Op{Kind: OpCreate, Path: name}, f.fs.Create)
}

// Open implements [FS].
func (f *Faulty) Open(name string) (File, error) {
	return f.open(Op{Kind: OpOpen, Path: name}, f.fs.Open)
}

// OpenReadWrite implements [FS].
func (f *Faulty) OpenReadWrite(name string) (File, error) {
	return f.open(Op{Kind: OpOpenReadWrite, Path: name}, f.fs.OpenReadWrite)
}

func (f *Faulty) open(op Op, fn func(string) (File, error)) (File, error) {
	var file File
	err := f.do(op, func() (err error) {
		file, err = fn(op.Path)
		return err
	})
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	return &faultyFile{File: file, fs: f}, nil
}

// Remove implements [FS].
func (f *Faulty) Remove(name string) error {
	return f.do(Op{Kind: OpRemove, Path: name}, func() error { return f.fs.Remove(name) })
}

// RemoveAll implements [FS].
func (f *Faulty) RemoveAll(name string) error {
	return f.do(Op{Kind: OpRemoveAll, Path: name}, func() error { return f.fs.RemoveAll(name) })
}

// Rename implements [FS].
func (f *Faulty) Rename(oldName, newName string) error {
	return f.do(Op{Kind: OpRename, Path: newName, OldPath: oldName}, func() error {
		return f.fs.Rename(oldName, newName)
	})
}

// MkdirAll implements [FS].
func (f *Faulty) MkdirAll(dir string) error {
	return f.do(Op{Kind: OpMkdirAll, Path: dir}, func() error { return f.fs.MkdirAll(dir) })
}

// List implements [FS].
func (f *Faulty) List(dir string) (names []string, err error) {
	err = f.do(Op{Kind: OpList, Path: dir}, func() (err error) {
		names, err = f.fs.List(dir)
		return err
	})
	return names, err
}

// Stat implements [FS].
func (f *Faulty) Stat(name string) (info fs.FileInfo, err error) {
	err = f.do(Op{Kind: OpStat, Path: name}, func() (err error) {
		info, err = f.fs.Stat(name)
		return err
	})
	return info, err
}

// SyncDir implements [FS].
func (f *Faulty) SyncDir(dir string) error {
	return f.do(Op{Kind: OpSyncDir, Path: dir}, func() error { return f.fs.SyncDir(dir) })
}

// Lock implements [FS].
func (f *Faulty) Lock(name string) (io.Closer, error) {
	var lock io.Closer
	err := f.do(Op{Kind: OpLock, Path: name}, func() (err error) {
		lock, err = f.fs.Lock(name)
		return err
	})
	if err != nil && lock != nil {
		lock.Close()
		lock = nil
	}
	return lock, err
}

// Space implements [FS].
func (f *Faulty) Space(dir string) (free, total uint64, err error) {
	err = f.do(Op{Kind: OpSpace, Path: dir}, func() (err error) {
		free, total, err = f.fs.Space(dir)
		return err
	})
	return free, total, err
}

// faultyFile passes on what does not fail.
type faultyFile struct {
	File
	fs *Faulty
}

func (f *faultyFile) ReadAt(p []byte, off int64) (n int, err error) {
	op := Op{Kind: OpRead, Path: f.Name(), Offset: off, Size: int64(len(p))}
	err = f.fs.do(op, func() (err error) {
		n, err = f.File.ReadAt(p, off)
		return err
	})
	return n, err
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	a := f.fs.hit(Op{Kind: OpWrite, Path: f.Name(), Offset: off, Size: int64(len(p))})
	if a == nil {
		return f.File.WriteAt(p, off)
	}
	var n int
	switch {
	case a.After:
		if _, err := f.File.WriteAt(p, off); err != nil {
			return 0, err
		}
	case a.Short:
		var err error
		if n, err = f.File.WriteAt(p[:len(p)/2], off); err != nil {
			return n, err
		}
	}
	return n, wrap("write", f.Name(), a.Err)
}

func (f *faultyFile) Size() (size int64, err error) {
	err = f.fs.do(Op{Kind: OpStat, Path: f.Name()}, func() (err error) {
		size, err = f.File.Size()
		return err
	})
	return size, err
}

func (f *faultyFile) Truncate(size int64) error {
	return f.fs.do(Op{Kind: OpTruncate, Path: f.Name(), Size: size}, func() error {
		return f.File.Truncate(size)
	})
}

func (f *faultyFile) Allocate(size int64) error {
	return f.fs.do(Op{Kind: OpAllocate, Path: f.Name(), Size: size}, func() error {
		return f.File.Allocate(size)
	})
}

func (f *faultyFile) Sync() error {
	return f.fs.do(Op{Kind: OpSync, Path: f.Name()}, f.File.Sync)
}

func (f *faultyFile) SyncData() error {
	return f.fs.do(Op{Kind: OpSyncData, Path: f.Name()}, f.File.SyncData)
}

func (f *faultyFile) StartWriteback(off, n int64) error {
	op := Op{Kind: OpWriteback, Path: f.Name(), Offset: off, Size: n}
	return f.fs.do(op, func() error { return f.File.StartWriteback(off, n) })
}

func (f *faultyFile) Map(size int64) (m Mapping, err error) {
	err = f.fs.do(Op{Kind: OpMap, Path: f.Name(), Size: size}, func() (err error) {
		m, err = f.File.Map(size)
		return err
	})
	if err != nil && m != nil {
		m.Unmap()
		m = nil
	}
	return m, err
}

// Flip inverts one bit (0 to 7) of the byte at off in the file name and syncs it, as a decaying
// disk would.
func Flip(fsys FS, name string, off int64, bit uint) (err error) {
	f, err := fsys.OpenReadWrite(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		return wrap("flip", name, err)
	}
	b[0] ^= 1 << (bit % 8)
	if _, err := f.WriteAt(b[:], off); err != nil {
		return err
	}
	return f.SyncData()
}
