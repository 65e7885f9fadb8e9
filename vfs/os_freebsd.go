package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

func (f *osFile) allocate(size int64) error { return errors.ErrUnsupported }

func (f *osFile) syncData() error { return f.f.Sync() }

func (f *osFile) startWriteback(off, n int64) error { return nil }

func diskSpace(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return uint64(max(st.Bavail, 0)) * st.Bsize, st.Blocks * st.Bsize, nil
}
