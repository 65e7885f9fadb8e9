package utl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/cairnkv/cairn/vfs"
)

// The library bbolt maps its file into memory and follows the page numbers and offsets in it
// without looking where they lead: in a damaged file, that ends the process by a fault, and its own
// check does so too. So a snapshot is read here, page by page, and every step is looked at: a page
// lies within the file, is met once, keeps its pairs within itself, and its keys in order and
// between those of the page above.
//
// The layout (all little-endian):
//
//	page      id 8 | flags 2 | count 2 | overflow 4 | elements...
//	branch    pos 4 | ksize 4 | pgid 8               pos counts from the element's own start
//	leaf      flags 4 | pos 4 | ksize 4 | vsize 4    flags 1: the value is a bucket
//	bucket    root 8 | sequence 8 | a page, if root is 0
//	meta      magic 4 | version 4 | page size 4 | flags 4 | root bucket 16 | freelist 8 |
//	          pages in use 8 | txid 8 | FNV-64a of the above 8
const (
	pageHeaderSize = 16
	elementSize    = 16
	bucketSize     = 16
	metaSize       = 64

	metaMagic   = 0xED0CDAED
	metaVersion = 2

	branchFlag = 0x01
	leafFlag   = 0x02

	minPageSize, maxPageSize = 512, 64 << 10
	// maxPages bounds what a walk remembers (one bit a page): 16 TiB of the smallest pages.
	maxPages = 1 << 35
	// maxDepth bounds the branches above a leaf; each halves what is below it at least.
	maxDepth = 48
)

var le = binary.LittleEndian

// errNotDatabase says that a file has no meta page that is whole.
var errNotDatabase = errors.New("invalid database")

// database is a file of bbolt's, open for reading.
type database struct {
	f vfs.File
	meta
}

// meta is what is read of a meta page.
type meta struct {
	pageSize uint32
	root     uint64
	pages    uint64 // in use
	txid     uint64
}

// openDatabase looks for the newer meta page in the first size bytes of f, and makes sure that all
// the pages are there.
func openDatabase(f vfs.File, size int64) (*database, error) {
	m, ok := newestMeta(f, size)
	if !ok {
		return nil, errNotDatabase
	}
	if m.pages > maxPages || m.pages*uint64(m.pageSize) > uint64(size) {
		return nil, fmt.Errorf("it is cut short: there are %d bytes of %d pages of %d bytes",
			size, m.pages, m.pageSize)
	}
	return &database{f: f, meta: m}, nil
}

// newestMeta finds the meta page that counts, as bbolt does: the valid one of the later
// transaction. The first says where the second is; if it is broken, the second is looked for.
func newestMeta(f vfs.File, size int64) (newest meta, ok bool) {
	if m, valid := readMeta(f, 0); valid {
		newest, ok = m, true
	}
	for ps := int64(minPageSize); ps <= maxPageSize && 2*ps <= size; ps *= 2 {
		if ok && int64(newest.pageSize) != ps {
			continue
		}
		if m, valid := readMeta(f, ps); valid && int64(m.pageSize) == ps &&
			(!ok || m.txid > newest.txid) {
			newest, ok = m, true
		}
	}
	return newest, ok
}

// readMeta reads the meta page at off.
func readMeta(f vfs.File, off int64) (m meta, valid bool) {
	b := make([]byte, metaSize)
	if _, err := f.ReadAt(b, off+pageHeaderSize); err != nil {
		return m, false
	}
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8]) // a hash never fails
	if le.Uint32(b) != metaMagic || le.Uint32(b[4:]) != metaVersion ||
		le.Uint64(b[metaSize-8:]) != sum.Sum64() {
		return m, false
	}
	m = meta{
		pageSize: le.Uint32(b[8:]),
		root:     le.Uint64(b[16:]),
		pages:    le.Uint64(b[40:]),
		txid:     le.Uint64(b[48:]),
	}
	return m, m.pageSize >= minPageSize && m.pageSize <= maxPageSize
}

// size is the length of the part of the file that is in use.
func (d *database) size() int64 { return int64(d.pages) * int64(d.pageSize) }

// buckets calls f with the name and the value of each bucket, in the order of names. Both are valid
// during the call.
func (d *database) buckets(f func(name, value []byte) error) error {
	w := newPageWalk(d, func(flags uint32, key, value []byte) error {
		if flags != 1 {
			return fmt.Errorf("%q is no bucket (flags %#x)", key, flags)
		}
		return f(key, value)
	})
	return w.page(d.root, 0, nil, nil)
}

// forEach calls f with the pairs of the bucket whose value is given, in the order of keys. Both are
// valid during the call.
func (d *database) forEach(bucket []byte, f func(key, value []byte) error) error {
	if len(bucket) < bucketSize {
		return fmt.Errorf("a bucket of %d bytes", len(bucket))
	}
	w := newPageWalk(d, func(flags uint32, key, value []byte) error {
		if flags != 0 {
			return fmt.Errorf("%q is no pair (flags %#x)", key, flags)
		}
		return f(key, value)
	})
	if root := le.Uint64(bucket); root != 0 {
		return w.page(root, 0, nil, nil)
	}
	inline := bucket[bucketSize:]
	if len(inline) < pageHeaderSize || le.Uint16(inline[8:]) != leafFlag {
		return errors.New("an inline bucket that is no leaf")
	}
	return w.leaf(0, inline, nil, nil)
}

// pageWalk is one walk down a tree.
type pageWalk struct {
	d    *database
	pair func(flags uint32, key, value []byte) error
	seen []uint64 // a bit a page
	bufs [maxDepth][]byte
}

