package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The collector's pace. What grows with the data has no pointers in it, so that a collection is
// cheap and the memory between two collections dear: a large heap may grow by a quarter, a small
// one by gcHeadroom.
const (
	gcInterval    = 5 * time.Second
	gcHeadroom    = 16 << 20
	gcLeast       = 25  // percent
	gcMost        = 400 // percent
	gcGoDefault   = 100 // percent: the user has not asked for anything else
	gcWhileOpened = 50  // percent, while the index is built
)

// paceCollector sets the pace for the start, and from then on as the heap grows, until ctx ends;
// unless the user has set one (GOGC).
func paceCollector(ctx context.Context) {
	if old := debug.SetGCPercent(gcWhileOpened); old != gcGoDefault {
		debug.SetGCPercent(old)
		return
	}
	go func() {
		ticker := time.NewTicker(gcInterval)
		defer ticker.Stop()
		for last := gcWhileOpened; ; {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			if p := gcPercent(liveHeap()); p != last {
				last = p
				debug.SetGCPercent(p)
			}
		}
	}()
}

// gcPercent is the growth in percent that a heap of so many live bytes may have.
func gcPercent(live uint64) int {
	if live == 0 {
		return gcMost
	}
	p := int(min(100*gcHeadroom/live, gcMost))
	return max(p/gcLeast*gcLeast, gcLeast) // in steps, so that it seldom changes
}

// liveHeap is what the last collection has found alive.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
