package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

func (f *osFile) allocate(size int64) error {
	err := f.control(func(fd uintptr) error { return unix.Fallocate(int(fd), 0, 0, size) })
	return allocation(err)
}

// allocation is what an error of fallocate means: where the file system does not have the call, or
// a sandbox forbids it (EPERM), the caller does without.
func allocation(err error) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return errors.ErrUnsupported
	}
	return err
}

func (f *osFile) syncData() error {
	return f.control(func(fd uintptr) error { return unix.Fdatasync(int(fd)) })
}

func (f *osFile) startWriteback(off, n int64) error {
	err := f.control(func(fd uintptr) error {
		return unix.SyncFileRange(int(fd), off, n, unix.SYNC_FILE_RANGE_WRITE)
	})
	return writeback(err)
}

// writeback is what an error of sync_file_range means. The call is a hint, which file systems and
// sandboxes may refuse with any error; what counts is that the data did not come to the disk.
func writeback(err error) error {
	for _, lost := range []error{unix.EIO, unix.ENOSPC, unix.EDQUOT, unix.EBADF} {
		if errors.Is(err, lost) {
			return err
		}
	}
	return nil
}

func diskSpace(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}
