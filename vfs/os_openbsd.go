package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

func (f *osFile) allocate(size int64) error { return errors.ErrUnsupported }

func (f *osFile) syncData() error { return f.f.Sync() }

func (f *osFile) startWriteback(off, n int64) error { return nil }

// mapFile copies: OpenBSD has no unified buffer cache, so a mapping does not show later writes.
func (f *osFile) mapFile(size int64) (Mapping, error) { return f.mapCopy(size) }

func diskSpace(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	size := uint64(st.F_bsize)
	return uint64(max(st.F_bavail, 0)) * size, st.F_blocks * size, nil
}
