package vfs

import "sync"

// heapMapping stands in for mmap where the system lacks it or does not keep it coherent with
// write: a copy of the file that the file's writers update.
type heapMapping struct {
	b     []byte
	unmap func(*heapMapping) // forgets the copy in its file; nil if the file does not know it
	once  sync.Once
}

func (m *heapMapping) Bytes() []byte { return m.b }

func (m *heapMapping) Release(int64, int64) {}

func (m *heapMapping) Unmap() error {
	m.once.Do(func() {
		if m.unmap != nil {
			m.unmap(m)
		}
	})
	return nil
}

// update copies what was written at off and lies within the mapping.
func (m *heapMapping) update(p []byte, off int64) {
	if off < int64(len(m.b)) {
		copy(m.b[off:], p)
	}
}

// mapCopy is Map for systems without a coherent mmap.
func (f *osFile) mapCopy(size int64) (Mapping, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := &heapMapping{b: make([]byte, size), unmap: f.forget}
	if _, err := f.f.ReadAt(m.b, 0); err != nil {
		return nil, err
	}
	f.copies = append(f.copies, m)
	return m, nil
}

// forget ends the updates of one copy. The slice is replaced, since writers may hold the old one.
func (f *osFile) forget(m *heapMapping) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rest []*heapMapping
	for _, c := range f.copies {
		if c != m {
			rest = append(rest, c)
		}
	}
	f.copies = rest
}
