package watch

// Jump says that the store has come to rev without a Publish of the events on the way: the state of
// another member was grafted onto it. The synced watchers that want some of them fall behind and
// read them from the store as any other that is behind; those that the store's new compaction has
// overtaken are canceled. It is called by who calls Publish, once the store has jumped. Unlike
// Publish it holds the hub's lock for all watchers: it is rare.
func (h *Hub) Jump(rev int64) {
	h.mu.Lock()
	if rev > h.rev {
		for _, s := range h.streams {
			for _, w := range s.watchers {
				if w.state == synced && w.next <= rev {
					h.live.remove(w)
					w.next = max(w.next, h.rev+1) // while it was synced nobody kept it
					h.fallBehind(w)
					h.admit(w)
				}
			}
		}
		h.rev = rev
		if len(h.waiting) > 0 {
			h.answerWaiting()
		}
	}
	wakes := h.wakes
	h.wakes = nil
	h.mu.Unlock()
	for _, s := range wakes {
		s.wake()
	}
}
