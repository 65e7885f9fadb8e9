package revlog

import (
	"sync/atomic"
	"unsafe"
)

// pinShards spreads the counters, so that readers on different cores seldom share a cache line.
const (
	pinShardBits = 6
	pinShards    = 1 << pinShardBits
)

// Pin keeps all that is mapped now mapped until Release. A Pin must be released exactly once; it
// may be released on another goroutine. The zero Pin is not one.
type Pin struct{ n *atomic.Int64 }

// Release ends the pin.
func (p Pin) Release() { p.n.Add(-1) }

// pins counts the pins that are held, by epoch. A file that is retired in epoch e may go once the
// epoch is e+2: the epoch moves from e+1 to e+2 only when no pin of epoch e is left, and a pin of
// epoch e+1 was taken after the file had been taken out of everything that leads to it.
// Two counters suffice, since pins of at most two epochs are held at once.
//
// Fraser, Practical lock-freedom, 2004, section 5.2.3, with counters in place of thread records.
type pins struct {
	epoch  atomic.Uint64
	shards [pinShards]pinShard
}

type pinShard struct {
	held [2]atomic.Int64 // by parity of the epoch
	_    [112]byte       // the rest of two cache lines: adjacent ones are fetched together
}

func (p *pins) pin() Pin {
	for {
		e := p.epoch.Load()
		n := &p.shards[shard()].held[e&1]
		n.Add(1)
		if p.epoch.Load() == e {
			return Pin{n}
		}
		n.Add(-1) // the epoch moved between the two loads: this count may not have been seen
	}
}

// shard is any number; goroutines that run at once mostly get different ones. It comes from
// where the stack is, since Go names neither the goroutine nor the core.
func shard() int {
	const golden, stackBits = 0x9e3779b97f4a7c15, 11
	var here byte
	h := uint64(uintptr(unsafe.Pointer(&here))) >> stackBits
	return int(h * golden >> (64 - pinShardBits))
}

// advance moves the epoch on if no pin of the one before is left. One goroutine at a time.
func (p *pins) advance() bool {
	e := p.epoch.Load()
	for i := range p.shards {
		if p.shards[i].held[(e+1)&1].Load() != 0 {
			return false
		}
	}
	p.epoch.Store(e + 1)
	return true
}

// free says whether no pin is held at all.
func (p *pins) free() bool {
	for i := range p.shards {
		if p.shards[i].held[0].Load() != 0 || p.shards[i].held[1].Load() != 0 {
			return false
		}
	}
	return true
}
