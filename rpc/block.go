package rpc

import (
	"golang.org/x/net/http2/hpack"
)

// encoder writes header blocks. It puts two fields into the client's table, those of every
// answer that is well, and nothing else: so their places are known, and an answer's headers are
// two bytes and its trailers one. Guarded by conn.mu, since blocks must be written in their order.
type encoder struct {
	limit   uint32 // of the client's table
	resized bool   // to be told at the beginning of the next block
	typed   bool   // content-type: application/grpc is in the table
	okayed  bool   // grpc-status: 0 is, too
}

const (
	defaultTableBytes = 4096
	// tableBytes is what the two fields take there (RFC 7541, 4.1).
	tableBytes = (12 + 16 + 32) + (11 + 1 + 32)

	contentType = "content-type"
	grpcType    = "application/grpc"
	grpcStatus  = "grpc-status"
	grpcMessage = "grpc-message"
)

// Indices and patterns of RFC 7541.
const (
	indexStatus200   = 0x80 | 8  // ":status: 200" of the static table
	literalType      = 0x40 | 31 // "content-type" there; the value follows; goes into the table
	literalNew       = 0x40      // name and value follow; goes into the table
	literalPassing   = 0x00      // name and value follow; does not
	indexFirst       = 0x80 | 62 // the newest entry of the client's table
	indexSecond      = 0x80 | 63
	staticStatus     = 8 // index of a ":status"
	resize           = 0x20
	resizeBits       = 5
	lengthBits       = 7
	staticStatusName = literalPassing | staticStatus
)

// setLimit takes the client's SETTINGS_HEADER_TABLE_SIZE.
func (e *encoder) setLimit(n uint32) {
	n = min(n, defaultTableBytes)
	if n != e.limit {
		// The table is emptied and begun anew, with its new size.
		e.limit, e.resized, e.typed, e.okayed = n, true, false, false
	}
}

func (e *encoder) begin(b []byte) []byte {
	if e.resized {
		e.resized = false
		b = append(b, resize) // to nothing
		b = appendInteger(b, resize, resizeBits, uint64(e.limit))
	}
	return b
}

// head begins the block of a gRPC answer: the status and the content type.
func (e *encoder) head(b []byte, subtype string) []byte {
	b = append(e.begin(b), indexStatus200)
	switch {
	case subtype != "":
		return appendField(b, contentType, grpcType+"+"+subtype)
	case e.okayed:
		return append(b, indexSecond)
	case e.typed:
		return append(b, indexFirst)
	case e.limit < tableBytes:
		return appendField(b, contentType, grpcType)
	}
	e.typed = true
	return appendString(append(b, literalType), grpcType)
}

// okay is the block of the trailers of a call that went well.
func (e *encoder) okay(b []byte) []byte {
	b = e.begin(b)
	switch {
	case e.okayed:
		return append(b, indexFirst)
	case !e.typed:
		return appendField(b, grpcStatus, "0")
	}
	e.okayed = true
	b = append(b, literalNew)
	return appendString(appendString(b, grpcStatus), "0")
}

// httpHead begins the block of an answer that is no gRPC.
func (e *encoder) httpHead(b []byte, status string) []byte {
	b = append(e.begin(b), staticStatusName)
	return appendString(b, status)
}

// appendField appends a field that leaves no trace in the client's table.
func appendField(b []byte, name, value string) []byte {
	return appendString(appendString(append(b, literalPassing), name), value)
}

// appendString appends a string that is not compressed.
func appendString(b []byte, s string) []byte {
	return append(appendInteger(b, 0, lengthBits, uint64(len(s))), s...)
}

// appendInteger appends an integer whose first byte has pattern above its low bits (RFC 7541, 5.1).
func appendInteger(b []byte, pattern byte, bits uint, n uint64) []byte {
	limit := uint64(1)<<bits - 1
	if n < limit {
		return append(b, pattern|byte(n))
	}
	b = append(b, pattern|byte(limit))
	for n -= limit; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// pureIndexed says whether a block has nothing but references to the table: it means the same
// as long as the table does not change, and does not change it.
func pureIndexed(block []byte) bool {
	for i := 0; i < len(block); i++ {
		if block[i] < 0x80 {
			return false
		}
		if block[i] == 0xff { // the index goes on
			for i++; i < len(block) && block[i] >= 0x80; i++ {
			}
		}
	}
	return len(block) > 0
}

// headCache keeps the heads of the last blocks of references, for clients repeat themselves.
type headCache struct {
	blocks [8]struct {
		block []byte
		head  *head
	}
	next int
}

// find returns what a block meant before, nil if that is not known.
func (c *headCache) find(block []byte) *head {
	for i := range c.blocks {
		if string(c.blocks[i].block) == string(block) {
			return c.blocks[i].head
		}
	}
	return nil
}

func (c *headCache) add(block []byte, h *head) {
	e := &c.blocks[c.next%len(c.blocks)]
	e.block, e.head = append(e.block[:0], block...), h
	c.next++
}

// forget is called when the table changes.
func (c *headCache) forget() {
	if c.next == 0 {
		return
	}
	for i := range c.blocks {
		c.blocks[i].block, c.blocks[i].head = c.blocks[i].block[:0], nil
	}
	c.next = 0
}

// fieldBytes is what a field counts for in a header list (RFC 9113, 6.5.2).
func fieldBytes(f hpack.HeaderField) int { return len(f.Name) + len(f.Value) + 32 }
