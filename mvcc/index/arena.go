package index

import "encoding/binary"

// maxSlabKey is the longest key, in bytes, that lives in the arena's slots; longer ones are
// allocations of their own (a handful of objects for the garbage collector in any sane store).
const maxSlabKey = 1024

// arenaClasses is the number of size classes: steps of 4 bytes up to 64, then eight steps for each
// doubling, so that at most an eighth of a slot is lost.
const arenaClasses = 16 + 8*4

// arena holds key bytes. A key is addressed by its length and a 32-bit slot: the length names the
// size class. Slots of removed keys are used again by keys of the same class; memory does not go
// back.
type arena struct {
	classes [arenaClasses]arenaClass
	big     [][]byte // keys over maxSlabKey, by slot
	bigFree []uint32 // slots of big that are free
	bytes   int      // allocated in all
}

// arenaClass is the slots of one size.
type arenaClass struct {
	chunks [][]byte
	next   uint32 // slots given out so far
	free   uint32 // 1 + first free slot; a free slot's first four bytes hold the next such number
}

// classOf returns the size class of a key of n <= maxSlabKey bytes, its slot size and the log2 of
// the slots in a chunk. Chunks come out as multiples of the runtime's size classes for the usual
// keys.
func classOf(n int) (class, slotBytes int, chunkBits uint) {
	switch {
	case n <= 4:
		return 0, 4, 11
	case n <= 64:
		class = (n - 1) / 4
		return class, (class + 1) * 4, 11
	case n <= 128:
		i := (n - 65) / 8
		return 16 + i, 64 + (i+1)*8, 8
	case n <= 256:
		i := (n - 129) / 16
		return 24 + i, 128 + (i+1)*16, 8
	case n <= 512:
		i := (n - 257) / 32
		return 32 + i, 256 + (i+1)*32, 6
	default:
		i := (n - 513) / 64
		return 40 + i, 512 + (i+1)*64, 6
	}
}

// get returns the n bytes in a slot.
func (a *arena) get(slot uint32, n int) []byte {
	if n > maxSlabKey {
		return a.big[slot]
	}
	class, size, bits := classOf(n)
	off := int(slot&(1<<bits-1)) * size
	return a.classes[class].chunks[slot>>bits][off : off+n : off+n]
}

// put copies a key into a slot. ok is false if the 2^32 slots of its class are used up.
func (a *arena) put(key []byte) (slot uint32, ok bool) {
	if len(key) > maxSlabKey {
		return a.putBig(key)
	}
	class, size, bits := classOf(len(key))
	c := &a.classes[class]
	if c.free != 0 {
		slot = c.free - 1
		off := int(slot&(1<<bits-1)) * size
		b := c.chunks[slot>>bits][off : off+size]
		c.free = binary.LittleEndian.Uint32(b)
		copy(b, key)
		return slot, true
	}
	if c.next == 1<<32-1 {
		return 0, false
	}
	slot = c.next
	if int(slot>>bits) >= len(c.chunks) {
		c.chunks = append(c.chunks, make([]byte, size<<bits))
		a.bytes += size << bits
	}
	c.next++
	off := int(slot&(1<<bits-1)) * size
	copy(c.chunks[slot>>bits][off:off+size], key)
	return slot, true
}

func (a *arena) putBig(key []byte) (slot uint32, ok bool) {
	b := append(make([]byte, 0, len(key)), key...)
	a.bytes += len(key)
	if n := len(a.bigFree); n > 0 {
		slot = a.bigFree[n-1]
		a.bigFree = a.bigFree[:n-1]
		a.big[slot] = b
		return slot, true
	}
	if len(a.big) == 1<<32-1 {
		return 0, false
	}
	a.big = append(a.big, b)
	return uint32(len(a.big) - 1), true
}

// remove frees the slot of a key of n bytes.
func (a *arena) remove(slot uint32, n int) {
	if n > maxSlabKey {
		a.bytes -= n
		a.big[slot] = nil
		a.bigFree = append(a.bigFree, slot)
		return
	}
	class, size, bits := classOf(n)
	c := &a.classes[class]
	off := int(slot&(1<<bits-1)) * size
	binary.LittleEndian.PutUint32(c.chunks[slot>>bits][off:off+size], c.free)
	c.free = slot + 1
}
