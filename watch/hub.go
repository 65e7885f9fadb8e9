package watch

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/mvcc"
)

// Hub fans the events of a store out to the watchers of all streams. All methods are safe for
// concurrent use, but Publish is for one goroutine, the applier.
type Hub struct {
	source Source
	clock  clock.Clock
	opts   Options
	stats  counters
	work   chan struct{} // holds a token while Step has something new to do

	// mu guards what follows, and what says so in Stream and watcher. Publish takes it, so it is
	// held for a bounded number of watchers only, and never while the history is read.
	mu      sync.Mutex
	rev     int64     // everything up to here was published
	live    index     // the synced watchers
	fan     fanout    // Publish's
	streams []*Stream // open streams, each at its place
	waiting []*Stream // streams with progress requests that wait for Publish
	arrived []*watcher
	left    []*watcher // watchers behind that were canceled

	wakes []*Stream // Publish's: streams to wake once mu is free

	// stepMu is held by Step; it is taken before mu.
	stepMu sync.Mutex
	catch  catchup
}

type counters struct {
	streams, watchers, slow, pending atomic.Int64
	events                           atomic.Uint64
}

// NewHub makes a hub for the watchers of source, which is at its current revision and about which
// every later revision will be told to Publish.
func NewHub(source Source, clk clock.Clock, opts Options) *Hub {
	h := &Hub{
		source: source, clock: clk, opts: opts.withDefaults(),
		work: make(chan struct{}, 1),
		rev:  source.Rev(), live: newIndex(),
		catch: catchup{index: newIndex(), maxEvents: chunkEvents},
	}
	h.catch.maxBytes = min(chunkBytes, h.opts.StreamBytes) // no stream has room for more
	h.fan.index = &h.live
	h.catch.fan.index = &h.catch.index
	return h
}

// Stats returns the counters as they are.
func (h *Hub) Stats() Stats {
	return Stats{
		Streams:  h.stats.streams.Load(),
		Watchers: h.stats.watchers.Load(),
		Slow:     h.stats.slow.Load(),
		Pending:  h.stats.pending.Load(),
		Events:   h.stats.events.Load(),
	}
}

// Open makes a stream without watchers. header gives the ids and the term of the responses'
// headers, at the time of a Take; its revision is not used. wake is called when Take has
// something after it had nothing: with no lock of the hub held, from any goroutine, the applier
// and callers of the stream's own methods among them; it must not block.
func (h *Hub) Open(header func() cairn.Header, wake func()) *Stream {
	s := &Stream{
		hub: h, header: header, wake: wake,
		watchers: make(map[int64]*watcher),
		interval: max(h.opts.ProgressInterval(), MinProgressInterval),
	}
	s.due = h.clock.Now().Add(s.interval)
	h.mu.Lock()
	s.place = len(h.streams)
	h.streams = append(h.streams, s)
	h.mu.Unlock()
	h.stats.streams.Add(1)
	return s
}

// leave forgets a stream that closes.
func (h *Hub) leave(s *Stream) {
	last := len(h.streams) - 1
	h.streams[s.place] = h.streams[last]
	h.streams[s.place].place = s.place
	h.streams[last] = nil
	h.streams = h.streams[:last]
	if s.asked > 0 {
		h.waiting = slices.DeleteFunc(h.waiting, func(o *Stream) bool { return o == s })
	}
	h.stats.streams.Add(-1)
}

// Publish queues the events of the revisions up to rev, in order and whole, for all synced
// watchers. The applier calls it right after the store's Publish, with every event once. events
// and what they point to are not used after it returns. It never waits for a stream.
func (h *Hub) Publish(rev int64, events []mvcc.Event) {
	h.mu.Lock()
	if h.live.empty() {
		events = nil
	}
	for i := range events {
		h.fan.event(h.source, &events[i], events[i].Rev.Main)
	}
	pending := 0
	for _, g := range h.fan.touched {
		if g.err != nil {
			h.endGroup(g)
			continue
		}
		pending += h.deliver(g)
		if mutate.On(mutate.WatchTwice) && rev%32 == 0 {
			pending += h.deliver(g)
		}
	}
	h.fan.end()
	h.rev = max(h.rev, rev)
	if len(h.waiting) > 0 {
		h.answerWaiting()
	}
	h.stats.pending.Add(int64(pending))
	h.mu.Unlock()
	for _, s := range h.wakes {
		s.wake()
	}
	clear(h.wakes)
	h.wakes = h.wakes[:0]
}

// deliver queues the group's bodies for its members. Those without room fall behind.
func (h *Hub) deliver(g *group) (events int) {
	first := g.bodies[0].rev
	for i := len(g.members) - 1; i >= 0; i-- {
		m := &g.members[i]
		refused, n, wake := m.s.offer(m.w, g.bodies, max(first, m.next), false)
		events += n
		if wake {
			h.wakes = append(h.wakes, m.s)
		}
		if refused != 0 {
			w := m.w
			h.live.remove(w)
			w.next = refused
			h.fallBehind(w)
		}
	}
	return events
}

// fallBehind counts w as behind. It is parked, or will be admitted.
func (h *Hub) fallBehind(w *watcher) {
	w.state = behind
	w.stream.unsynced++
	h.stats.slow.Add(1)
}

// endGroup cancels the members of a group whose events cannot be read.
func (h *Hub) endGroup(g *group) {
	h.opts.Failed(g.err)
	for i := len(g.members) - 1; i >= 0; i-- {
		w := g.members[i].w
		h.live.remove(w)
		w.state = ended
		w.stream.unsynced++
		if w.stream.post(canceled(max(h.rev, w.told), w.id, 0, reasonOf(g.err))) {
			h.wakes = append(h.wakes, w.stream)
		}
	}
}

// reasonOf is the cancel reason that a client sees for an error of the store.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*cairn.Error](err); ok {
		return e.Text
	}
	return cairn.ErrDamaged.Text
}

// answerWaiting decides about the progress requests that waited for the hub to reach the store.
func (h *Hub) answerWaiting() {
	left := h.waiting[:0]
	for _, s := range h.waiting {
		if s.askedRev > h.rev {
			left = append(left, s)
			continue
		}
		for ; s.asked > 0; s.asked-- {
			if s.progressAll() {
				h.wakes = append(h.wakes, s)
			}
		}
		s.askedRev = 0
	}
	clear(h.waiting[len(left):])
	h.waiting = left
}

// Tick queues the progress notifications of the streams for which they are due. It is called every
// MinProgressInterval or so; now is the clock's.
func (h *Hub) Tick(now time.Time) {
	for from, done := 0, false; !done; from += lockBatch {
		var wakes []*Stream
		h.mu.Lock()
		end := min(from+lockBatch, len(h.streams))
		for i := from; i < end; i++ {
			if s := h.streams[i]; len(s.notify) > 0 && s.tick(now) {
				wakes = append(wakes, s)
			}
		}
		done = end == len(h.streams)
		h.mu.Unlock()
		for _, s := range wakes {
			s.wake()
		}
	}
}
