package watch

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/mvcc"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "replay one seed of TestAgainstModel")
	seedsFlag = flag.Int("seeds", 600, "number of seeds of TestAgainstModel")
)

// TestAgainstModel drives a hub at random, in one thread, and holds all that clients get against
// the history. Replay a failure with -run TestAgainstModel -seed N.
func TestAgainstModel(t *testing.T) {
	runSeeds(t, *seedsFlag, newWorld)
}

// TestAgainstStore is TestAgainstModel with the store that the hub is made for.
func TestAgainstStore(t *testing.T) {
	runSeeds(t, *seedsFlag/6, newStoreWorld)
}

func runSeeds(t *testing.T, seeds int, make func(seed uint64) (*world, error)) {
	var total totals
	run := func(seed uint64) {
		w, err := make(seed)
		if err == nil {
			err = w.run()
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		total.add(w)
	}
	if *seedFlag != 0 {
		run(*seedFlag)
		return
	}
	for seed := range uint64(seeds) {
		run(seed + 1)
	}
	t.Logf("%+v", total)
	if total.slow == 0 || total.progress == 0 || total.notified == 0 || total.expired == 0 ||
		total.jumped == 0 {
		t.Errorf("a case was never met: %+v", total)
	}
}

type totals struct{ events, slow, progress, notified, expired, jumped int }

func (t *totals) add(w *world) {
	t.events += int(w.h.Stats().Events)
	t.slow += w.slow
	t.jumped += w.jumped
	t.progress += w.progress
	t.notified += w.notified
	t.expired += w.expired
}

// world is a model, a hub, and clients, some of which are slow.
type world struct {
	rng     *rand.Rand
	m       *model
	source  Source      // m, or store
	store   *mvcc.Store // if not nil, it does all that m does
	clk     *clock.Manual
	h       *Hub
	clients []*client
	pending []mvcc.Event // committed and not published
	work    bool
	err     error // of what happened in the middle of something
	end     func() error
	totals
}

func newWorld(seed uint64) (*world, error) {
	rng := rand.New(rand.NewPCG(seed, 1))
	m := newModel()
	w := &world{rng: rng, m: m, source: m, clk: clock.NewManual(time.Unix(1000, 0))}
	return w, w.open()
}

// open makes a history, a hub and clients.
func (w *world) open() error {
	rng := w.rng
	for range rng.IntN(20) {
		w.commit()
	}
	w.pending = nil
	w.h = NewHub(w.source, w.clk, Options{
		StreamBytes:   200 + rng.IntN(4000),
		ResponseBytes: 150 + rng.IntN(1000),
		ProgressInterval: func() time.Duration {
			return time.Second + time.Duration(rng.IntN(100))*time.Millisecond
		},
	})
	w.h.catch.maxEvents, w.h.catch.maxBytes = 1+rng.IntN(30), 1+rng.IntN(3000)
	for range 1 + rng.IntN(4) {
		w.clients = append(w.clients, openClient(w.h, w.m))
	}
	return w.err
}

// commit makes a transaction that is not published yet.
func (w *world) commit() {
	ws := randomTxn(w.rng)
	evs := w.m.commit(ws...)
	if w.store != nil {
		evs = w.commitToStore(ws)
	}
	w.pending = append(w.pending, evs...)
}

// compact compacts at a revision not far back.
func (w *world) compact() {
	w.m.compactTo(w.m.Rev() - int64(w.rng.IntN(15)))
	if w.store != nil {
		w.compactStore()
	}
}

func (w *world) run() error {
	for step := range 150 + w.rng.IntN(300) {
		if err := w.act(); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		w.slow = max(w.slow, int(w.h.Stats().Slow))
		if err := cmp.Or(w.err, w.valid()); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
	}
	if err := w.finish(); err != nil || w.end == nil {
		return err
	}
	return w.end()
}

func (w *world) act() error {
	rng := w.rng
	c := w.clients[rng.IntN(len(w.clients))]
	switch rng.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		w.commit()
		if rng.IntN(3) > 0 {
			w.publish()
		}
	case 6:
		if rng.IntN(3) == 0 {
			w.jump()
		} else {
			w.publish()
		}
	case 7, 8:
		c.create(w.request())
	case 9:
		if id := int64(rng.IntN(12)); c.s.watchers[id] != nil {
			c.cancel(id)
		} else {
			c.s.Cancel(id)
		}
	case 10:
		c.s.Progress()
	case 11:
		w.clk.Advance(time.Duration(rng.IntN(1500)) * time.Millisecond)
		w.h.Tick(w.clk.Now())
	case 12:
		if rng.IntN(4) == 0 {
			w.compact()
		}
	case 13:
		if rng.IntN(12) == 0 {
			c.s.Close()
			w.tally(c)
			w.clients[slices.Index(w.clients, c)] = openClient(w.h, w.m)
		}
	case 14, 15, 16:
		w.step()
	default:
		if c != w.clients[0] || rng.IntN(8) == 0 { // the first is slow
			_, err := c.take(1 + rng.IntN(3000))
			return err
		}
	}
	return nil
}

func (w *world) publish() {
	w.h.Publish(w.m.Rev(), w.pending)
	w.pending = nil
}

// jump makes revisions of which the hub gets no events, as a snapshot does; a part of them may be
// compacted. Those that were pending may still be published, or not.
func (w *world) jump() {
	if w.rng.IntN(2) == 0 {
		w.publish()
	}
	w.pending = nil
	for range w.rng.IntN(12) {
		w.commit()
	}
	if w.rng.IntN(2) == 0 {
		w.compact()
	}
	w.pending = nil
	w.jumped = max(w.jumped, int(w.h.Stats().Watchers-w.h.Stats().Slow))
	w.h.Jump(w.m.Rev())
}