func newPageWalk(d *database, pair func(flags uint32, key, value []byte) error) *pageWalk {
	return &pageWalk{d: d, pair: pair, seen: make([]uint64, d.pages/64+1)}
}

// page visits a page and those below it. All their keys lie in [from, to); a nil bound is none.
func (w *pageWalk) page(id uint64, depth int, from, to []byte) error {
	if depth == maxDepth {
		return fmt.Errorf("page %d is below %d others", id, maxDepth)
	}
	b, err := w.read(id, depth)
	if err != nil {
		return err
	}
	switch flags := le.Uint16(b[8:]); flags {
	case leafFlag:
		return w.leaf(id, b, from, to)
	case branchFlag:
		return w.branch(id, b, depth, from, to)
	default:
		return fmt.Errorf("page %d is neither branch nor leaf (flags %#x)", id, flags)
	}
}

// read reads a page with what it overflows into. The result is valid until the next read of the
// depth.
func (w *pageWalk) read(id uint64, depth int) ([]byte, error) {
	d := w.d
	if id < 2 || id >= d.pages {
		return nil, fmt.Errorf("page %d is outside the %d pages in use", id, d.pages)
	}
	var header [pageHeaderSize]byte
	if _, err := d.f.ReadAt(header[:], int64(id)*int64(d.pageSize)); err != nil {
		return nil, err
	}
	if got := le.Uint64(header[:]); got != id {
		return nil, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	n := uint64(le.Uint32(header[12:])) + 1
	if n > d.pages-id {
		return nil, fmt.Errorf("page %d is %d pages long, beyond the %d in use", id, n, d.pages)
	}
	for p := id; p < id+n; p++ {
		if w.seen[p/64]&(1<<(p%64)) != 0 {
			return nil, fmt.Errorf("page %d is used twice", p)
		}
		w.seen[p/64] |= 1 << (p % 64)
	}
	length := int(n) * int(d.pageSize)
	if cap(w.bufs[depth]) < length {
		w.bufs[depth] = make([]byte, length)
	}
	b := w.bufs[depth][:length]
	_, err := d.f.ReadAt(b, int64(id)*int64(d.pageSize))
	return b, err
}

// branch visits the pages below a branch.
func (w *pageWalk) branch(id uint64, b []byte, depth int, from, to []byte) error {
	count := int(le.Uint16(b[10:]))
	if count == 0 {
		return fmt.Errorf("page %d: a branch to nowhere", id)
	}
	keys := keyOrder{from: from, to: to}
	for i := range count {
		key, child, err := branchPair(b, i)
		if err == nil {
			err = keys.next(key)
		}
		until := to
		if err == nil && i+1 < count {
			until, _, err = branchPair(b, i+1)
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		if err := w.page(child, depth+1, key, until); err != nil {
			return err
		}
	}
	return nil
}

// branchPair returns the key and the child of element i of a branch.
func branchPair(b []byte, i int) (key []byte, child uint64, err error) {
	e, err := element(b, i)
	if err != nil {
		return nil, 0, err
	}
	key, err = slice(e, le.Uint32(e), le.Uint32(e[4:]))
	return key, le.Uint64(e[8:]), err
}

// leaf gives the pairs of a leaf to w.pair. Its id is 0 for one that is the value of a bucket.
func (w *pageWalk) leaf(id uint64, b []byte, from, to []byte) error {
	keys := keyOrder{from: from, to: to}
	for i := range int(le.Uint16(b[10:])) {
		flags, key, value, err := leafPair(b, i)
		if err == nil {
			err = keys.next(key)
		}
		if err != nil && id == 0 {
			return fmt.Errorf("an inline bucket: %w", err)
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		if err := w.pair(flags, key, value); err != nil {
			return err
		}
	}
	return nil
}

// leafPair returns pair i of a leaf.
func leafPair(b []byte, i int) (flags uint32, key, value []byte, err error) {
	e, err := element(b, i)
	if err != nil {
		return 0, nil, nil, err
	}
	pos, ksize, vsize := le.Uint32(e[4:]), le.Uint32(e[8:]), le.Uint32(e[12:])
	pair, err := slice(e, pos, ksize, vsize)
	if err != nil {
		return 0, nil, nil, err
	}
	return le.Uint32(e), pair[:ksize:ksize], pair[ksize:], nil
}

// element returns the page from its element i on.
func element(b []byte, i int) ([]byte, error) {
	start := pageHeaderSize + i*elementSize
	if start+elementSize > len(b) {
		return nil, fmt.Errorf("element %d is beyond its end at %d", i, len(b))
	}
	return b[start:], nil
}

// slice returns b[pos:pos+sizes...].
func slice(b []byte, pos uint32, sizes ...uint32) ([]byte, error) {
	end := uint64(pos)
	for _, n := range sizes {
		end += uint64(n)
	}
	if end > uint64(len(b)) {
		return nil, fmt.Errorf("a pair is %d bytes beyond its end", end-uint64(len(b)))
	}
	return b[pos:end:end], nil
}

// keyOrder makes sure that keys ascend, and lie in [from, to).
type keyOrder struct{ from, to, last []byte }

func (o *keyOrder) next(key []byte) error {
	switch {
	case o.last != nil && bytes.Compare(key, o.last) <= 0:
		return fmt.Errorf("key %x does not follow key %x", key, o.last)
	case o.from != nil && bytes.Compare(key, o.from) < 0:
		return fmt.Errorf("key %x is before %x, where the page begins", key, o.from)
	case o.to != nil && bytes.Compare(key, o.to) >= 0:
		return fmt.Errorf("key %x is not before %x, where the next page begins", key, o.to)
	}
	o.last = key
	return nil
}
