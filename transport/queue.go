package transport

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// Bounds of a queue. One message may be larger than maxQueueBytes if it is alone.
const (
	maxQueueMessages = 4096
	maxQueueBytes    = 32 << 20           // more than node has under way of entries
	maxMessageBytes  = maxFrameBytes - 64 // so that it fits into a frame
	maxBatchBytes    = 1 << 20            // of a frame; one larger message is a frame alone
)

// item is a message and the size of its encoding.
type item struct {
	m    *raftpb.Message
	size int
}

// queue is what waits for one stream. Many put, the stream's goroutine takes.
type queue struct {
	wake chan struct{} // has a value when something may be there

	mu    sync.Mutex // guards below
	open  bool       // false: nobody will take
	items []item
	bytes int // the sum of the sizes
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put appends a message; false: it was dropped.
func (q *queue) put(it item) bool {
	q.mu.Lock()
	ok := q.open && it.size <= maxMessageBytes && len(q.items) < maxQueueMessages &&
		(len(q.items) == 0 || q.bytes+it.size <= maxQueueBytes)
	first := len(q.items) == 0
	if ok {
		q.items = append(q.items, it)
		q.bytes += it.size
	}
	q.mu.Unlock()
	if ok && first {
		q.poke()
	}
	return ok
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take appends to batch what waits, in order, as much as goes into a frame, and wakes for the rest.
func (q *queue) take(batch []item) []item {
	q.mu.Lock()
	n, bytes := 0, 0
	for n < len(q.items) && (n == 0 || bytes+q.items[n].size <= maxBatchBytes) {
		bytes += q.items[n].size
		n++
	}
	batch = append(batch, q.items[:n]...)
	rest := copy(q.items, q.items[n:])
	clear(q.items[rest:])
	q.items = q.items[:rest]
	q.bytes -= bytes
	q.mu.Unlock()
	if rest > 0 {
		q.poke()
	}
	return batch
}

// begin opens the queue.
func (q *queue) begin() {
	q.mu.Lock()
	q.open = true
	q.mu.Unlock()
}

// end closes the queue and says how many messages are lost with it.
func (q *queue) end() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	lost := len(q.items)
	q.open, q.items, q.bytes = false, nil, 0
	return lost
}

// waiting is how much is queued.
func (q *queue) waiting() (messages, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.bytes
}
