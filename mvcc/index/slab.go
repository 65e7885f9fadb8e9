package index

// slabChunkBits gives the elements of a slab's chunk, 4096: large enough that the list of chunks
// is short, small enough that an almost empty index is small.
const slabChunkBits = 12

const (
	slabChunkLen  = 1 << slabChunkBits
	slabChunkMask = slabChunkLen - 1
)

// slab is a growing array of T that never moves an element and never copies one to grow. Ids
// start at 1. The owner threads freed elements into a list of its own.
type slab[T any] struct {
	chunks []*[slabChunkLen]T
	next   uint32 // the id that grow returns; every id below was given out. 0: all 2^32-1 are
}

// at returns the element of an id that grow has returned.
func (s *slab[T]) at(id uint32) *T {
	return &s.chunks[id>>slabChunkBits][id&slabChunkMask]
}

// grow returns a new id with a zero element, or 0 if the id space is used up.
func (s *slab[T]) grow() uint32 {
	if s.next == 0 {
		if len(s.chunks) != 0 {
			return 0
		}
		s.next = 1
	}
	if int(s.next>>slabChunkBits) >= len(s.chunks) {
		s.chunks = append(s.chunks, new([slabChunkLen]T))
	}
	id := s.next
	s.next++
	return id
}
