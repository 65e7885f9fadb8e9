package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// memPageBytes is the unit in which a [Mem] counts the space in use.
const memPageBytes = 4096

// errNotDir, errIsDir and errNotEmpty are what a [Mem] says where the system has an errno.
var (
	errNotDir   = errors.New("not a directory")
	errIsDir    = errors.New("is a directory")
	errNotEmpty = errors.New("directory not empty")
)

// Mem is a file system in memory that remembers what was made durable and what was not, so that
// [Mem.CrashClone] can show the disk as a power failure would leave it. Safe for concurrent use.
//
// The hook (see [Mem.SetHook]) is called without a lock held, so that it may take a crash clone.
type Mem struct {
	mu       sync.Mutex // guards all below, and the entries of every directory
	root     *memDir    // holds "/", ".", volumes: the tops of all paths
	pending  []nameOp   // names that no SyncDir made durable, in order
	locks    map[string]bool
	hook     func(op Op, after bool)
	nextID   uint64
	used     int64 // bytes in pages that hold blocks
	capacity int64 // 0: unlimited
}

// memNode is a directory or a file.
type memNode interface{ id() uint64 }

// memDir is a directory: what is seen now, and what a crash leaves at least.
type memDir struct {
	num     uint64
	entries map[string]memNode
	synced  map[string]memNode
}

func (d *memDir) id() uint64 { return d.num }

// nameOp is a change of names that may still be lost: set in one directory, delete in another, both
// or none.
type nameOp struct {
	node    memNode // what the operation is about
	setDir  *memDir // nil: nothing appears
	setName string
	delDir  *memDir // nil: nothing goes
	delName string
}

// NewMem returns an empty file system without a limit.
func NewMem() *Mem {
	m := &Mem{locks: map[string]bool{}}
	m.root = m.newDir()
	return m
}

// SetHook has fn called before (after == false) and after each mutating operation, on the goroutine
// that does it, whether it succeeds or not. nil ends that.
func (m *Mem) SetHook(fn func(op Op, after bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = fn
}

// SetCapacity limits the bytes that files may take, in pages of 4 KiB; 0 is unlimited. Less than
// what is in use only refuses more.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// Used is the bytes that files take, in whole pages.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// step announces op and returns what announces its end.
func (m *Mem) step(op Op) func() {
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	if hook == nil {
		return func() {}
	}
	hook(op, false)
	return func() { hook(op, true) }
}

func (m *Mem) newDir() *memDir {
	m.nextID++
	return &memDir{
		num: m.nextID, entries: map[string]memNode{}, synced: map[string]memNode{},
	}
}

// top is the directory of a path that has no parent; tops always exist and are durable.
func (m *Mem) top(path string) *memDir {
	if n, ok := m.root.entries[path]; ok {
		return n.(*memDir)
	}
	d := m.newDir()
	m.root.entries[path] = d
	m.root.synced[path] = d
	return d
}

// lookup finds the node at path.
func (m *Mem) lookup(path string) (memNode, error) {
	path = filepath.Clean(path)
	parent := filepath.Dir(path)
	if parent == path {
		return m.top(path), nil
	}
	d, err := m.lookupDir(parent)
	if err != nil {
		return nil, err
	}
	n, ok := d.entries[filepath.Base(path)]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return n, nil
}

func (m *Mem) lookupDir(path string) (*memDir, error) {
	n, err := m.lookup(path)
	if err != nil {
		return nil, err
	}
	d, ok := n.(*memDir)
	if !ok {
		return nil, errNotDir
	}
	return d, nil
}

// parent finds the directory that holds path, and the name there.
func (m *Mem) parent(path string) (*memDir, string, error) {
	path = filepath.Clean(path)
	if filepath.Dir(path) == path {
		return nil, "", fs.ErrInvalid
	}
	d, err := m.lookupDir(filepath.Dir(path))
	return d, filepath.Base(path), err
}

// apply does a change of names and remembers that it may be lost.
func (m *Mem) apply(op nameOp) {
	if op.delDir != nil {
		delete(op.delDir.entries, op.delName)
	}
	if op.setDir != nil {
		op.setDir.entries[op.setName] = op.node
	}
	m.pending = append(m.pending, op)
}

// Create implements [FS].
func (m *Mem) Create(name string) (File, error) {
	defer m.step(Op{Kind: OpCreate, Path: name})()
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent(name)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	switch n := d.entries[base].(type) {
	case nil:
		m.nextID++
		f := &memFile{fs: m, num: m.nextID, links: 1}
		m.apply(nameOp{node: f, setDir: d, setName: base})
		return f.open(name, true), nil
	case *memFile:
		n.resize(0)
		return n.open(name, true), nil
	default:
		return nil, wrap("open", name, errIsDir)
	}
}

// Open implements [FS].
func (m *Mem) Open(name string) (File, error) { return m.openFile(name, false) }

// OpenReadWrite implements [FS].
func (m *Mem) OpenReadWrite(name string) (File, error) { return m.openFile(name, true) }

func (m *Mem) openFile(name string, write bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup(name)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	f, ok := n.(*memFile)
	if !ok {
		return nil, wrap("open", name, errIsDir)
	}
	return f.open(name, write), nil
}

// Remove implements [FS].
func (m *Mem) Remove(name string) error {
	defer m.step(Op{Kind: OpRemove, Path: name})()
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent(name)
	if err != nil {
		return wrap("remove", name, err)
	}
	n, ok := d.entries[base]
	if !ok {
		return wrap("remove", name, fs.ErrNotExist)
	}
	if sub, ok := n.(*memDir); ok && len(sub.entries) > 0 {
		return wrap("remove", name, errNotEmpty)
	}
	m.remove(d, base)
	return nil
}

// remove takes a name away with all that is below it, the deepest first.
func (m *Mem) remove(d *memDir, base string) {
	n := d.entries[base]
	if sub, ok := n.(*memDir); ok {
		for _, name := range slices.Sorted(maps.Keys(sub.entries)) {
			m.remove(sub, name)
		}
	}
	m.apply(nameOp{node: n, delDir: d, delName: base})
	if f, ok := n.(*memFile); ok {
		f.unlink()
	}
}

// RemoveAll implements [FS].
func (m *Mem) RemoveAll(name string) error {
	defer m.step(Op{Kind: OpRemoveAll, Path: name})()
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return wrap("remove", name, err)
	}
	if _, ok := d.entries[base]; ok {
		m.remove(d, base)
	}
	return nil
}

