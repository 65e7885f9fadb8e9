package mvcc

import (
	"sync"
	"sync/atomic"

	"github.com/cairnkv/cairn/internal/mutate"
)

// pins are the views that hold back the index work of compactions. A view that was made when the
// compact revision was F keeps the index whole from F on.
//
// The compact revision only grows, so the floors are in order and the first one is the least.
type pins struct {
	mu     sync.Mutex // guards floors, and a jump of the revision; held for a few instructions
	floors []floorPin
}

// floorPin counts the views of one floor.
type floorPin struct {
	floor int64
	count int
}

// take pins the present floor and returns it, and the revision that goes with it.
func (p *pins) take(floor, rev *atomic.Int64) (f, r int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f = floor.Load()
	if n := len(p.floors); n > 0 && p.floors[n-1].floor == f {
		p.floors[n-1].count++
	} else {
		p.floors = append(p.floors, floorPin{f, 1})
	}
	return f, rev.Load() // after the floor, which Publish raises last
}

// release ends one pin of a floor.
func (p *pins) release(floor int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.floors {
		if p.floors[i].floor == floor {
			p.floors[i].count--
			break
		}
	}
	free := 0
	for free < len(p.floors) && p.floors[free].count == 0 {
		free++
	}
	p.floors = append(p.floors[:0], p.floors[free:]...)
}

// least is the revision up to which the index may be compacted: the present floor, or that of the
// oldest view. A view that is made later has a floor of at least that.
func (p *pins) least(floor *atomic.Int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.floors) > 0 && !mutate.On(mutate.CompactUnderViews) {
		return p.floors[0].floor
	}
	return floor.Load()
}
