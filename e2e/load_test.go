package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
)

// retryWait is how long a writer or a watcher waits after an error.
const retryWait = 5 * time.Millisecond

// writer sends one request after the other on keys of its own, and some on keys that all share.
type writer struct {
	client *clientv3.Client
	ledger *check.Ledger
	name   string
	rng    *rand.Rand
	count  int
}

// run writes until the context ends. Each request is finished or given up before the next one.
func (w *writer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if w.write() != nil {
			select {
			case <-time.After(retryWait):
			case <-ctx.Done():
			}
		}
	}
}

// key returns a key: the writer's own mostly, sometimes one of all writers.
func (w *writer) key() string {
	if w.rng.IntN(5) == 0 {
		return fmt.Sprintf("/all/%d", w.rng.IntN(keysOfWriter))
	}
	return fmt.Sprintf("/%s/%d", w.name, w.rng.IntN(keysOfWriter))
}

// value returns a value that no request has had before.
func (w *writer) value() string {
	w.count++
	return fmt.Sprintf("%s-%d", w.name, w.count)
}

// write sends one request and notes what came of it. Its context is its own: a request that the
// test cuts off at its end would have an unknown fate.
func (w *writer) write() error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	switch p := w.rng.IntN(100); {
	case p < 60:
		c := check.Change{Key: w.key(), Value: w.value()}
		a := w.ledger.Try(c)
		resp, err := w.client.Put(ctx, c.Key, c.Value)
		if err != nil {
			w.ledger.Unknown(a)
			return err
		}
		w.ledger.Acked(a, resp.Header.Revision, true)
	case p < 75:
		c := check.Change{Key: w.key(), Delete: true}
		a := w.ledger.Try(c)
		resp, err := w.client.Delete(ctx, c.Key)
		if err != nil {
			w.ledger.Unknown(a)
			return err
		}
		w.ledger.Acked(a, resp.Header.Revision, resp.Deleted == 1)
	default:
		return w.txn(ctx)
	}
	return nil
}

// txn puts two keys at once.
func (w *writer) txn(ctx context.Context) error {
	one := check.Change{Key: w.key(), Value: w.value()}
	two := check.Change{Key: w.key() + "/second", Value: w.value()}
	a := w.ledger.Try(one, two)
	resp, err := w.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(one.Key), ">", -1)).
		Then(clientv3.OpPut(one.Key, one.Value), clientv3.OpPut(two.Key, two.Value)).
		Commit()
	if err != nil {
		w.ledger.Unknown(a)
		return err
	}
	w.ledger.Acked(a, resp.Header.Revision, resp.Succeeded)
	return nil
}

// watcher watches from the first revision on and goes on after errors from where it was.
type watcher struct {
	name     string
	key      string
	opts     []clientv3.OpOption
	wanted   func(check.Change) bool
	previous bool
	fresh    bool // each watch lasts for a few events only, and then goes on with a new client

	mu     sync.Mutex // guards the fields below
	events []check.Event
	next   int64 // revision to go on from
	broken error
}

// startWatchers starts one watcher of each kind.
func startWatchers(ctx context.Context, t *testing.T, s *Server) []*watcher {
	t.Helper()
	everything := func(check.Change) bool { return true }
	under := func(prefix string) func(check.Change) bool {
		return func(c check.Change) bool { return strings.HasPrefix(c.Key, prefix) }
	}
	all := []clientv3.OpOption{clientv3.WithFromKey()}
	watchers := []*watcher{
		{name: "everything", key: "\x00", opts: all, wanted: everything},
		{name: "everything, with new clients", key: "\x00", opts: all, wanted: everything,
			fresh: true},
		{name: "previous values", key: "\x00", opts: append(all, clientv3.WithPrevKV()),
			wanted: everything, previous: true},
		{name: "one writer, fragments", key: "/w0/", wanted: under("/w0/"),
			opts: []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithFragment()}},
		{name: "shared keys, progress", key: "/all/", wanted: under("/all/"),
			opts: []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithProgressNotify()}},
		{name: "deletes", key: "\x00", opts: append(all, clientv3.WithFilterPut()),
			wanted: func(c check.Change) bool { return c.Delete }},
	}
	var done sync.WaitGroup
	t.Cleanup(done.Wait)
	for _, w := range watchers {
		w.next = 1
		done.Go(func() { w.run(ctx, s) })
	}
	return watchers
}

// freshEvents is after how many events a fresh watcher takes a new client.
const freshEvents = 100

// run watches until the context ends.
func (w *watcher) run(ctx context.Context, s *Server) {
	for ctx.Err() == nil && w.watch(ctx, s) == nil {
		select {
		case <-time.After(retryWait):
		case <-ctx.Done():
		}
	}
}

// watch watches with one client until the watch ends. It returns an error when going on makes no
// sense.
func (w *watcher) watch(ctx context.Context, s *Server) error {
	c, err := s.Client()
	if err != nil {
		return w.fail(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := len(w.events)
	opts := append([]clientv3.OpOption{clientv3.WithRev(w.next)}, w.opts...)
	for resp := range c.Watch(ctx, w.key, opts...) {
		if resp.CompactRevision != 0 {
			return w.fail(fmt.Errorf("cancelled for compaction at %d", resp.CompactRevision))
		}
		w.take(resp)
		if w.fresh && len(w.events) >= begin+freshEvents {
			return nil
		}
	}
	return nil
}

// take adds the events of a response.
func (w *watcher) take(resp clientv3.WatchResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range resp.Events {
		w.events = append(w.events, EventOf(e))
		w.next = max(w.next, e.Kv.ModRevision+1)
	}
}

// fail notes why the watcher gave up.
func (w *watcher) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = err
	return err
}

// checkWatchers waits until every watcher has seen the end of the history and compares.
func checkWatchers(t *testing.T, watchers []*watcher, h *check.History) {
	t.Helper()
	for _, w := range watchers {
		last := int64(0)
		for _, e := range h.Events {
			if w.wanted(e.Change) {
				last = e.Revision
			}
		}
		poll(t, catchUpTimeout, "the watch of "+w.name, func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.next > last || w.broken != nil
		})
		w.mu.Lock()
		err := w.broken
		if err == nil {
			err = h.CheckWatch(w.events, 1, w.wanted, w.previous)
		}
		w.mu.Unlock()
		if err != nil {
			t.Errorf("the watch of %s: %v", w.name, err)
		}
	}
}
