package node

import "sync"

// mailbox hands values from many goroutines to one owner, who is woken by a [signal] for all that
// is in it. Its bound is its callers': they refuse or wait before they put.
type mailbox[T any] struct {
	mu    sync.Mutex
	items []T
}

// put appends items.
func (b *mailbox[T]) put(items ...T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(b.items, items...)
}

// take returns all items, in order, and leaves the memory of spare in their place.
func (b *mailbox[T]) take(spare []T) []T {
	clear(spare)
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = spare[:0]
	return items
}

// empty says whether there is nothing to take.
func (b *mailbox[T]) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items) == 0
}

// all says whether ok holds for all that is in it.
func (b *mailbox[T]) all(ok func(T) bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, item := range b.items {
		if !ok(item) {
			return false
		}
	}
	return true
}

// signal wakes a goroutine that waits for it; one that is given again before it is seen is one.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) give() {
	select {
	case s <- struct{}{}:
	default:
	}
}
