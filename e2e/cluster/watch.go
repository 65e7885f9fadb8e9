package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
	"github.com/cairnkv/cairn/e2e"
)

// retryWait is how long a client waits after an error.
const retryWait = 20 * time.Millisecond

// watcher watches everything through the members of its client, from the first revision on, with
// what was there before, and goes on after errors from where it was.
type watcher struct {
	name   string
	client *clientv3.Client

	mu     sync.Mutex // guards the fields below
	events []check.Event
	next   int64 // revision to go on from
	seen   map[string]time.Time
	broken error
}

func newWatcher(name string, client *clientv3.Client) *watcher {
	return &watcher{name: name, client: client, next: 1, seen: make(map[string]time.Time)}
}

// run watches until the context ends, or until going on makes no sense.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil && w.watch(ctx) == nil {
		select {
		case <-time.After(retryWait):
		case <-ctx.Done():
		}
	}
}

// watch watches until the watch ends. It returns what makes the watcher useless.
func (w *watcher) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range w.client.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithPrevKV(),
		clientv3.WithRev(w.position())) {
		if err := w.take(resp); err != nil {
			return err
		}
	}
	return nil
}

// take adds the events of a response. A revision must come whole and after all before it.
func (w *watcher) take(resp clientv3.WatchResponse) error {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if resp.CompactRevision != 0 {
		w.broken = fmt.Errorf("cancelled for the compaction at %d, while it waited for %d",
			resp.CompactRevision, w.next)
		return w.broken
	}
	for i, e := range resp.Events {
		ev := e2e.EventOf(e)
		if i == 0 && ev.Revision < w.next {
			w.broken = fmt.Errorf("a response begins with revision %d, but revision %d was due: "+
				"events come twice, or a revision in two pieces", ev.Revision, w.next)
			return w.broken
		}
		w.events = append(w.events, ev)
		if ev.Delete {
			w.seen[ev.Key] = now
		}
	}
	if n := len(resp.Events); n > 0 {
		w.next = resp.Events[n-1].Kv.ModRevision + 1
	}
	return nil
}

// position returns the revision that the watcher waits for.
func (w *watcher) position() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next
}

// deleted returns when the watcher saw the last delete of a key.
func (w *watcher) deleted(key string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.seen[key]
	return at, ok
}

// check waits until the watcher has seen the end of the history and compares.
func (w *watcher) check(ctx context.Context, h *check.History) error {
	err := Retry(ctx, healthyTimeout, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.broken == nil && w.next <= h.Revision {
			return fmt.Errorf("waits for revision %d of %d", w.next, h.Revision)
		}
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		err = w.broken
	}
	if err == nil {
		everything := func(check.Change) bool { return true }
		err = h.CheckWatch(w.events, 1, everything, true)
	}
	if err != nil {
		return fmt.Errorf("the watch of %s: %w", w.name, err)
	}
	return nil
}
