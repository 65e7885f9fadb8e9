package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

func (f *osFile) allocate(size int64) error { return errors.ErrUnsupported }

func (f *osFile) syncData() error { return f.f.Sync() }

func (f *osFile) startWriteback(off, n int64) error { return nil }

// mapFile copies: a mapped file can be neither renamed nor removed on Windows.
func (f *osFile) mapFile(size int64) (Mapping, error) { return f.mapCopy(size) }

func isNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) ||
		errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}

// syncDir only checks that dir is there: NTFS journals names, and directories have no flush.
func syncDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "syncdir", Path: dir, Err: windows.ERROR_DIRECTORY}
	}
	return nil
}

func diskSpace(dir string) (free, total uint64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	err = windows.GetDiskFreeSpaceEx(name, &free, &total, nil)
	return free, total, err
}
