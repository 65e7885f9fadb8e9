package watch

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
)

// TestConcurrent has an applier, an owner of catch-up, a compactor, a clock, clients of their own
// goroutines, and one stream that several goroutines use. Run it with -race.
func TestConcurrent(t *testing.T) {
	const txns, clients = 1500, 4
	m := newModel()
	clk := clock.NewManual(time.Unix(0, 0))
	h := NewHub(m, clk, Options{
		StreamBytes: 3000, ResponseBytes: 600,
		ProgressInterval: func() time.Duration { return MinProgressInterval },
	})
	h.catch.maxEvents, h.catch.maxBytes = 40, 4000

	done := make(chan struct{}) // the history is complete
	stop := make(chan struct{}) // all clients have seen it
	var owners, users sync.WaitGroup
	owners.Go(func() {
		for {
			select {
			case <-h.Work():
				for h.Step() {
				}
			case <-stop:
				return
			}
		}
	})
	users.Go(func() {
		defer close(done)
		applyAll(h, m, clk, txns)
	})
	shared := h.Open(func() cairn.Header { return testHeader }, func() {})
	for g := range uint64(3) {
		users.Go(func() { hammer(shared, m, rand.New(rand.NewPCG(g, 4)), done) })
	}
	users.Go(func() {
		for {
			take(shared, 500)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range uint64(clients) {
		users.Go(func() {
			if err := use(h, m, rand.New(rand.NewPCG(i, 5)), done); err != nil {
				t.Error(err)
			}
		})
	}
	users.Wait()
	shared.Close()
	close(stop)
	owners.Wait()
	for h.Step() {
	}
	if s := h.Stats(); s != (Stats{Events: s.Events}) || s.Events == 0 {
		t.Errorf("not empty at the end: %+v", s)
	}
	if !h.live.empty() || !h.catch.index.empty() || len(h.catch.active) > 0 {
		t.Error("watchers are left in an index")
	}
}

// applyAll makes a history, publishes it, compacts behind it and moves the clock.
func applyAll(h *Hub, m *model, clk *clock.Manual, txns int) {
	rng := rand.New(rand.NewPCG(1, 3))
	for i := range txns {
		evs := m.commit(randomTxn(rng)...)
		for rng.IntN(3) == 0 {
			evs = append(evs, m.commit(randomTxn(rng)...)...)
		}
		h.Publish(m.Rev(), evs)
		if i%100 == 99 {
			m.compactTo(m.Rev() - 150)
		}
		if i%10 == 0 {
			clk.Advance(30 * time.Millisecond)
			h.Tick(clk.Now())
		}
	}
}

// hammer calls a stream's methods at random; nobody checks what comes.
func hammer(s *Stream, m *model, rng *rand.Rand, done <-chan struct{}) {
	w := world{rng: rng, m: m}
	for {
		select {
		case <-done:
			return
		default:
		}
		switch rng.IntN(4) {
		case 0:
			if !s.Congested() {
				s.Create(w.request())
			}
		case 1, 2:
			s.Cancel(int64(rng.IntN(30)))
		case 3:
			s.Progress()
		}
	}
}

// use runs a client until it has seen the whole history, once for each of several streams.
func use(h *Hub, m *model, rng *rand.Rand, done <-chan struct{}) error {
	w := world{rng: rng, m: m}
	for finished := false; !finished; {
		c := openClient(h, m)
		c.racing = true
		for range 200 {
			switch rng.IntN(6) {
			case 0:
				if !c.s.Congested() {
					c.create(w.request())
				}
			case 1:
				for id := range c.watchers {
					if rng.IntN(3) == 0 && c.cancels[id] == 0 {
						c.cancel(id)
					}
					break
				}
			case 2:
				c.s.Progress()
			}
			if rng.IntN(4) == 0 {
				if _, err := c.take(1 + rng.IntN(4000)); err != nil {
					return err
				}
			}
		}
		select {
		case <-done:
			finished = true
			if err := c.complete(); err != nil {
				return err
			}
		default:
		}
		c.s.Close()
	}
	return nil
}

// complete takes, as woken, until every watcher has all of the history.
func (c *client) complete() error {
	deadline := time.After(20 * time.Second)
	for {
		n, err := c.take(2000)
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		late := len(c.created)
		for _, s := range c.watchers {
			if !s.expired {
				late += len(c.m.expected(&s.req, s.known+1, c.m.Rev()))
			}
		}
		if late == 0 {
			return nil
		}
		select {
		case <-c.wakes:
		case <-deadline:
			return fmt.Errorf("%d responses or events have not come", late)
		}
	}
}
