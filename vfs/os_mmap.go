//go:build linux || darwin || freebsd

package vfs

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

func (f *osFile) mapFile(size int64) (Mapping, error) {
	var b []byte
	err := f.control(func(fd uintptr) (err error) {
		b, err = unix.Mmap(int(fd), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &osMapping{b: b}, nil
}

// osMapping is a shared mapping of the page cache.
type osMapping struct {
	b    []byte
	once sync.Once
	err  error
}

func (m *osMapping) Bytes() []byte { return m.b }

func (m *osMapping) Release(off, n int64) {
	page := int64(os.Getpagesize())
	from, to := (off+page-1)/page*page, min(off+n, int64(len(m.b)))/page*page
	if off >= 0 && from < to {
		_ = unix.Madvise(m.b[from:to], unix.MADV_DONTNEED) // a hint
	}
}

func (m *osMapping) Unmap() error {
	m.once.Do(func() { m.err = unix.Munmap(m.b) })
	return m.err
}
