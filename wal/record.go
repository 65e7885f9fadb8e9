package wal

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	recordHeadBytes = 24
	recordAlign     = 8

	// maxPayloadBytes bounds one record, and with it one raft entry.
	maxPayloadBytes = 256 << 20
)

// Types of records. They are on disk: never renumber.
const (
	typeSegment = 1
	typeEntry   = 2
	typeState   = 3
	typeReset   = 4
	typeMark    = 5

	typeLast = typeMark
)

// Bytes of payload before what varies.
const (
	segmentFixedBytes = 80
	entryFixedBytes   = 16
	stateBytes        = 24
	resetBytes        = 16
)

const (
	magic   = 0x6c61776e72696163 // "cairnwal"
	version = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is the fixed part of a record.
type head struct {
	crc    uint32
	prev   uint32
	length uint32
	synced uint32
	typ    uint8
	sub    uint8
}

// recordBytes is the size on disk of a record with n bytes of payload.
func recordBytes(n int) int {
	return (recordHeadBytes + n + recordAlign - 1) &^ (recordAlign - 1)
}

// bytes is the record's size on disk.
func (h head) bytes() int64 { return int64(recordBytes(int(h.length))) }

// seed makes the check of a record differ from that of the same bytes in another segment, or
// elsewhere in this one: multiplication by an odd number loses nothing modulo 2^32.
func seed(number uint64, off int64) uint32 {
	return uint32(number)*0x9e3779b1 ^ uint32(off)*0x85ebca6b
}

// decodeHead reads and checks the fixed part of a record at off. That says that the length may be
// believed, not that the payload is whole.
func decodeHead(b []byte, number uint64, off int64) (head, bool) {
	if len(b) < recordHeadBytes {
		return head{}, false
	}
	typ := b[16]
	if typ == 0 || typ > typeLast || b[18] != 0 || b[19] != 0 {
		return head{}, false
	}
	h := head{
		crc:    binary.LittleEndian.Uint32(b),
		prev:   binary.LittleEndian.Uint32(b[4:]),
		length: binary.LittleEndian.Uint32(b[8:]),
		synced: binary.LittleEndian.Uint32(b[12:]),
		typ:    typ,
		sub:    b[17],
	}
	if h.length > maxPayloadBytes {
		return head{}, false
	}
	sum := crc32.Update(seed(number, off), castagnoli, b[4:20])
	return h, sum == binary.LittleEndian.Uint32(b[20:])
}

// checkBody says whether the payload and pad of the record in b, whose head was checked, are whole.
// b is the whole record.
func checkBody(b []byte, h head) bool {
	sum := binary.LittleEndian.Uint32(b[20:])
	return crc32.Update(sum, castagnoli, b[recordHeadBytes:]) == h.crc
}

// appendRecord adds a record to buf with room for n bytes of payload, all fields but the checks,
// and returns buf and the payload to be filled.
func appendRecord(buf []byte, typ, sub uint8, n int) (grown, payload []byte) {
	at := len(buf)
	size := recordBytes(n)
	buf = grow(buf, size)
	b := buf[at : at+size]
	clear(b[:recordHeadBytes])
	clear(b[recordHeadBytes+n:])
	binary.LittleEndian.PutUint32(b[8:], uint32(n))
	b[16], b[17] = typ, sub
	return buf, b[recordHeadBytes : recordHeadBytes+n]
}

// grow extends b by n bytes of any content.
func grow(b []byte, n int) []byte {
	if len(b)+n <= cap(b) {
		return b[:len(b)+n]
	}
	bigger := make([]byte, len(b)+n, max(2*cap(b), len(b)+n))
	copy(bigger, b)
	return bigger
}

// seal fills in the checks of all records of buf, which will be written at off of the segment, and
// returns the crc of the last.
func seal(buf []byte, number uint64, off int64, prev, synced uint32) uint32 {
	for len(buf) > 0 {
		size := recordBytes(int(binary.LittleEndian.Uint32(buf[8:])))
		b := buf[:size]
		binary.LittleEndian.PutUint32(b[4:], prev)
		binary.LittleEndian.PutUint32(b[12:], synced)
		sum := crc32.Update(seed(number, off), castagnoli, b[4:20])
		binary.LittleEndian.PutUint32(b[20:], sum)
		prev = crc32.Update(sum, castagnoli, b[recordHeadBytes:])
		binary.LittleEndian.PutUint32(b, prev)
		buf = buf[size:]
		off += int64(size)
	}
	return prev
}

// segmentHead is the payload of a segment record.
type segmentHead struct {
	number   uint64
	base     uint64 // index of the last entry before this segment
	baseTerm uint64
	prevEnd  int64  // where the segment before ends; 0 if there is none
	prevCRC  uint32 // the crc of its last record
	state    hardState
	metadata []byte
}

func (s *segmentHead) encode(b []byte) {
	binary.LittleEndian.PutUint64(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], 0)
	binary.LittleEndian.PutUint64(b[16:], s.number)
	binary.LittleEndian.PutUint64(b[24:], s.base)
	binary.LittleEndian.PutUint64(b[32:], s.baseTerm)
	binary.LittleEndian.PutUint64(b[40:], uint64(s.prevEnd))
	binary.LittleEndian.PutUint32(b[48:], s.prevCRC)
	binary.LittleEndian.PutUint32(b[52:], uint32(len(s.metadata)))
	s.state.encode(b[56:])
	copy(b[segmentFixedBytes:], s.metadata)
}

// decodeSegment returns the reason if b, which passed its check, is not a segment head of
// this version. The metadata is copied.
func decodeSegment(b []byte, number uint64) (s segmentHead, reason string) {
	switch {
	case len(b) < segmentFixedBytes || binary.LittleEndian.Uint64(b) != magic:
		return s, "the first record is not the header of a segment"
	case binary.LittleEndian.Uint32(b[8:]) != version || binary.LittleEndian.Uint32(b[12:]) != 0:
		return s, reasonVersion
	case binary.LittleEndian.Uint64(b[16:]) != number:
		return s, "the header names another segment"
	case int(binary.LittleEndian.Uint32(b[52:])) != len(b)-segmentFixedBytes:
		return s, "the header has a wrong length"
	}
	s = segmentHead{
		number:   number,
		base:     binary.LittleEndian.Uint64(b[24:]),
		baseTerm: binary.LittleEndian.Uint64(b[32:]),
		prevEnd:  int64(binary.LittleEndian.Uint64(b[40:])),
		prevCRC:  binary.LittleEndian.Uint32(b[48:]),
		state:    decodeState(b[56:]),
		metadata: append([]byte{}, b[segmentFixedBytes:]...),
	}
	return s, ""
}

const reasonVersion = "written by another version of the program; start that one"

// hardState is raft's, without pointers. All zero means that there is none.
type hardState struct{ term, vote, commit uint64 }

func (h hardState) encode(b []byte) {
	binary.LittleEndian.PutUint64(b, h.term)
	binary.LittleEndian.PutUint64(b[8:], h.vote)
	binary.LittleEndian.PutUint64(b[16:], h.commit)
}

func decodeState(b []byte) hardState {
	return hardState{
		term:   binary.LittleEndian.Uint64(b),
		vote:   binary.LittleEndian.Uint64(b[8:]),
		commit: binary.LittleEndian.Uint64(b[16:]),
	}
}
