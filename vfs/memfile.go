package vfs

import (
	"io"
	"io/fs"
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	// maxMemFileBytes bounds the length of one file, so that a wild offset is an error and not
	// an allocation.
	maxMemFileBytes = 1 << 36
	// maxUnsyncedBytes and maxUnsyncedOps bound what a file remembers of its unsynced writes.
	// Beyond, the older half counts as written back, as a kernel would have done by itself.
	maxUnsyncedBytes = 64 << 20
	maxUnsyncedOps   = 1 << 18
	// keepUnsyncedBytes is how much buffer a sync leaves for the next writes.
	keepUnsyncedBytes = 4 << 20
)

// memFile is a file's content, which may have several names and handles, or none.
type memFile struct {
	fs  *Mem
	num uint64

	// Guarded by fs.mu.
	links, opens int      // names; handles and mappings
	blocks       []uint64 // a bit for each page that takes space

	mu     sync.RWMutex // guards what follows; taken after fs.mu
	data   []byte       // as seen now
	synced []byte       // as it was at the last sync
	ops    []dataOp     // what happened since, in order
	buf    []byte       // the bytes of ops
	views  []*heapMapping
}

// dataOp is a write of buf[at:at+n] at off, or, with n < 0, a change of the length to off.
type dataOp struct {
	off int64
	at  int
	n   int
}

func (f *memFile) id() uint64 { return f.num }

// open makes a handle; the caller holds fs.mu.
func (f *memFile) open(name string, write bool) *memHandle {
	f.opens++
	return &memHandle{f: f, name: name, write: write}
}

// unlink drops a name; the caller holds fs.mu.
func (f *memFile) unlink() {
	f.links--
	f.free()
}

// free gives the space back once nothing refers to the file; the caller holds fs.mu.
func (f *memFile) free() {
	if f.links <= 0 && f.opens == 0 {
		f.release(0)
	}
}

func (f *memFile) size() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return int64(len(f.data))
}

// reserve takes blocks for [from, to) and says up to where the capacity sufficed; the caller
// holds fs.mu.
func (f *memFile) reserve(from, to int64) int64 {
	for p := from / memPageBytes; p*memPageBytes < to; p++ {
		for int64(len(f.blocks)) <= p/64 {
			f.blocks = append(f.blocks, 0)
		}
		if f.blocks[p/64]>>(p%64)&1 == 1 {
			continue
		}
		if f.fs.capacity > 0 && f.fs.used+memPageBytes > f.fs.capacity {
			return max(from, p*memPageBytes)
		}
		f.blocks[p/64] |= 1 << (p % 64)
		f.fs.used += memPageBytes
	}
	return to
}

// release gives back the blocks that lie wholly at or past size; the caller holds fs.mu.
func (f *memFile) release(size int64) {
	first := (size + memPageBytes - 1) / memPageBytes
	for i := first / 64; i < int64(len(f.blocks)); i++ {
		gone := f.blocks[i]
		if i == first/64 {
			gone &^= 1<<(first%64) - 1
		}
		f.blocks[i] &^= gone
		f.fs.used -= int64(bits.OnesCount64(gone)) * memPageBytes
	}
}

// resize sets the length; the caller holds fs.mu.
func (f *memFile) resize(size int64) {
	f.release(size)
	f.mu.Lock()
	defer f.mu.Unlock()
	if size == int64(len(f.data)) {
		return
	}
	f.setLen(size)
	f.ops = append(f.ops, dataOp{off: size, n: -1})
	f.trim()
}

// setLen changes len(data), with zeros where it grows; the caller holds mu.
func (f *memFile) setLen(size int64) {
	f.data = setLen(f.data, size)
}

// setLen is b with another length. What is past the length of b is kept zero, so that growing
// within the capacity needs no work.
func setLen(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		clear(b[size:])
		return b[:size]
	}
	if size > int64(cap(b)) {
		grown := make([]byte, len(b), max(size, min(2*int64(cap(b)), size+64<<20)))
		copy(grown, b)
		b = grown
	}
	return b[:size]
}

// write puts p at off in the data, the journal and the mappings of earlier arrays; the caller
// holds mu.
func (f *memFile) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	if end := off + int64(len(p)); end > int64(len(f.data)) {
		f.setLen(end)
	}
	copy(f.data[off:], p)
	for _, v := range f.views {
		if len(v.b) > 0 && &v.b[0] != &f.data[0] {
			v.update(p, off)
		}
	}
	f.ops = append(f.ops, dataOp{off: off, at: len(f.buf), n: len(p)})
	f.buf = append(f.buf, p...)
	f.trim()
}

// trim bounds the journal; the caller holds mu.
func (f *memFile) trim() {
	if len(f.buf) <= maxUnsyncedBytes && len(f.ops) <= maxUnsyncedOps {
		return
	}
	half := (len(f.ops) + 1) / 2
	f.settle(half)
}

