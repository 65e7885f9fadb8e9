package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cairnkv/cairn/revlog"
)

const (
	frameHeaderBytes = 9 // length, crc, kind
	// maxFrameBytes bounds the payload of a frame, in bytes, if it is not one large record.
	maxFrameBytes = 1 << 20
	// batchBytes is the size of payload at which a frame is sent.
	batchBytes = 256 << 10
	// maxPayloadBytes bounds any frame.
	maxPayloadBytes = revlog.MaxKVBytes + maxRecordHeaderBytes
	// growBytes is how much memory is taken at once for a payload whose length is only claimed.
	growBytes = 1 << 20
	// keptBufferBytes is the largest buffer that is kept from one frame to the next.
	keptBufferBytes = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// kind is what a frame holds.
type kind uint8

const (
	kindHeader kind = 1 + iota
	kindKept
	kindRecords
	kindTally
	kindImage
	kindEnd
)

// errFrame says that bytes are not the frame that follows.
var errFrame = errors.New("damaged frame")

// frameCRC is the checksum of a frame of which b holds the first bytes but the crc.
func frameCRC(seed uint32, length uint32, k kind, payload []byte) uint32 {
	var b [5]byte
	binary.LittleEndian.PutUint32(b[:], length)
	b[4] = byte(k)
	if k == kindHeader {
		seed = 0
	}
	return crc32.Update(crc32.Update(seed, castagnoli, b[:]), castagnoli, payload)
}

// frameWriter makes frames that follow each other.
type frameWriter struct {
	crc uint32 // of the last one
	buf []byte
}

// frame returns the frame; it is valid until the next.
func (w *frameWriter) frame(k kind, payload []byte) []byte {
	if cap(w.buf) > keptBufferBytes {
		w.buf = nil
	}
	length := uint32(1 + len(payload))
	w.crc = frameCRC(w.crc, length, k, payload)
	w.buf = binary.LittleEndian.AppendUint32(w.buf[:0], length)
	w.buf = binary.LittleEndian.AppendUint32(w.buf, w.crc)
	w.buf = append(w.buf, byte(k))
	w.buf = append(w.buf, payload...)
	return w.buf
}

// frameReader reads frames that follow each other.
type frameReader struct {
	r    io.Reader
	crc  uint32 // of the last one
	size int64  // of all that were read
	head [frameHeaderBytes]byte
	buf  []byte
}

// next returns the next frame, valid until the next call. io.EOF is a stream that ends between two
// frames; one that ends inside is io.ErrUnexpectedEOF, one that is damaged wraps errFrame.
func (r *frameReader) next() (kind, []byte, error) {
	if _, err := io.ReadFull(r.r, r.head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.LittleEndian.Uint32(r.head[:])
	k := kind(r.head[8])
	limit := uint32(maxFrameBytes)
	if k == kindRecords {
		limit = maxPayloadBytes
	}
	if length == 0 || length > limit+1 || k < kindHeader || k > kindEnd {
		return 0, nil, fmt.Errorf("%w: kind %d, %d bytes", errFrame, k, length)
	}
	payload, err := r.payload(int(length - 1))
	if err != nil {
		return 0, nil, err
	}
	crc := frameCRC(r.crc, length, k, payload)
	if crc != binary.LittleEndian.Uint32(r.head[4:]) {
		return 0, nil, fmt.Errorf("%w: checksum", errFrame)
	}
	r.crc = crc
	r.size += frameHeaderBytes + int64(len(payload))
	return k, payload, nil
}

// payload reads n bytes and takes memory as they arrive.
func (r *frameReader) payload(n int) ([]byte, error) {
	if cap(r.buf) > keptBufferBytes {
		r.buf = nil
	}
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		from := len(r.buf)
		piece := min(n-from, growBytes)
		if need := from + piece; need > cap(r.buf) {
			b := make([]byte, from, min(max(need, 2*cap(r.buf)), n))
			copy(b, r.buf)
			r.buf = b
		}
		r.buf = r.buf[:from+piece]
		if _, err := io.ReadFull(r.r, r.buf[from:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return r.buf, nil
}
