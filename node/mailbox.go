package node

import "sync"

// mailbox hands values from many goroutines to one owner: a slice under a lock and one wake-up for
// all that is in it. Its bound is its callers': they refuse or wait before they put.
type mailbox[T any] struct {
	mu    sync.Mutex
	items []T
	wake  chan struct{}
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{wake: make(chan struct{}, 1)}
}

// put appends items and wakes the owner.
func (b *mailbox[T]) put(items ...T) {
	b.mu.Lock()
	b.items = append(b.items, items...)
	b.mu.Unlock()
	b.poke()
}

// poke wakes the owner.
func (b *mailbox[T]) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns all items, in order, and leaves the memory of spare in their place.
func (b *mailbox[T]) take(spare []T) []T {
	clear(spare)
	b.mu.Lock()
	items := b.items
	b.items = spare[:0]
	b.mu.Unlock()
	return items
}