// settle makes the first n operations of the journal durable; the caller holds mu.
func (f *memFile) settle(n int) {
	for _, op := range f.ops[:n] {
		if op.n < 0 {
			f.synced = setLen(f.synced, op.off)
			continue
		}
		if end := op.off + int64(op.n); end > int64(len(f.synced)) {
			f.synced = setLen(f.synced, end)
		}
		copy(f.synced[op.off:], f.buf[op.at:op.at+op.n])
	}
	if n == len(f.ops) {
		f.ops, f.buf = f.ops[:0], f.buf[:0]
		if cap(f.buf) > keepUnsyncedBytes {
			f.ops, f.buf = nil, nil
		}
		return
	}
	kept := make([]dataOp, 0, len(f.ops)-n)
	var buf []byte
	for _, op := range f.ops[n:] {
		if op.n >= 0 {
			at := len(buf)
			buf = append(buf, f.buf[op.at:op.at+op.n]...)
			op.at = at
		}
		kept = append(kept, op)
	}
	f.ops, f.buf = kept, buf
}

// memHandle is an open memFile.
type memHandle struct {
	f      *memFile
	name   string
	write  bool
	closed atomic.Bool
}

func (h *memHandle) Name() string { return h.name }

func (h *memHandle) check(op string, write bool) error {
	if h.closed.Load() {
		return wrap(op, h.name, fs.ErrClosed)
	}
	if write && !h.write {
		return wrap(op, h.name, fs.ErrPermission)
	}
	return nil
}

func (h *memHandle) Close() error {
	h.f.fs.mu.Lock()
	defer h.f.fs.mu.Unlock()
	if err := h.check("close", false); err != nil {
		return err
	}
	h.closeLocked()
	return nil
}

// closeLocked is Close for callers that hold fs.mu.
func (h *memHandle) closeLocked() {
	if !h.closed.Swap(true) {
		h.f.opens--
		h.f.free()
	}
}

func (h *memHandle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, wrap("read", h.name, fs.ErrInvalid)
	}
	h.f.mu.RLock()
	defer h.f.mu.RUnlock()
	if off >= int64(len(h.f.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, h.f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(p []byte, off int64) (int, error) {
	if err := h.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 || off+int64(len(p)) > maxMemFileBytes {
		return 0, wrap("write", h.name, fs.ErrInvalid)
	}
	defer h.f.fs.step(Op{Kind: OpWrite, Path: h.name, Offset: off, Size: int64(len(p))})()
	h.f.fs.mu.Lock()
	defer h.f.fs.mu.Unlock()
	n := int(h.f.reserve(off, off+int64(len(p))) - off)
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	h.f.write(p[:n], off)
	if n < len(p) {
		return n, wrap("write", h.name, ErrNoSpace)
	}
	return n, nil
}

func (h *memHandle) Size() (int64, error) {
	if err := h.check("stat", false); err != nil {
		return 0, err
	}
	return h.f.size(), nil
}

func (h *memHandle) Truncate(size int64) error {
	if err := h.check("truncate", true); err != nil {
		return err
	}
	if size < 0 || size > maxMemFileBytes {
		return wrap("truncate", h.name, fs.ErrInvalid)
	}
	defer h.f.fs.step(Op{Kind: OpTruncate, Path: h.name, Size: size})()
	h.f.fs.mu.Lock()
	defer h.f.fs.mu.Unlock()
	h.f.resize(size)
	return nil
}

func (h *memHandle) Allocate(size int64) error {
	if err := h.check("allocate", true); err != nil {
		return err
	}
	if size <= 0 {
		return nil
	}
	if size > maxMemFileBytes {
		return wrap("allocate", h.name, fs.ErrInvalid)
	}
	defer h.f.fs.step(Op{Kind: OpAllocate, Path: h.name, Size: size})()
	h.f.fs.mu.Lock()
	defer h.f.fs.mu.Unlock()
	if h.f.reserve(0, size) < size {
		return wrap("allocate", h.name, ErrNoSpace)
	}
	if size > h.f.size() {
		h.f.resize(size)
	}
	return nil
}

func (h *memHandle) Sync() error { return h.sync(OpSync) }

func (h *memHandle) SyncData() error { return h.sync(OpSyncData) }

func (h *memHandle) sync(kind OpKind) error {
	if err := h.check("sync", false); err != nil {
		return err
	}
	defer h.f.fs.step(Op{Kind: kind, Path: h.name})()
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	h.f.settle(len(h.f.ops))
	return nil
}

func (h *memHandle) StartWriteback(off, n int64) error { return h.check("writeback", false) }

// Map returns the file's own array. Should the file outgrow it, writes go to both arrays.
func (h *memHandle) Map(size int64) (Mapping, error) {
	if err := h.check("map", false); err != nil {
		return nil, err
	}
	f := h.f
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if size < 0 || size > int64(len(f.data)) {
		return nil, wrap("map", h.name, fs.ErrInvalid)
	}
	f.opens++
	m := &heapMapping{b: f.data[:size:size], unmap: f.forget}
	f.views = append(f.views, m)
	return m, nil
}

func (f *memFile) forget(m *heapMapping) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, v := range f.views {
		if v == m {
			f.views = append(f.views[:i], f.views[i+1:]...)
			break
		}
	}
	f.opens--
	f.free()
}
