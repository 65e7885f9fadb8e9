package watch

// Jump says that the store has come to rev by itself, by a snapshot, without a Publish of the
// events in between; whether by now a compaction has taken them away, the store knows. The
// watchers that were synced are behind now, from the first revision that they want: Step reads on
// for them, or cancels them as compacted. A watcher whose first revision is above rev stays synced.
// The same goroutine as Publish, with no Publish of events up to rev after it.
//
// It holds the hub's lock for all watchers, unlike anything else here: between the old revision
// and the new one there is no state that a stream could see.
func (h *Hub) Jump(rev int64) {
	h.mu.Lock()
	for _, s := range h.streams {
		for _, w := range s.watchers {
			if w.state != synced {
				continue
			}
			// A synced watcher has got everything up to h.rev that it wants.
			next := max(w.group.members[w.place].next, h.rev+1)
			if next > rev {
				continue
			}
			h.live.remove(w)
			w.next = next
			h.fallBehind(w)
			h.admit(w)
		}
	}
	h.rev = max(h.rev, rev)
	if len(h.waiting) > 0 {
		h.answerWaiting()
	}
	h.mu.Unlock()
	h.wakeAll()
}
