package index

// poolChunkBits gives the elements of a pool's chunk, 128: an empty index is small.
const poolChunkBits = 7

const (
	poolChunkLen  = 1 << poolChunkBits
	poolChunkMask = poolChunkLen - 1
)

// pool is a growing array of T that never moves an element. Ids start at 1, and those that were
// freed are given out again. It is for what is large and few, a slab for what is small and many.
type pool[T any] struct {
	chunks []*[poolChunkLen]T
	next   uint32   // every id below was given out; 0: none was
	free   []uint32 // given back
}

// at returns the element of an id that take has returned.
func (p *pool[T]) at(id uint32) *T {
	return &p.chunks[id>>poolChunkBits][id&poolChunkMask]
}

// take returns the id of a zero element.
func (p *pool[T]) take() uint32 {
	if n := len(p.free); n > 0 {
		id := p.free[n-1]
		p.free = p.free[:n-1]
		return id
	}
	p.next = max(p.next, 1)
	if int(p.next>>poolChunkBits) == len(p.chunks) {
		p.chunks = append(p.chunks, new([poolChunkLen]T))
	}
	p.next++
	return p.next - 1
}

// give gives an element back.
func (p *pool[T]) give(id uint32) {
	var zero T
	*p.at(id) = zero
	p.free = append(p.free, id)
}
