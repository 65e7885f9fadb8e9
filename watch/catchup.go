package watch

import (
	"context"
	"fmt"
	"slices"

	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/mvcc"
)

// catchup is what Step knows of the watchers that are behind.
type catchup struct {
	index  index      // all that Step has met and not let go, parked ones too
	active []*watcher // those that can go on
	fan    fanout
	wakes  []*Stream
	turn   int // of Step; its parity chooses the leader's kind
	cursor int // of the last leader in turn

	maxEvents, maxBytes int // of one chunk
}

// Work has a token when there is something for Step to do.
func (h *Hub) Work() <-chan struct{} { return h.work }

func (h *Hub) signalWork() {
	select {
	case h.work <- struct{}{}:
	default:
	}
}

// admit hands a watcher that is behind to Step. The caller holds h.mu.
func (h *Hub) admit(w *watcher) {
	h.arrived = append(h.arrived, w)
	h.signalWork()
}

// readmit hands back watchers that have room again.
func (h *Hub) readmit(ws []*watcher) {
	if len(ws) == 0 {
		return
	}
	h.mu.Lock()
	h.arrived = append(h.arrived, ws...)
	h.mu.Unlock()
	h.signalWork()
}

// forget makes Step drop a watcher that was behind. The caller holds h.mu.
func (h *Hub) forget(w *watcher) {
	h.left = append(h.left, w)
	h.signalWork()
}

// Step reads one chunk of history for watchers that are behind, queues it, and lets those that have
// all become synced. more says that it should be called again now; else Work tells when. It takes
// the locks that Publish takes for short moments only. One goroutine calls it in a loop.
func (h *Hub) Step() (more bool) {
	h.stepMu.Lock()
	defer h.stepMu.Unlock()
	c := &h.catch
	to := h.gather()
	h.expire(h.source.CompactRev())
	if len(c.active) > 0 {
		if from := c.leader().next; from <= to {
			h.chunk(from, to)
		}
		h.promote()
	}
	for _, s := range c.wakes {
		s.wake()
	}
	clear(c.wakes)
	c.wakes = c.wakes[:0]
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(c.active) > 0 || len(h.arrived) > 0 || len(h.left) > 0
}

// gather takes in what has happened since the last Step and returns the hub's revision.
func (h *Hub) gather() (rev int64) {
	c := &h.catch
	h.mu.Lock()
	// A watcher may have been canceled while Take handed it over.
	arrived := slices.DeleteFunc(h.arrived, func(w *watcher) bool { return w.state != behind })
	left := h.left
	h.arrived, h.left = nil, nil
	rev = h.rev
	h.mu.Unlock()
	for _, w := range arrived {
		if !w.indexed {
			w.indexed = true
			c.index.add(w)
		}
		if !w.active {
			w.active = true
			c.active = append(c.active, w)
		}
	}
	dropped := false
	for _, w := range left {
		if w.indexed {
			c.remove(w)
			dropped = true
		}
	}
	if dropped {
		c.sweep()
	}
	return rev
}

// remove lets go of a watcher; sweep has to follow.
func (c *catchup) remove(w *watcher) {
	c.index.remove(w)
	w.indexed, w.active = false, false
}

// sweep drops from active what is not.
func (c *catchup) sweep() {
	c.active = slices.DeleteFunc(c.active, func(w *watcher) bool { return !w.active })
}

// leader chooses the watcher that a chunk is read for. It alternates between the one furthest
// behind, so that watchers meet and share their chunks, and each in turn, so that nobody waits
// for long.
func (c *catchup) leader() *watcher {
	c.turn++
	if c.turn%2 == 0 {
		c.cursor = (c.cursor + 1) % len(c.active)
		return c.active[c.cursor]
	}
	least := c.active[0]
	for _, w := range c.active {
		if w.next < least.next {
			least = w
		}
	}
	return least
}

// expire cancels the watchers that the compaction at rev has overtaken.
func (h *Hub) expire(rev int64) {
	h.endIf(func(w *watcher) *body {
		if w.next >= rev {
			return nil
		}
		// etcd leaves the header's revision out of this one.
		return canceled(0, w.id, rev, "")
	})
}

