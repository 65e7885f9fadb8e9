package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Modes of what is made: the data belongs to the user that runs the server, and to nobody else.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// zeroChunkBytes is the size of one write where zeros stand in for a reservation of blocks.
const zeroChunkBytes = 256 << 10

// OS returns the file system of the operating system.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (osFS) Open(name string) (File, error) { return openOS(name, os.O_RDONLY) }

func (osFS) OpenReadWrite(name string) (File, error) { return openOS(name, os.O_RDWR) }

func (osFS) Remove(name string) error { return wrap("remove", name, os.Remove(name)) }

func (osFS) RemoveAll(name string) error { return wrap("remove", name, os.RemoveAll(name)) }

func (osFS) Rename(oldName, newName string) error {
	return wrap("rename", newName, os.Rename(oldName, newName))
}

// MkdirAll makes the missing directories from the top down and syncs each one's parent, so that
// the whole chain survives a crash once it returned.
func (o osFS) MkdirAll(dir string) error {
	var missing []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err == nil {
			if !info.IsDir() {
				return &fs.PathError{Op: "mkdir", Path: d, Err: syscall.ENOTDIR}
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(d) == d {
			return wrap("mkdir", d, err)
		}
		missing = append(missing, d)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		err := os.Mkdir(missing[i], dirMode)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return wrap("mkdir", missing[i], err)
		}
		if err := o.SyncDir(filepath.Dir(missing[i])); err != nil {
			return err
		}
	}
	return nil
}

func (osFS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, wrap("list", dir, err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) Stat(name string) (fs.FileInfo, error) {
	info, err := os.Stat(name)
	return info, wrap("stat", name, err)
}

func (osFS) SyncDir(dir string) error { return wrap("syncdir", dir, syncDir(dir)) }

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, wrap("lock", name, err)
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, wrap("lock", name, err)
	}
	return f, nil
}

func (osFS) Space(dir string) (free, total uint64, err error) {
	free, total, err = diskSpace(dir)
	return free, total, wrap("space", dir, err)
}

// osFile is a real file. mu guards copies and keeps the fallback of Allocate, which rewrites
// zeros, apart from writers; writers share it.
type osFile struct {
	f    *os.File
	raw  syscall.RawConn
	name string

	mu     sync.RWMutex
	copies []*heapMapping // only where the system has no coherent mmap
}

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, fileMode)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, wrap("open", name, err)
	}
	return &osFile{f: f, raw: raw, name: name}, nil
}

func (f *osFile) Name() string { return f.name }

func (f *osFile) Close() error { return wrap("close", f.name, f.f.Close()) }

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	if err == io.EOF {
		return n, err // io.ReaderAt promises io.EOF itself
	}
	return n, wrap("read", f.name, err)
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.f.WriteAt(p, off)
	for _, m := range f.copies {
		m.update(p[:n], off)
	}
	return n, wrap("write", f.name, err)
}

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, wrap("stat", f.name, err)
	}
	return info.Size(), nil
}

func (f *osFile) Truncate(size int64) error {
	return wrap("truncate", f.name, f.f.Truncate(size))
}

func (f *osFile) Allocate(size int64) error {
	if size <= 0 {
		return nil
	}
	err := f.allocate(size)
	if errors.Is(err, errors.ErrUnsupported) {
		f.mu.Lock()
		defer f.mu.Unlock()
		err = writeZeros(f.f, size)
	}
	return wrap("allocate", f.name, err)
}

func (f *osFile) Sync() error { return wrap("sync", f.name, f.f.Sync()) }

func (f *osFile) SyncData() error { return wrap("sync", f.name, f.syncData()) }

func (f *osFile) StartWriteback(off, n int64) error {
	return wrap("writeback", f.name, f.startWriteback(off, n))
}

func (f *osFile) Map(size int64) (Mapping, error) {
	length, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size < 0 || size > length || int64(int(size)) != size {
		return nil, &fs.PathError{Op: "map", Path: f.name, Err: fs.ErrInvalid}
	}
	if size == 0 {
		return &heapMapping{}, nil
	}
	m, err := f.mapFile(size)
	return m, wrap("map", f.name, err)
}

// control runs fn on the descriptor, which stays open meanwhile, and repeats it while a signal
// interrupts it.
func (f *osFile) control(fn func(fd uintptr) error) error {
	var err error
	cerr := f.raw.Control(func(fd uintptr) {
		for {
			if err = fn(fd); !errors.Is(err, syscall.EINTR) {
				return
			}
		}
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// writeZeros gives every block of [0, size) a place on disk by writing zeros where zeros are
// read; bytes that are not zero have a place already.
func writeZeros(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var zeros, have [zeroChunkBytes]byte
	for off := int64(0); off < size; off += zeroChunkBytes {
		n := min(zeroChunkBytes, size-off)
		if off < info.Size() {
			k, err := f.ReadAt(have[:n], off)
			if err != nil && err != io.EOF {
				return err
			}
			clear(have[k:n]) // past the end of the file
		} else {
			clear(have[:n])
		}
		if have == zeros {
			_, err = f.WriteAt(zeros[:n], off)
		} else {
			_, err = f.WriteAt(have[:n], off)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wrap names the operation and the path, once, and turns the system's ways of saying "full"
// into ErrNoSpace.
func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if isNoSpace(err) {
		return &fs.PathError{Op: op, Path: path, Err: ErrNoSpace}
	}
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	if errors.As(err, &pathErr) || errors.As(err, &linkErr) {
		return err
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
