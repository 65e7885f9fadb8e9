package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Held wraps a file system and keeps what was written and not synced in memory: the end of the
// process loses it, as a power failure would. With it real processes can be tested with SIGKILL for
// what they do not sync. Names are not held: files that were made are there, empty at worst. All
// files that are open or not synced are in memory whole. Safe for concurrent use.
func Held(fsys FS) FS { return &heldFS{FS: fsys, nodes: map[string]*heldNode{}} }

type heldFS struct {
	FS

	mu    sync.Mutex // guards the map and the counts of handles
	nodes map[string]*heldNode
}

// heldNode is a file as it is seen.
type heldNode struct {
	opens int // handles and mappings

	mu    sync.RWMutex // guards what follows
	data  []byte
	dirty []heldRange // that were written since the last sync
	views []*heapMapping
}

type heldRange struct{ off, end int64 }

// node returns the file at a path; the caller holds mu.
func (h *heldFS) node(name string) (*heldNode, error) {
	path := filepath.Clean(name)
	if n := h.nodes[path]; n != nil {
		return n, nil
	}
	f, err := h.FS.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	n := &heldNode{data: make([]byte, size)}
	if _, err := f.ReadAt(n.data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	h.nodes[path] = n
	return n, nil
}

// Create implements FS.
func (h *heldFS) Create(name string) (File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, err := h.FS.Create(name)
	if err != nil {
		return nil, err
	}
	n := h.nodes[filepath.Clean(name)]
	if n == nil {
		n = &heldNode{}
		h.nodes[filepath.Clean(name)] = n
	}
	n.mu.Lock()
	n.data, n.dirty = nil, nil
	n.mu.Unlock()
	return h.handle(n, f, true), nil
}

// handle makes a handle; the caller holds mu.
func (h *heldFS) handle(n *heldNode, f File, write bool) *heldFile {
	n.opens++
	return &heldFile{File: f, fs: h, n: n, write: write}
}

// Open implements FS.
func (h *heldFS) Open(name string) (File, error) { return h.open(name, h.FS.Open, false) }

// OpenReadWrite implements FS.
func (h *heldFS) OpenReadWrite(name string) (File, error) {
	return h.open(name, h.FS.OpenReadWrite, true)
}

func (h *heldFS) open(
	name string, open func(string) (File, error), write bool,
) (File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	n, err := h.node(name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return h.handle(n, f, write), nil
}

// Rename implements FS.
func (h *heldFS) Rename(oldName, newName string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.FS.Rename(oldName, newName); err != nil {
		return err
	}
	from, to := filepath.Clean(oldName), filepath.Clean(newName)
	if from == to {
		return nil
	}
	h.forget(to)
	for path, n := range h.nodes { // of a directory all that is below
		if path == from || strings.HasPrefix(path, from+string(os.PathSeparator)) {
			delete(h.nodes, path)
			h.nodes[to+path[len(from):]] = n
		}
	}
	return nil
}

// Remove implements FS.
func (h *heldFS) Remove(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.FS.Remove(name)
	if err == nil {
		h.forget(filepath.Clean(name))
	}
	return err
}

// RemoveAll implements FS.
func (h *heldFS) RemoveAll(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.FS.RemoveAll(name)
	if err == nil {
		h.forget(filepath.Clean(name))
	}
	return err
}

// forget drops a path and what is below; open handles keep theirs.
func (h *heldFS) forget(path string) {
	for p := range h.nodes {
		if p == path || strings.HasPrefix(p, path+string(os.PathSeparator)) {
			delete(h.nodes, p)
		}
	}
}

// Stat implements FS.
func (h *heldFS) Stat(name string) (fs.FileInfo, error) {
	info, err := h.FS.Stat(name)
	h.mu.Lock()
	n := h.nodes[filepath.Clean(name)]
	h.mu.Unlock()
	if err != nil || n == nil {
		return info, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return heldInfo{info, int64(len(n.data))}, nil
}

// heldInfo is a file's description with its length as it is seen.
type heldInfo struct {
	fs.FileInfo
	size int64
}

func (i heldInfo) Size() int64 { return i.size }

// heldFile is a handle.
type heldFile struct {
	File
	fs     *heldFS
	n      *heldNode
	write  bool
	closed atomic.Bool
}

// check refuses a call on a closed handle, or a write through one for reading.
func (f *heldFile) check(op string, write bool) error {
	if f.closed.Load() {
		return wrap(op, f.Name(), fs.ErrClosed)
	}
	if write && !f.write {
		return wrap(op, f.Name(), fs.ErrPermission)
	}
	return nil
}

// drop lets go of a handle or a mapping. What is synced need not stay in memory.
func (h *heldFS) drop(n *heldNode) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n.opens--
	n.mu.RLock()
	dirty := len(n.dirty) > 0
	n.mu.RUnlock()
	if n.opens > 0 || dirty {
		return
	}
	for path, o := range h.nodes {
		if o == n {
			delete(h.nodes, path)
		}
	}
}

func (f *heldFile) Close() error {
	err := f.File.Close()
	if !f.closed.Swap(true) {
		f.fs.drop(f.n)
	}
	return err
}

func (f *heldFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, wrap("read", f.Name(), fs.ErrInvalid)
	}
	f.n.mu.RLock()
	defer f.n.mu.RUnlock()
	n := 0
	if off < int64(len(f.n.data)) {
		n = copy(p, f.n.data[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *heldFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, wrap("write", f.Name(), fs.ErrInvalid)
	}
	n := f.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	end := off + int64(len(p))
	if end > int64(len(n.data)) {
		n.data = append(n.data, make([]byte, end-int64(len(n.data)))...)
	}
	copy(n.data[off:], p)
	n.dirty = append(n.dirty, heldRange{off, end})
	for _, v := range n.views {
		v.update(p, off)
	}
	return len(p), nil
}

func (f *heldFile) Size() (int64, error) {
	if _, err := f.File.Size(); err != nil {
		return 0, err
	}
	f.n.mu.RLock()
	defer f.n.mu.RUnlock()
	return int64(len(f.n.data)), nil
}

// Truncate implements File. The length is not held.
func (f *heldFile) Truncate(size int64) error {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	if err := f.File.Truncate(size); err != nil {
		return err
	}
	f.n.resize(size)
	return nil
}

// resize sets the length; the caller holds mu.
func (n *heldNode) resize(size int64) {
	if size <= int64(len(n.data)) {
		n.data = n.data[:size]
		for i := range n.dirty {
			n.dirty[i].end = min(n.dirty[i].end, size)
		}
		n.dirty = slices.DeleteFunc(n.dirty, func(r heldRange) bool { return r.off >= r.end })
		return
	}
	n.data = append(n.data, make([]byte, size-int64(len(n.data)))...)
}

// Allocate implements File. Room and length are not held.
func (f *heldFile) Allocate(size int64) error {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	if err := f.File.Allocate(size); err != nil {
		return err
	}
	f.n.resize(max(size, int64(len(f.n.data))))
	return nil
}

// Sync implements File.
func (f *heldFile) Sync() error { return f.flush(f.File.Sync) }

// SyncData implements File.
func (f *heldFile) SyncData() error { return f.flush(f.File.SyncData) }

// flush writes what is held and syncs. What is written meanwhile waits.
func (f *heldFile) flush(sync func() error) error {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	for _, r := range f.n.dirty {
		if _, err := f.File.WriteAt(f.n.data[r.off:r.end], r.off); err != nil {
			return err
		}
	}
	if err := sync(); err != nil {
		return err
	}
	f.n.dirty = nil
	return nil
}

// Map implements File.
func (f *heldFile) Map(size int64) (Mapping, error) {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	if size < 0 || size > int64(len(f.n.data)) {
		return nil, wrap("map", f.Name(), fs.ErrInvalid)
	}
	m := &heapMapping{b: slices.Clone(f.n.data[:size])}
	m.unmap = func(m *heapMapping) {
		f.n.mu.Lock()
		f.n.views = slices.DeleteFunc(f.n.views, func(v *heapMapping) bool { return v == m })
		f.n.mu.Unlock()
		f.fs.drop(f.n)
	}
	f.n.views = append(f.n.views, m)
	f.fs.mu.Lock()
	f.n.opens++
	f.fs.mu.Unlock()
	return m, nil
}