// endIf ends the active watchers for which last gives a response, which is the last they get.
func (h *Hub) endIf(last func(w *watcher) *body) {
	c := &h.catch
	swept := false
	for _, w := range c.active {
		b := last(w)
		if b == nil {
			continue
		}
		swept = true
		c.remove(w)
		h.mu.Lock()
		if w.state == behind {
			w.state = ended
			h.stats.slow.Add(-1)
			if w.stream.post(b) {
				c.wakes = append(c.wakes, w.stream)
			}
		}
		h.mu.Unlock()
	}
	if swept {
		c.sweep()
	}
}

// chunk reads a piece of the history from revision from on, up to to at most, and queues it for
// the active watchers that are in it.
func (h *Hub) chunk(from, to int64) {
	c := &h.catch
	c.join(from, to)
	next, err := h.source.Changes(context.Background(), from, to, c.maxEvents, c.maxBytes,
		func(ev *mvcc.Event) error {
			if mutate.On(mutate.DropCatchUpEvent) && ev.Rev.Main%32 == 0 {
				return nil
			}
			c.fan.event(h.source, ev, to)
			return nil
		})
	if err == nil && (next <= from || next > to+1) {
		err = fmt.Errorf("watch: history from %d to %d ended at %d", from, to, next)
	}
	switch compacted := h.source.CompactRev(); {
	case compacted > from:
		// What was read from before that revision may lack events.
		h.expire(compacted)
		if err != nil {
			break // the watchers that are left try again
		}
		fallthrough
	case err == nil:
		h.hand(from, next)
	default:
		h.failed(err, from)
	}
	c.fan.end()
}

// join marks the groups with active watchers in [from, to].
func (c *catchup) join(from, to int64) {
	c.fan.epoch++
	for _, w := range c.active {
		if w.next < from || w.next > to {
			continue
		}
		if g := w.group; g.epoch != c.fan.epoch {
			g.epoch, g.from = c.fan.epoch, w.next
		} else {
			g.from = min(g.from, w.next)
		}
	}
}

// hand queues the bodies of a chunk [from, next), and moves its watchers on.
func (h *Hub) hand(from, next int64) {
	c := &h.catch
	pending := 0
	for _, g := range c.fan.touched {
		if g.err != nil {
			h.failedGroup(g, from, next)
			continue
		}
		for i := range g.members {
			w := g.members[i].w
			if !w.active || w.next < from || w.next >= next {
				continue
			}
			refused, n, wake := w.stream.offer(w, g.bodies, w.next, true)
			pending += n
			if wake {
				c.wakes = append(c.wakes, w.stream)
			}
			if refused != 0 {
				w.next, w.active = refused, false
			}
		}
	}
	h.stats.pending.Add(int64(pending))
	for _, w := range c.active {
		if w.active && w.next >= from && w.next < next {
			w.next = next
		}
	}
	c.sweep()
}

// failed ends the watchers for which the history could not be read.
func (h *Hub) failed(err error, from int64) {
	h.opts.Failed(err)
	rev := h.source.Rev()
	h.endIf(func(w *watcher) *body {
		if w.next != from {
			return nil
		}
		return canceled(rev, w.id, 0, reasonOf(err))
	})
}

// failedGroup ends the watchers of a group for which previous values could not be read.
func (h *Hub) failedGroup(g *group, from, next int64) {
	err := g.err
	h.opts.Failed(err)
	rev := h.source.Rev()
	h.endIf(func(w *watcher) *body {
		if w.group != g || w.next < from || w.next >= next {
			return nil
		}
		return canceled(rev, w.id, 0, reasonOf(err))
	})
}

// promote makes the active watchers with nothing left to read synced.
func (h *Hub) promote() {
	c := &h.catch
	moved := false
	for batch := range slices.Chunk(c.active, lockBatch) {
		h.mu.Lock()
		for _, w := range batch {
			if w.next <= h.rev || w.state != behind {
				continue
			}
			moved = true
			c.remove(w)
			w.state = synced
			w.stream.unsynced--
			h.stats.slow.Add(-1)
			h.live.add(w)
		}
		h.mu.Unlock()
	}
	if moved {
		c.sweep()
	}
}
