package utl

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"github.com/cairnkv/cairn/vfs"
)

// bbolt follows page numbers and offsets of the file it has mapped without looking where they lead,
// and a fault in mapped memory ends the process. So a file is walked once here, by reading, before
// bbolt sees it: every page in reach lies within the file, is reached once, and keeps its pairs
// within itself. What is wrong beyond that, bbolt finds by itself and says so.
//
// The layout (all little-endian):
//
//	page      id 8 | flags 2 | count 2 | overflow 4 | elements...
//	branch    pos 4 | ksize 4 | pgid 8               pos counts from the element's own start
//	leaf      flags 4 | pos 4 | ksize 4 | vsize 4    flags 1: the value is a bucket
//	bucket    root 8 | sequence 8 | page, if root is 0
//	meta      magic 4 | version 4 | page size 4 | flags 4 | root bucket 16 | freelist 8 |
//	          pages in use 8 | txid 8 | FNV-64a of the above 8
const (
	pageHeaderSize = 16
	elementSize    = 16
	bucketSize     = 16
	metaSize       = 64

	metaMagic   = 0xED0CDAED
	metaVersion = 2

	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10

	// manyFlag in the count of a freelist says that the count is in its first entry.
	manyFlag = 0xFFFF
	// noFreelist in a meta says that there is no freelist on disk.
	noFreelist = ^uint64(0)

	minPageSize, maxPageSize = 512, 64 << 10
	// maxPages bounds what the walk remembers (one bit a page): 16 TiB of the smallest pages.
	maxPages = 1 << 35
)

var le = binary.LittleEndian

// pageWalk is the state of one walk.
type pageWalk struct {
	f        vfs.File
	pageSize uint64
	pages    uint64 // in use
	seen     []uint64
	todo     []uint64
}

// checkPages walks the database in the first size bytes of f. A file that is no database at all is
// left for bbolt to refuse.
func checkPages(f vfs.File, size int64) error {
	m, ok := newestMeta(f, size)
	if !ok {
		return nil
	}
	w := &pageWalk{f: f, pageSize: uint64(m.pageSize), pages: m.pages}
	if m.pages > maxPages || m.pages*w.pageSize > uint64(size) {
		return fmt.Errorf("%s is cut short: it has %d bytes of %d pages of %d bytes",
			f.Name(), size, m.pages, m.pageSize)
	}
	w.seen = make([]uint64, m.pages/64+1)
	if err := w.walk(m); err != nil {
		return fmt.Errorf("%s is damaged: %w", f.Name(), err)
	}
	return nil
}

// meta is what the walk needs of a meta page.
type meta struct {
	pageSize       uint32
	root, freelist uint64
	pages, txid    uint64
}

// newestMeta finds the meta page that bbolt will use. The first one says where the second one is;
// if it is broken, the second one is looked for.
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
		freelist: le.Uint64(b[32:]),
		pages:    le.Uint64(b[40:]),
		txid:     le.Uint64(b[48:]),
	}
	return m, m.pageSize >= minPageSize && m.pageSize <= maxPageSize
}

// walk visits the freelist, and all that the root leads to.
func (w *pageWalk) walk(m meta) error {
	if m.freelist != noFreelist {
		if err := w.freelist(m.freelist); err != nil {
			return err
		}
	}
	w.todo = append(w.todo, m.root)
	for len(w.todo) > 0 {
		id := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		if err := w.page(id); err != nil {
			return err
		}
	}
	return nil
}

