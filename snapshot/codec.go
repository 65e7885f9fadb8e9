package snapshot

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/mvcc/index"
	"github.com/cairnkv/cairn/revlog"
)

const (
	formatVersion = 1
	headerBytes   = 2 + 6*8
	tallyBytes    = 3*8 + 4
	endBytes      = 4

	// MaxImageBytes bounds the image.
	MaxImageBytes = 1 << 30

	flagTombstone = 1
	flagOmitted   = 2 // instead of the payload, its crc

	// maxRecordHeaderBytes is the most that stands before a payload.
	maxRecordHeaderBytes = 3*binary.MaxVarintLen64 + 1
)

// Header describes a snapshot.
type Header struct {
	Index, Term uint64 // of the last entry that is applied in it
	Rev         int64  // of the store
	CompactRev  int64  // of the store
	Base        int64  // the revision above which it brings records
	ImageBytes  int64
}

func (h Header) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, formatVersion)
	for _, v := range []uint64{h.Index, h.Term, uint64(h.Rev), uint64(h.CompactRev),
		uint64(h.Base), uint64(h.ImageBytes)} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	return dst
}

func decodeHeader(b []byte) (h Header, err error) {
	if len(b) < 2 {
		return h, fmt.Errorf("%w: a short header", ErrFormat)
	}
	if v := binary.LittleEndian.Uint16(b); v != formatVersion {
		return h, fmt.Errorf("%w (format %d, this release reads %d)", ErrVersion, v, formatVersion)
	}
	if len(b) != headerBytes {
		return h, fmt.Errorf("%w: a header of %d bytes", ErrFormat, len(b))
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[2+8*i:]) }
	h = Header{
		Index: u(0), Term: u(1), Rev: int64(u(2)), CompactRev: int64(u(3)), Base: int64(u(4)),
		ImageBytes: int64(u(5)),
	}
	if h.Base < mvcc.FirstRev || h.Rev < h.Base || h.CompactRev > h.Rev ||
		h.CompactRev < mvcc.NeverCompacted || h.ImageBytes < 0 || h.ImageBytes > MaxImageBytes {
		return h, fmt.Errorf("%w: a header that contradicts itself: %+v", ErrFormat, h)
	}
	return h, nil
}

// record is a record on its way.
type record struct {
	revlog.Record
	omitted bool   // KV is not here
	crc     uint32 // of the KV that is not here
}

// appendRecord appends a record to a frame in which prev is the one before, zero if there is none.
func appendRecord(dst []byte, prev cairn.Revision, r *record) []byte {
	main, sub := r.Rev.Main-prev.Main, r.Rev.Sub
	if main == 0 {
		sub -= prev.Sub
	}
	var flags byte
	if r.Tombstone {
		flags |= flagTombstone
	}
	if r.omitted {
		flags |= flagOmitted
	}
	dst = binary.AppendUvarint(dst, uint64(main))
	dst = binary.AppendUvarint(dst, uint64(sub))
	dst = append(dst, flags)
	if r.omitted {
		return binary.LittleEndian.AppendUint32(dst, r.crc)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.KV)))
	return append(dst, r.KV...)
}

// takeRecord reads what appendRecord appended, and returns what is behind it. KV aliases b.
func takeRecord(b []byte, prev cairn.Revision) (r record, rest []byte, err error) {
	main, n := binary.Uvarint(b)
	if n <= 0 || main > 1<<62 {
		return r, nil, errRecord(prev)
	}
	b = b[n:]
	sub, n := binary.Uvarint(b)
	if n <= 0 || sub > index.MaxSub || n >= len(b) {
		return r, nil, errRecord(prev)
	}
	flags := b[n]
	b = b[n+1:]
	r.Rev = cairn.Revision{Main: prev.Main + int64(main), Sub: int64(sub)}
	if main == 0 {
		r.Rev.Sub += prev.Sub
	}
	r.Tombstone, r.omitted = flags&flagTombstone != 0, flags&flagOmitted != 0
	if !prev.Less(r.Rev) || r.Rev.Sub > index.MaxSub || flags&^(flagTombstone|flagOmitted) != 0 {
		return r, nil, errRecord(prev)
	}
	if r.omitted {
		if len(b) < 4 {
			return r, nil, errRecord(prev)
		}
		r.crc = binary.LittleEndian.Uint32(b)
		return r, b[4:], nil
	}
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) || size > revlog.MaxKVBytes {
		return r, nil, errRecord(prev)
	}
	end := n + int(size)
	r.KV = b[n:end:end]
	return r, b[end:], nil
}

func errRecord(prev cairn.Revision) error {
	return fmt.Errorf("%w: record after %d.%d", ErrFormat, prev.Main, prev.Sub)
}

// tally is what a section has brought.
type tally struct {
	kept, records, bytes int64
	sum                  uint32   // over revisions, flags and payloads, whatever the frames
	head                 [21]byte // scratch
}

func (t *tally) keep(rev cairn.Revision) {
	t.kept++
	t.add(rev, 0, nil)
}

func (t *tally) record(r *revlog.Record) {
	t.records++
	t.bytes += int64(len(r.KV))
	var flags byte = 2
	if r.Tombstone {
		flags |= flagTombstone
	}
	t.add(r.Rev, flags, r.KV)
}

func (t *tally) add(rev cairn.Revision, flags byte, kv []byte) {
	b := &t.head
	binary.LittleEndian.PutUint64(b[:], uint64(rev.Main))
	binary.LittleEndian.PutUint64(b[8:], uint64(rev.Sub))
	binary.LittleEndian.PutUint32(b[16:], uint32(len(kv)))
	b[20] = flags
	t.sum = crc32.Update(crc32.Update(t.sum, castagnoli, b[:]), castagnoli, kv)
}

func (t *tally) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.kept))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.records))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.bytes))
	return binary.LittleEndian.AppendUint32(dst, t.sum)
}
