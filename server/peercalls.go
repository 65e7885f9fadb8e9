package server

import (
	"context"
	"net/http"
	"sync"

	"github.com/cairnkv/cairn/task"
)

// peerCalls are the requests of other members that are being answered. A stop ends them before it
// closes the files that they read. The zero value is ready.
type peerCalls struct {
	mu      sync.Mutex // guards what follows
	next    uint64
	running map[uint64]context.CancelFunc
	idle    chan struct{} // nil until the stop; closed when none runs any more
}

// serve is h for as long as the member has not stopped.
func (c *peerCalls) serve(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, end := c.begin(r.Context())
		if end == nil {
			panic(http.ErrAbortHandler) // the connection goes with the member
		}
		defer end()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// begin notes a request; end is nil if the member stops.
func (c *peerCalls) begin(parent context.Context) (ctx context.Context, end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(parent)
	if c.running == nil {
		c.running = make(map[uint64]context.CancelFunc)
	}
	c.next++
	id := c.next
	c.running[id] = cancel
	return ctx, func() {
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.running, id)
		if c.idle != nil && len(c.running) == 0 {
			close(c.idle)
		}
	}
}

// stop ends all requests and waits until they have ended. It is called once.
func (c *peerCalls) stop(t task.Tasks) {
	c.mu.Lock()
	c.idle = make(chan struct{})
	for _, cancel := range c.running {
		cancel()
	}
	if len(c.running) == 0 {
		close(c.idle)
	}
	c.mu.Unlock()
	t.Wait(nil, c.idle)
}