// open reads the header of a page, checks and marks its extent, and returns its length in bytes.
func (w *pageWalk) open(id uint64) (header []byte, length uint64, err error) {
	if id < 2 || id >= w.pages {
		return nil, 0, fmt.Errorf("page %d is outside the %d pages in use", id, w.pages)
	}
	header = make([]byte, pageHeaderSize)
	if _, err := w.f.ReadAt(header, int64(id*w.pageSize)); err != nil {
		return nil, 0, err
	}
	if got := le.Uint64(header); got != id {
		return nil, 0, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	n := uint64(le.Uint32(header[12:])) + 1
	if n > w.pages-id {
		return nil, 0, fmt.Errorf("page %d is %d pages long, beyond the %d in use", id, n, w.pages)
	}
	for p := id; p < id+n; p++ {
		if w.seen[p/64]&(1<<(p%64)) != 0 {
			return nil, 0, fmt.Errorf("page %d is used twice", p)
		}
		w.seen[p/64] |= 1 << (p % 64)
	}
	return header, n * w.pageSize, nil
}

// freelist checks that the list of free pages lies within its page.
func (w *pageWalk) freelist(id uint64) error {
	header, length, err := w.open(id)
	if err != nil {
		return err
	}
	if le.Uint16(header[8:])&freelistFlag == 0 {
		return fmt.Errorf("page %d should be the list of free pages", id)
	}
	count := uint64(le.Uint16(header[10:]))
	if count == manyFlag {
		b := make([]byte, 8)
		if _, err := w.f.ReadAt(b, int64(id*w.pageSize)+pageHeaderSize); err != nil {
			return err
		}
		if count = le.Uint64(b); count >= length/8 {
			return fmt.Errorf("page %d lists %d free pages, more than fit", id, count)
		}
		count++ // the first entry
	}
	if pageHeaderSize+count*8 > length {
		return fmt.Errorf("page %d lists %d free pages, more than fit", id, count)
	}
	return nil
}

// page checks a branch or a leaf, and notes the pages that it leads to.
func (w *pageWalk) page(id uint64) error {
	header, length, err := w.open(id)
	if err != nil {
		return err
	}
	body := region{w: w, off: int64(id * w.pageSize), length: length}
	flags, count := le.Uint16(header[8:]), uint64(le.Uint16(header[10:]))
	if flags != branchFlag && flags != leafFlag {
		return fmt.Errorf("page %d is neither branch nor leaf (flags %#x)", id, flags)
	}
	if err := body.elements(flags, count, true); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// region is a page in the file, or one within the value of a bucket.
type region struct {
	w      *pageWalk
	off    int64
	length uint64
}

// read reads n bytes at the region's offset off, all of which must lie within.
func (r region) read(off, n uint64) ([]byte, error) {
	if off > r.length || n > r.length-off {
		return nil, fmt.Errorf("bytes %d to %d are beyond its end at %d", off, off+n, r.length)
	}
	b := make([]byte, n)
	_, err := r.w.f.ReadAt(b, r.off+int64(off))
	return b, err
}

// elements checks the elements of a page. Buckets within buckets are allowed in pages of their own
// only.
func (r region) elements(flags uint16, count uint64, ownPage bool) error {
	table, err := r.read(pageHeaderSize, count*elementSize)
	if err != nil {
		return err
	}
	for i := range count {
		e := table[i*elementSize:]
		start := pageHeaderSize + i*elementSize
		if flags == branchFlag {
			if err := r.within(start+uint64(le.Uint32(e)), uint64(le.Uint32(e[4:]))); err != nil {
				return err
			}
			r.w.todo = append(r.w.todo, le.Uint64(e[8:]))
			continue
		}
		pos, ksize := start+uint64(le.Uint32(e[4:])), uint64(le.Uint32(e[8:]))
		vsize := uint64(le.Uint32(e[12:]))
		if err := r.within(pos, ksize+vsize); err != nil {
			return err
		}
		if le.Uint32(e) != 0 {
			if !ownPage {
				return fmt.Errorf("a bucket within an inline bucket")
			}
			if err := r.bucket(pos+ksize, vsize); err != nil {
				return err
			}
		}
	}
	return nil
}

// within checks that n bytes at off lie in the region.
func (r region) within(off, n uint64) error {
	if off > r.length || n > r.length-off {
		return fmt.Errorf("a pair of %d bytes at %d is beyond its end at %d", n, off, r.length)
	}
	return nil
}

// bucket checks the value of a bucket: a page elsewhere, or one inline.
func (r region) bucket(off, size uint64) error {
	if size < bucketSize {
		return fmt.Errorf("a bucket of %d bytes", size)
	}
	b, err := r.read(off, bucketSize)
	if err != nil {
		return err
	}
	if root := le.Uint64(b); root != 0 {
		r.w.todo = append(r.w.todo, root)
		return nil
	}
	in := region{w: r.w, off: r.off + int64(off) + bucketSize, length: size - bucketSize}
	header, err := in.read(0, pageHeaderSize)
	if err != nil {
		return fmt.Errorf("an inline bucket: %w", err)
	}
	if flags := le.Uint16(header[8:]); flags != leafFlag {
		return fmt.Errorf("an inline bucket that is no leaf (flags %#x)", flags)
	}
	return in.elements(leafFlag, uint64(le.Uint16(header[10:])), false)
}
