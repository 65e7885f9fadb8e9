package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

func (f *osFile) allocate(size int64) error {
	err := f.control(func(fd uintptr) error { return unix.Fallocate(int(fd), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
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
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EINVAL) {
		return nil // a hint: some file systems do not take it
	}
	return err
}

func diskSpace(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}
