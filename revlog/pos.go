package revlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Pos tells where a record is. It lives in memory only and means nothing after a restart. Zero
// is no position. It is opaque: nothing but equality may be read from it.
//
//	63        48 47      41 40                14   13    12           0
//	+-----------+----------+--------------------+------+---------------+
//	| file slot | slot use |  offset / 8        | tomb | size / 8      |
//	+-----------+----------+--------------------+------+---------------+
//
// Kind and size are in it so that [Log.Dead] touches no file: the records that die at a compaction
// are the ones that nobody read for long. A slot is used again only after the file in it was
// unmapped; the use count tells a position that was kept for too long.
type Pos uint64

const (
	slotBits   = 16
	useBits    = 7
	offsetBits = 27
	sizeBits   = 13

	sizeMantissaBits = 8

	tombShift   = sizeBits
	offsetShift = tombShift + 1
	useShift    = offsetShift + offsetBits
	slotShift   = useShift + useBits

	maxFiles = 1<<slotBits - 1
	useMask  = 1<<useBits - 1
)

func makePos(f *file, off, size int64, tombstone bool) Pos {
	p := Pos(f.slot)<<slotShift | Pos(f.use)<<useShift |
		Pos(off/recordAlign)<<offsetShift | Pos(sizeClass(size))
	if tombstone {
		p |= 1 << tombShift
	}
	return p
}

func (p Pos) slot() int       { return int(p >> slotShift) }
func (p Pos) use() uint8      { return uint8(p >> useShift & useMask) }
func (p Pos) offset() int64   { return int64(p>>offsetShift&(1<<offsetBits-1)) * recordAlign }
func (p Pos) tombstone() bool { return p>>tombShift&1 == 1 }
func (p Pos) class() uint16   { return uint16(p & (1<<sizeBits - 1)) }

// size is the record's size on disk: exact below 4 KiB, then within 1/512.
func (p Pos) size() int64 { return classSize(p.class()) }

// sizeClass is a float of the size in units of 8 bytes: five bits of exponent, eight of mantissa.
func sizeClass(size int64) uint16 {
	u := uint64(size / recordAlign)
	if u < 1<<sizeMantissaBits {
		return uint16(u)
	}
	shift := bits.Len64(u) - sizeMantissaBits - 1
	return uint16(shift+1)<<sizeMantissaBits | uint16(u>>shift-1<<sizeMantissaBits)
}

// classSize is the middle of the sizes that share a class.
func classSize(c uint16) int64 {
	mantissa := int64(c & (1<<sizeMantissaBits - 1))
	if c>>sizeMantissaBits == 0 {
		return mantissa * recordAlign
	}
	shift := c>>sizeMantissaBits - 1
	u := (mantissa+1<<sizeMantissaBits)<<shift + (1<<shift-1)/2
	return u * recordAlign
}

// Mark is a position at which the log may be cut, to be kept in a checkpoint: everything before it
// is durable once a Sync that was called after Mark returned. The zero Mark is the empty log.
type Mark struct {
	// Segment is the sequence number of a segment, from 1.
	Segment uint64
	// Offset is the end of the records in it, bytes from the start of its file.
	Offset int64
}

// MarkBytes is the size of an encoded Mark.
const MarkBytes = 16

// IsZero says whether m is the mark of the empty log.
func (m Mark) IsZero() bool { return m == Mark{} }

func (m Mark) String() string { return fmt.Sprintf("%08x:%d", m.Segment, m.Offset) }

// AppendTo appends the mark's MarkBytes bytes. They carry no checksum; the checkpoint around
// them has one.
func (m Mark) AppendTo(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, m.Segment)
	return binary.LittleEndian.AppendUint64(dst, uint64(m.Offset))
}

// DecodeMark reads what AppendTo wrote, exactly MarkBytes bytes.
func DecodeMark(b []byte) (Mark, error) {
	if len(b) != MarkBytes {
		return Mark{}, fmt.Errorf("revlog: a mark of %d bytes, want %d", len(b), MarkBytes)
	}
	m := Mark{
		Segment: binary.LittleEndian.Uint64(b),
		Offset:  int64(binary.LittleEndian.Uint64(b[8:])),
	}
	return m, m.valid()
}

// valid checks what can be checked without the log.
func (m Mark) valid() error {
	if m.IsZero() {
		return nil
	}
	if m.Segment == 0 || m.Offset < headerBytes || m.Offset > MaxSegmentBytes ||
		m.Offset%recordAlign != 0 {
		return errors.New("revlog: mark " + m.String() + " cannot be a log's position")
	}
	return nil
}