func (w *world) step() {
	select {
	case <-w.h.Work():
		w.work = true
	default:
	}
	if !w.work {
		return
	}
	if w.rng.IntN(4) == 0 {
		w.m.midScan = w.meanwhile
	}
	w.work = w.h.Step()
	w.m.midScan = nil
}

// meanwhile happens while Step reads the history.
func (w *world) meanwhile() {
	c := w.clients[w.rng.IntN(len(w.clients))]
	switch w.rng.IntN(6) {
	case 0, 1:
		w.compact()
	case 2:
		if w.commit(); w.rng.IntN(3) == 0 {
			w.jump()
		} else {
			w.publish()
		}
	case 3:
		for id := range int64(12) {
			if w.rng.IntN(2) == 0 && c.s.watchers[id] != nil {
				c.cancel(id)
			}
		}
	case 4:
		c.create(w.request())
	case 5:
		c.racing = true // with the wakes of the Step under way
		_, w.err = c.take(400)
		c.racing = false
	}
}

func (w *world) request() CreateRequest {
	rng := w.rng
	r := CreateRequest{
		Key:    []byte{byte('a' + rng.IntN(3)), '/', byte('0' + rng.IntN(4))},
		PrevKV: rng.IntN(2) == 0, Progress: rng.IntN(2) == 0, Fragment: rng.IntN(3) == 0,
		NoPut: rng.IntN(6) == 0, NoDelete: rng.IntN(6) == 0,
	}
	switch rng.IntN(6) {
	case 0:
		r.Key, r.End = r.Key[:1], []byte{r.Key[0] + 1}
	case 1:
		r.End = []byte{0}
	case 2:
		r.Key, r.End = nil, []byte{0}
	case 3:
		r.End = []byte{byte('a' + rng.IntN(3)), '/', byte('0' + rng.IntN(4))}
	}
	switch rng.IntN(8) {
	case 0, 1, 2, 3:
		r.StartRevision = max(1, w.m.Rev()-int64(rng.IntN(40)))
	case 4:
		r.StartRevision = w.m.Rev() + int64(rng.IntN(6))
	case 5:
		r.StartRevision = int64(rng.IntN(3)) - 1
	}
	if rng.IntN(4) == 0 {
		r.ID = int64(rng.IntN(8))
	}
	return r
}

// finish lets everything settle: then all must have come.
func (w *world) finish() error {
	w.publish()
	for round := 0; ; round++ {
		if round > 100000 {
			return errors.New("does not settle")
		}
		busy := false
		for w.step(); w.work; w.step() {
			busy = true
		}
		for _, c := range w.clients {
			n, err := c.take(500)
			if err != nil {
				return err
			}
			busy = busy || n > 0
		}
		if !busy {
			break
		}
	}
	for i, c := range w.clients {
		for id, s := range c.watchers {
			if s.expired {
				continue
			}
			if err := c.caughtUp(s, max(w.m.Rev(), s.req.StartRevision)); err != nil {
				return fmt.Errorf("client %d, watcher %d, at the end: %w", i, id, err)
			}
		}
		for _, n := range c.cancels {
			if n != 0 || len(c.created) > 0 || len(c.pieces) > 0 {
				return fmt.Errorf("client %d: unanswered requests", i)
			}
		}
		w.tally(c)
		c.s.Close()
	}
	for w.step(); w.work; w.step() {
	}
	if s := w.h.Stats(); s != (Stats{Events: s.Events}) {
		return fmt.Errorf("not empty after all streams closed: %+v", s)
	}
	if !w.h.live.empty() || !w.h.catch.index.empty() || len(w.h.catch.active) > 0 {
		return errors.New("watchers are left in an index")
	}
	return nil
}

func (w *world) tally(c *client) {
	w.progress += c.progress
	w.notified += c.notified
	for _, s := range c.watchers {
		if s.expired {
			w.expired++
		}
	}
}

// valid checks what binds the hub's parts.
func (w *world) valid() error {
	pending := 0
	for _, s := range w.h.streams {
		unsynced := 0
		for _, o := range s.watchers {
			switch {
			case o.state == synced:
				if o.group == nil || o.group.members[o.place].w != o || o.indexed || o.active {
					return fmt.Errorf("watcher %d is synced but not in place", o.id)
				}
				continue
			case o.state == behind && o.next > w.h.rev:
				return fmt.Errorf("watcher %d is behind at %d of %d", o.id, o.next, w.h.rev)
			}
			unsynced++
		}
		if unsynced != s.unsynced {
			return fmt.Errorf("stream counts %d unsynced, has %d", s.unsynced, unsynced)
		}
		size, events, bodies, large := 0, 0, 0, 0
		for _, it := range slices.Concat(s.out.items[s.out.next:], s.in) {
			size += it.cost()
			events += it.b.events
			if it.w != nil {
				bodies++
				large += it.cost()
			}
		}
		if size != s.bytes || events != s.events {
			return fmt.Errorf("stream counts %d bytes, %d events; has %d, %d",
				s.bytes, s.events, size, events)
		}
		if bodies > 1 && large > w.h.opts.StreamBytes {
			return fmt.Errorf("stream has %d bytes of events", large)
		}
		pending += events
		if (len(s.parked) > 0) && s.bytes == 0 {
			return errors.New("parked watchers of an empty stream")
		}
	}
	if got := w.h.Stats().Pending; got != int64(pending) {
		return fmt.Errorf("%d pending events, counted %d", pending, got)
	}
	return nil
}
