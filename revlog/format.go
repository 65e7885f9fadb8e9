package revlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/cairnkv/cairn"
)

// Sizes of what is on disk, in bytes.
const (
	headerBytes       = 64
	recordHeaderBytes = 24
	tableEntryBytes   = 16
	trailerBytes      = 80
	recordAlign       = 8
)

// Limits.
const (
	// MaxKVBytes bounds the payload of a record. A record that does not fit into a segment of
	// Options.SegmentBytes gets a segment of its own size.
	MaxKVBytes = 256 << 20
	// MaxSegmentBytes bounds a file: positions have room for offsets below it.
	MaxSegmentBytes = 1 << 30
	// MinSegmentBytes is the least Options.SegmentBytes.
	MinSegmentBytes = 4 << 10

	maxSub          = 1<<32 - 1
	maxTableEntries = 1 << 17
)

const (
	formatVersion = 1
	headerMagic   = "CAIRNRVL"
	trailerMagic  = 0x444e4552 // "REND"

	flagTombstone = 1

	segSuffix  = ".seg"
	tempSuffix = ".seg.tmp"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ident is what tells a file from all others of its log: the segments that it covers, and how often
// they were rewritten.
type ident struct {
	lo, hi uint64 // sequence numbers, inclusive, from 1
	gen    uint32
}

func (id ident) name() string {
	return fmt.Sprintf("%08x-%08x.%04x%s", id.lo, id.hi, id.gen, segSuffix)
}

// covers says whether a complete file id makes a file o superfluous.
func (id ident) covers(o ident) bool {
	return id.lo <= o.lo && o.hi <= id.hi && o.gen < id.gen
}

// parseName is the inverse of ident.name.
func parseName(name string) (ident, bool) {
	rest, ok := strings.CutSuffix(name, segSuffix)
	if !ok {
		return ident{}, false
	}
	interval, gen, ok := strings.Cut(rest, ".")
	if !ok {
		return ident{}, false
	}
	lo, hi, ok := strings.Cut(interval, "-")
	if !ok {
		return ident{}, false
	}
	var id ident
	var errs [3]error
	id.lo, errs[0] = strconv.ParseUint(lo, 16, 64)
	id.hi, errs[1] = strconv.ParseUint(hi, 16, 64)
	g, err := strconv.ParseUint(gen, 16, 32)
	errs[2] = err
	id.gen = uint32(g)
	if errs != [3]error{} || id.lo == 0 || id.hi < id.lo || id.name() != name {
		return ident{}, false
	}
	return id, true
}

// header is the first block of a file.
type header struct {
	id    ident
	logID uint64
}

// encode returns the block and the seed of the file's checksums: the header's own checksum.
func (h header) encode() (b [headerBytes]byte, seed uint32) {
	copy(b[:], headerMagic)
	binary.LittleEndian.PutUint16(b[8:], formatVersion)
	binary.LittleEndian.PutUint16(b[10:], headerBytes)
	binary.LittleEndian.PutUint32(b[12:], h.id.gen)
	binary.LittleEndian.PutUint64(b[16:], h.logID)
	binary.LittleEndian.PutUint64(b[24:], h.id.lo)
	binary.LittleEndian.PutUint64(b[32:], h.id.hi)
	seed = crc32.Checksum(b[:headerBytes-4], castagnoli)
	binary.LittleEndian.PutUint32(b[headerBytes-4:], seed)
	return b, seed
}

// decodeHeader reads a header of any log and identity. Damage is a reason, not an error, so that
// the caller can name the file.
func decodeHeader(b []byte) (h header, seed uint32, reason string, err error) {
	if len(b) < headerBytes {
		return h, 0, "shorter than a header", nil
	}
	if string(b[:8]) != headerMagic {
		return h, 0, "no header", nil
	}
	seed = crc32.Checksum(b[:headerBytes-4], castagnoli)
	if seed != binary.LittleEndian.Uint32(b[headerBytes-4:]) {
		return h, 0, "header checksum", nil // of all versions: its place stays
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v > formatVersion {
		return h, 0, "", fmt.Errorf("%w (format %d, this release reads up to %d)",
			ErrVersion, v, formatVersion)
	}
	h.id.gen = binary.LittleEndian.Uint32(b[12:])
	h.logID = binary.LittleEndian.Uint64(b[16:])
	h.id.lo = binary.LittleEndian.Uint64(b[24:])
	h.id.hi = binary.LittleEndian.Uint64(b[32:])
	return h, seed, "", nil
}

// recordSize is what a payload of n bytes takes on disk.
func recordSize(n int) int64 {
	return (recordHeaderBytes + int64(n) + recordAlign - 1) &^ (recordAlign - 1)
}

// appendRecord appends the record that is to stand at offset off of the file with that seed.
func appendRecord(dst []byte, seed uint32, off int64,
	rev cairn.Revision, tombstone bool, kv []byte) []byte {
	start := len(dst)
	var flags uint32
	if tombstone {
		flags = flagTombstone
	}
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(kv)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(rev.Main))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(rev.Sub))
	dst = binary.LittleEndian.AppendUint32(dst, flags)
	dst = append(dst, kv...)
	for len(dst)%recordAlign != start%recordAlign {
		dst = append(dst, 0)
	}
	crc := recordCRC(seed, off, dst[start:])
	binary.LittleEndian.PutUint32(dst[start:], crc)
	return dst
}

// recordCRC is the checksum of a whole record but its first four bytes. File and offset are in it,
// so that neither stale nor misplaced bytes pass.
func recordCRC(seed uint32, off int64, b []byte) uint32 {
	return crc32.Update(seed^uint32(off), castagnoli, b[4:])
}

// recordHeader is a record's fixed part.
type recordHeader struct {
	kvBytes int
	rev     cairn.Revision
	flags   uint32
}

func (h recordHeader) size() int64     { return recordSize(h.kvBytes) }
func (h recordHeader) tombstone() bool { return h.flags&flagTombstone != 0 }

// decodeRecordHeader reads the fixed part at b's start and checks that the record ends in b.
func decodeRecordHeader(b []byte) (h recordHeader, reason string) {
	if len(b) < recordHeaderBytes {
		return h, "record header beyond the end"
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > MaxKVBytes || recordSize(int(n)) > int64(len(b)) {
		return h, "record length beyond the end"
	}
	h.kvBytes = int(n)
	h.rev.Main = int64(binary.LittleEndian.Uint64(b[8:]))
	h.rev.Sub = int64(binary.LittleEndian.Uint32(b[16:]))
	h.flags = binary.LittleEndian.Uint32(b[20:])
	return h, ""
}

// decodeRecord reads and checks the record at offset off, which b starts with.
func decodeRecord(b []byte, seed uint32, off int64) (r Record, size int64, reason string) {
	h, reason := decodeRecordHeader(b)
	if reason != "" {
		return r, 0, reason
	}
	size = h.size()
	if recordCRC(seed, off, b[:size]) != binary.LittleEndian.Uint32(b) {
		return r, 0, "record checksum"
	}
	if h.rev.Main <= 0 || h.flags&^flagTombstone != 0 {
		return r, 0, "record of an unknown kind"
	}
	end := recordHeaderBytes + h.kvBytes
	r = Record{Rev: h.rev, Tombstone: h.tombstone(), KV: b[recordHeaderBytes:end:end]}
	return r, size, ""
}
