package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// allocate asks for blocks past the present end, then moves the end. Holes below the present end
// are not filled by that; they are left to the fallback.
func (f *osFile) allocate(size int64) error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > 0 || size <= 0 {
		return errors.ErrUnsupported
	}
	err = f.control(func(fd uintptr) error {
		store := &unix.Fstore_t{
			Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: size,
		}
		return unix.FcntlFstore(fd, unix.F_PREALLOCATE, store)
	})
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) {
		return errors.ErrUnsupported
	}
	if err != nil {
		return err
	}
	return f.f.Truncate(size)
}

// syncData is F_FULLFSYNC, as os.File.Sync issues it: fsync alone leaves data in the disk's cache.
func (f *osFile) syncData() error { return f.f.Sync() }

func (f *osFile) startWriteback(off, n int64) error { return nil }

func diskSpace(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}
