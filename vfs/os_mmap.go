//go:build linux || darwin || freebsd

package vfs

import (
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

func (m *osMapping) Unmap() error {
	m.once.Do(func() { m.err = unix.Munmap(m.b) })
	return m.err
}
