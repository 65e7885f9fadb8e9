package wal

import (
	"io"

	"github.com/cairnkv/cairn/vfs"
)

// windowBytes is what a window reads at a time.
const windowBytes = 1 << 20

// window reads a file from the front to the back through one buffer.
type window struct {
	f    vfs.File
	size int64
	buf  []byte
	off  int64 // of buf[:held]
	held int64
}

func newWindow(f vfs.File, size int64) *window { return &window{f: f, size: size} }

// at returns the n bytes at off, valid until the next call. They must lie within the file.
func (w *window) at(off, n int64) ([]byte, error) {
	if off < w.off || off+n > w.off+w.held {
		size := max(n, min(windowBytes, w.size-off))
		if int64(cap(w.buf)) < size {
			w.buf = make([]byte, size)
		}
		w.held = 0
		if k, err := w.f.ReadAt(w.buf[:size], off); int64(k) < size {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		w.off, w.held = off, size
	}
	return w.buf[off-w.off : off-w.off+n], nil
}

// record reads and checks the record at off, but not its place in the chain. bad says what is wrong
// with it; err, that reading failed. The payload is valid until the next call.
func (w *window) record(number uint64, off int64) (h head, payload []byte, bad string, err error) {
	if off+recordHeadBytes > w.size {
		return h, nil, "the file ends", nil
	}
	b, err := w.at(off, recordHeadBytes)
	if err != nil {
		return h, nil, "", err
	}
	h, ok := decodeHead(b, number, off)
	if !ok {
		return h, nil, "the head of the record fails its check", nil
	}
	if off+h.bytes() > w.size {
		return h, nil, "the record is longer than the file", nil
	}
	if b, err = w.at(off, h.bytes()); err != nil {
		return h, nil, "", err
	}
	if !checkBody(b, h) {
		return h, nil, "the record fails its check", nil
	}
	return h, b[recordHeadBytes : recordHeadBytes+h.length], "", nil
}