// Rename implements [FS]. A directory may be renamed too, but not over an existing name.
func (m *Mem) Rename(oldName, newName string) error {
	defer m.step(Op{Kind: OpRename, Path: newName, OldPath: oldName})()
	m.mu.Lock()
	defer m.mu.Unlock()
	from, fromBase, err := m.parent(oldName)
	if err != nil {
		return wrap("rename", oldName, err)
	}
	to, toBase, err := m.parent(newName)
	if err != nil {
		return wrap("rename", newName, err)
	}
	n, ok := from.entries[fromBase]
	if !ok {
		return wrap("rename", oldName, fs.ErrNotExist)
	}
	over := to.entries[toBase]
	if over == n {
		return nil
	}
	if over != nil {
		f, ok := over.(*memFile)
		if _, isFile := n.(*memFile); !ok || !isFile {
			return wrap("rename", newName, fs.ErrExist)
		}
		defer f.unlink()
	}
	m.apply(nameOp{
		node: n, setDir: to, setName: toBase, delDir: from, delName: fromBase,
	})
	return nil
}

// MkdirAll implements [FS].
func (m *Mem) MkdirAll(dir string) error {
	defer m.step(Op{Kind: OpMkdirAll, Path: dir})()
	m.mu.Lock()
	defer m.mu.Unlock()
	return wrap("mkdir", dir, m.mkdirAll(filepath.Clean(dir)))
}

func (m *Mem) mkdirAll(dir string) error {
	_, err := m.lookupDir(dir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := m.mkdirAll(filepath.Dir(dir)); err != nil {
		return err
	}
	d, base, err := m.parent(dir)
	if err != nil {
		return err
	}
	m.apply(nameOp{node: m.newDir(), setDir: d, setName: base})
	m.settle(d)
	return nil
}

// List implements [FS].
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.lookupDir(dir)
	if err != nil {
		return nil, wrap("list", dir, err)
	}
	return slices.Sorted(maps.Keys(d.entries)), nil
}

// Stat implements [FS].
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup(name)
	if err != nil {
		return nil, wrap("stat", name, err)
	}
	info := memInfo{name: filepath.Base(name)}
	if f, ok := n.(*memFile); ok {
		info.size = f.size()
	} else {
		info.dir = true
	}
	return info, nil
}

// SyncDir implements [FS].
func (m *Mem) SyncDir(dir string) error {
	defer m.step(Op{Kind: OpSyncDir, Path: dir})()
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.lookupDir(dir)
	if err != nil {
		return wrap("syncdir", dir, err)
	}
	m.settle(d)
	return nil
}

// Lock implements [FS].
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenReadWrite(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = m.Create(name)
	}
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	path := filepath.Clean(name)
	if m.locks[path] {
		f.(*memHandle).closeLocked()
		return nil, wrap("lock", name, ErrLocked)
	}
	m.locks[path] = true
	return &memLock{fs: m, path: path, file: f.(*memHandle)}, nil
}

// Space implements [FS]. A file system without a limit says that it is half full.
func (m *Mem) Space(dir string) (free, total uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.lookupDir(dir); err != nil {
		return 0, 0, wrap("space", dir, err)
	}
	if m.capacity == 0 {
		const plenty = 1 << 40
		return plenty, 2 * plenty, nil
	}
	return uint64(max(m.capacity-m.used, 0)), uint64(m.capacity), nil
}

// memLock is a held lock.
type memLock struct {
	fs   *Mem
	path string
	file *memHandle
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		delete(l.fs.locks, l.path)
		l.file.closeLocked()
	})
	return nil
}

// memInfo is what Stat tells.
type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }

func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | dirMode
	}
	return fileMode
}
