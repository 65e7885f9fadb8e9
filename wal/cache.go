package wal

import (
	"encoding/binary"
	"math/bits"

	"go.etcd.io/raft/v3/raftpb"
)

// cache holds the newest entries, without a gap up to the last. What was not flushed is always in
// it, for it is nowhere else.
type cache struct {
	slots []*raftpb.Entry // the entries are slots[head:]; before that all are nil
	head  int
	first uint64 // index of the first entry
	bytes int64  // as raft counts
	limit int64
}

func (c *cache) len() uint64 { return uint64(len(c.slots) - c.head) }

// from returns the entries from index, which is at least first, to before end.
func (c *cache) from(index, end uint64) []*raftpb.Entry {
	return c.slots[c.head+int(index-c.first) : c.head+int(end-c.first)]
}

// restart empties the cache; the next entry has index first.
func (c *cache) restart(first uint64) {
	clear(c.slots)
	c.slots, c.head, c.first, c.bytes = c.slots[:0], 0, first, 0
}

// cut drops the entries from index on.
func (c *cache) cut(index uint64) {
	if index <= c.first {
		c.restart(index)
		return
	}
	gone := c.from(index, c.first+c.len())
	for _, e := range gone {
		c.bytes -= int64(entryBytes(e))
	}
	clear(gone)
	c.slots = c.slots[:len(c.slots)-len(gone)]
}

// push adds the entry after the last. Room left by dropped ones is used again when they are half.
func (c *cache) push(e *raftpb.Entry) {
	if len(c.slots) == cap(c.slots) && c.head > 0 && c.head >= len(c.slots)/2 {
		n := copy(c.slots, c.slots[c.head:])
		clear(c.slots[n:])
		c.slots, c.head = c.slots[:n], 0
	}
	c.slots = append(c.slots, e)
	c.bytes += int64(entryBytes(e))
}

// drop lets go of the entries before index.
func (c *cache) drop(index uint64) {
	if index <= c.first {
		return
	}
	gone := c.from(c.first, min(index, c.first+c.len()))
	for _, e := range gone {
		c.bytes -= int64(entryBytes(e))
	}
	clear(gone)
	c.head += len(gone)
	c.first = index
}

// evict keeps the limit, but all entries after flushed.
func (c *cache) evict(flushed uint64) {
	for c.bytes > c.limit && c.len() > 0 && c.first <= flushed {
		c.drop(c.first + 1)
	}
}

// entryBytes is the size of an entry's protobuf encoding, by which raft limits batches.
func entryBytes(e *raftpb.Entry) int {
	n := 0
	if e.Type != nil {
		n += 1 + varintBytes(uint64(*e.Type))
	}
	if e.Term != nil {
		n += 1 + varintBytes(*e.Term)
	}
	if e.Index != nil {
		n += 1 + varintBytes(*e.Index)
	}
	if e.Data != nil {
		n += 1 + varintBytes(uint64(len(e.Data))) + len(e.Data)
	}
	return n
}

func varintBytes(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// putPair writes the index and term that entries and resets begin with.
func putPair(b []byte, index, term uint64) {
	binary.LittleEndian.PutUint64(b, index)
	binary.LittleEndian.PutUint64(b[8:], term)
}

func getPair(b []byte) (index, term uint64) {
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
}
