package watch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/mvcc"
)

func newTestHub(m Source, opts Options) *Hub {
	return NewHub(m, clock.NewManual(time.Unix(0, 0)), opts)
}

// put commits and publishes one put.
func put(h *Hub, m *model, key, value string) {
	evs := m.commit(write{key: key, value: value})
	h.Publish(m.Rev(), evs)
}

func settle(h *Hub) {
	for h.Step() {
	}
}

// takeAll takes until nothing comes.
func takeAll(t *testing.T, c *client) (n int) {
	t.Helper()
	for {
		k, err := c.take(1000)
		if err != nil {
			t.Fatal(err)
		}
		if n += k; k == 0 {
			return n
		}
	}
}

// scans counts the reads of a model.
type scans struct {
	*model
	n, events int
}

func (s *scans) Changes(ctx context.Context, from, to int64, maxEvents, maxBytes int,
	fn func(ev *mvcc.Event) error,
) (int64, error) {
	s.n++
	return s.model.Changes(ctx, from, to, maxEvents, maxBytes, func(ev *mvcc.Event) error {
		s.events++
		return fn(ev)
	})
}

// TestSharedScan: watchers that start from the same old revision, or from ones close by, read
// the history once.
func TestSharedScan(t *testing.T) {
	src := &scans{model: newModel()}
	const revs, watchers = 5000, 300
	for i := range revs {
		src.commit(write{key: fmt.Sprintf("k%d", i%10), value: "v"})
	}
	h := newTestHub(src, Options{})
	var clients []*client
	for i := range watchers {
		c := openClient(h, src.model)
		clients = append(clients, c)
		key := fmt.Appendf(nil, "k%d", i%10)
		c.create(CreateRequest{Key: key, StartRevision: int64(1 + i*97%watchers*10)})
	}
	h.catch.maxEvents = 50
	settle(h)
	t.Logf("%d reads of %d events for %d revisions", src.n, src.events, revs)
	if src.events > 2*revs {
		t.Errorf("%d reads of %d events for %d revisions", src.n, src.events, revs)
	}
	for _, c := range clients {
		takeAll(t, c)
		for _, w := range c.watchers {
			if err := c.caughtUp(w, src.Rev()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := h.Stats(); s.Slow != 0 || s.Pending != 0 {
		t.Errorf("%+v", s)
	}
}

// TestFairness: a watcher that has little to read does not wait for one that has much.
func TestFairness(t *testing.T) {
	m := newModel()
	for range 5000 {
		m.commit(write{key: "k", value: "v"})
	}
	h := newTestHub(m, Options{})
	h.catch.maxEvents = 50
	far, near := openClient(h, m), openClient(h, m)
	far.create(CreateRequest{Key: []byte("k"), StartRevision: 1})
	near.create(CreateRequest{Key: []byte("k"), StartRevision: 4970})
	for range 4 {
		h.Step()
	}
	if near.s.unsynced != 0 || far.s.unsynced != 1 {
		t.Errorf("unsynced: %d near, %d far", near.s.unsynced, far.s.unsynced)
	}
}

// TestSlowStream: a stream that is never taken holds a bounded amount, costs no reads, and
// others get their events from Publish itself.
func TestSlowStream(t *testing.T) {
	src := &scans{model: newModel()}
	h := newTestHub(src, Options{StreamBytes: 2000})
	slow, quick := openClient(h, src.model), openClient(h, src.model)
	for _, c := range []*client{slow, quick} {
		c.create(CreateRequest{Key: []byte("k")})
	}
	takeAll(t, quick)
	for range 1000 {
		put(h, src.model, "k", "0123456789")
		for h.Step() {
			t.Fatal("there is something to do for a stream without room")
		}
		if n := takeAll(t, quick); n != 1 {
			t.Fatalf("%d responses", n)
		}
	}
	if slow.s.bytes > 2000 || src.n != 0 {
		t.Errorf("%d bytes, %d reads", slow.s.bytes, src.n)
	}
	for range 1000 {
		takeAll(t, slow)
		settle(h)
	}
	if err := slow.caughtUp(slow.watchers[0], src.Rev()); err != nil {
		t.Error(err)
	}
}

// TestCanceledWhileHandedOver: Take has taken a watcher off the parked ones and not handed it to
// Step when the client cancels it.
func TestCanceledWhileHandedOver(t *testing.T) {
	m := newModel()
	h := newTestHub(m, Options{StreamBytes: 300})
	c := openClient(h, m)
	c.create(CreateRequest{Key: []byte("k")})
	for range 10 {
		put(h, m, "k", "0123456789")
	}
	c.s.mu.Lock()
	handed := c.s.parked
	c.s.parked = nil
	c.s.mu.Unlock()
	if len(handed) != 1 {
		t.Fatalf("%d parked", len(handed))
	}
	c.cancel(0)
	settle(h)
	h.readmit(handed)
	settle(h)
	takeAll(t, c)
	if !h.catch.index.empty() || len(h.catch.active) > 0 || h.Stats().Slow != 0 {
		t.Errorf("the watcher is still there: %+v", h.Stats())
	}
}

// TestWakeMayCall: wake is called with no lock held that the stream's methods need.
func TestWakeMayCall(t *testing.T) {
	m := newModel()
	h := newTestHub(m, Options{ProgressInterval: func() time.Duration { return time.Second }})
	var s *Stream
	n, got := 0, 0
	s = h.Open(func() cairn.Header { return testHeader }, func() {
		n++
		s.Progress()
		s.Cancel(99)
		s.Congested()
		h.Stats()
		for msgs := take(s, 100); len(msgs) > 0; msgs = take(s, 100) {
			got += len(msgs)
		}
	})
	s.Create(CreateRequest{Key: []byte("k"), Progress: true}) // created, progress
	put(h, m, "k", "v")                                       // event, progress
	s.Create(CreateRequest{Key: []byte("k"), StartRevision: 1})
	settle(h)                                      // event; Progress finds a watcher behind before
	h.Tick(time.Unix(10, 0))                       // had an event
	h.Tick(time.Unix(20, 0))                       // notification, progress
	s.Cancel(0)                                    // canceled, progress
	m.commit(write{key: "k", value: "w"})          // the store is ahead
	s.Progress()                                   // waits
	h.Publish(m.Rev(), m.events[len(m.events)-1:]) // event, progress
	if n == 0 || got < 10 || h.Stats().Pending != 0 {
		t.Errorf("%d wakes, %d responses, %+v", n, got, h.Stats())
	}
	s.Close()
	s.Close()
	s.Create(CreateRequest{Key: []byte("k")})
	s.Cancel(1)
	s.Progress()
	if msgs := take(s, 100); len(msgs) > 0 || h.Stats().Watchers != 0 {
		t.Errorf("a closed stream answers: %d, %+v", len(msgs), h.Stats())
	}
}

// TestCongested: responses to requests are queued beyond the limit, and the stream says so.
func TestCongested(t *testing.T) {
	m := newModel()
	h := newTestHub(m, Options{StreamBytes: 1000})
	c := openClient(h, m)
	n := 0
	for ; !c.s.Congested(); n++ {
		c.create(CreateRequest{Key: []byte("k")})
	}
	if n > 1000/itemBytes+1 {
		t.Errorf("%d responses fit in 1000 bytes", n)
	}
	c.s.Progress() // dropped, as nobody waits for it
	if got := takeAll(t, c); got != n || c.s.Congested() {
		t.Errorf("%d responses, want %d", got, n)
	}
}

// TestPublishAllocations: in the steady state Publish allocates for the event, not for the
// watchers.
func TestPublishAllocations(t *testing.T) {
	src := &bench{model: newModel(), rev: 1}
	h := newTestHub(src, Options{})
	streams := make([]*Stream, 500)
	for i := range streams {
		streams[i] = h.Open(func() cairn.Header { return testHeader }, func() {})
		streams[i].Create(CreateRequest{Key: []byte("k"), PrevKV: i%2 == 0})
	}
	drain(streams)
	event := []mvcc.Event{src.event("k")}
	publish := func() {
		src.rev++
		event[0].Rev.Main = src.rev
		h.Publish(src.rev, event)
	}
	for range 300 { // the queues grow
		publish()
	}
	if n := testing.AllocsPerRun(100, publish); n > 20 {
		t.Errorf("%.0f allocations for an event and %d watchers", n, len(streams))
	}
}
