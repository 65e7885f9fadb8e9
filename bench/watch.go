package bench

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Watch measures watches: how long creating them takes, and how long it is from a put to the event.
// All watchers are created first; then the clients put to the watched keys, and the load is over
// when every watcher has had every event that is due to it.
type Watch struct {
	// Streams is how many watch streams there are, spread over the connections, Watchers how many
	// watchers each of them has. Default: 10 and 100.
	Streams, Watchers int
	// Keys is what is watched: each watcher watches one key, watchers take the keys in turn. They
	// are put to in turn, or by chance.
	Keys
	ValueSize int // bytes, at least 16: the time is in it
	PrevKV    bool

	// Steps makes it one event at a time: the next put waits until all watchers have had the last
	// one. Then the latency is that of a fan-out, without any queue.
	Steps bool
}

const (
	defaultStreams  = 10
	defaultWatchers = 100
	maxStreams      = 1 << 20
	// timeSize is how many hexadecimal digits of a value are the time.
	timeSize = 16
)

// Series of a watch, and their names.
const (
	eventSeries = iota
	putSeries
	createSeries
)

// Verb is "watch", or "watch-latency" in steps.
func (w Watch) Verb() string {
	if w.Steps {
		return "watch-latency"
	}
	return "watch"
}

// watcher is a plan that watches.
type watcher interface{ watching() *watchPlan }

// watchPlan is a load of watches in a run. The methods that a run calls work on nil, too: for loads
// that do not watch.
type watchPlan struct {
	single
	Watch
	keys     *keys
	values   *values
	startRev int64 // of the watchers, 0: now
	behind   int   // events that each watcher is to catch up with; 0: none, it is no WatchGet
	run      *run

	expected atomic.Int64 // events of the puts that were begun
	began    atomic.Int64 // when the first watcher was asked for
	created  atomic.Int64 // when the last watcher was there
}

func (w Watch) build(o *Options, seed uint64) (plan, error) {
	if w.Streams == 0 {
		w.Streams = defaultStreams
	}
	if w.Watchers == 0 {
		w.Watchers = defaultWatchers
	}
	if w.Streams < 0 || w.Watchers < 0 || w.Streams > maxStreams {
		return nil, fmt.Errorf("%d streams of %d watchers are not possible", w.Streams, w.Watchers)
	}
	if o.Duration > 0 || o.Warmup > 0 {
		return nil, errors.New("watches are measured by a total of puts, without a warm-up")
	}
	if w.Steps {
		o.Clients = 1
	}
	keys, err := w.Keys.build()
	if err != nil {
		return nil, err
	}
	values, err := newValues(max(w.ValueSize, timeSize), seed)
	return &watchPlan{Watch: w, keys: keys, values: values}, err
}

func (p *watchPlan) watching() *watchPlan { return p }

func (p *watchPlan) series() []string { return []string{"event", "put", "create"} }

// next puts to a watched key; the value begins with the time.
func (p *watchPlan) next(c *client, msg []byte) request {
	c.series = putSeries
	n := p.keys.pick(c.rng)
	c.events = p.watchersOf(n)
	p.expected.Add(c.events)
	c.scratch[0] = p.keys.append(c.scratch[0][:0], n)
	c.scratch[1] = appendTime(c.scratch[1][:0], p.run.since())
	c.scratch[1] = append(c.scratch[1], p.values.pick(c.rng)[timeSize:]...)
	return request{method: putMethod, msg: appendPut(msg, c.scratch[0], c.scratch[1], 0)}
}

// watchersOf is how many watchers a key has: they take the keys in turn.
func (p *watchPlan) watchersOf(key uint64) int64 {
	all, space := uint64(p.Streams)*uint64(p.Watchers), uint64(p.keys.Space)
	n := all / space
	if key < all%space {
		n++
	}
	return int64(n)
}

// streamsOf is how many streams a connection has.
func (p *watchPlan) streamsOf(conn, conns int) int {
	if p == nil {
		return 0
	}
	n := p.Streams / conns
	if conn < p.Streams%conns {
		n++
	}
	return n
}

// total is how many events there will be, as far as is known.
func (p *watchPlan) total(r *run) int64 {
	if p.behind > 0 {
		return p.expected.Load()
	}
	all := int64(p.Streams) * int64(p.Watchers)
	return max(p.expected.Load(), r.Total*all/int64(p.keys.Space))
}

// over tells whether all puts were made and all events have come.
func (p *watchPlan) over(r *run) bool {
	if p.behind > 0 {
		return r.events.Load() >= p.expected.Load()
	}
	return r.done.Load() >= r.Total && r.events.Load() >= p.expected.Load()
}

// open makes a worker's streams and asks for their first watchers. It returns how many watchers the
// worker will have.
func (p *watchPlan) open(w *worker, conn, conns int) (int64, error) {
	if p == nil {
		return 0, nil
	}
	for i := conn; i < p.Streams; i += conns {
		s := &watchStream{plan: p, number: i, owner: int32(len(w.clients) + len(w.watches))}
		w.watches = append(w.watches, s)
		id, err := w.session.Open(w.methods[watchMethod], s.owner, s.create(w), false)
		if err != nil {
			return 0, err
		}
		s.id = id
		for p.behind > 0 && s.asked < p.Watchers {
			w.session.Send(s.id, s.create(w), false)
		}
	}
	if p.behind > 0 {
		return 0, nil // the gets begin at once
	}
	return int64(len(w.watches)) * int64(p.Watchers), nil
}

// amend gives the series their own times.
func (p *watchPlan) amend(out *Result) {
	// The creations are the last series of both kinds of loads.
	last := &out.Series[len(out.Series)-1]
	last.Seconds = time.Duration(p.created.Load() - p.began.Load()).Seconds()
}

// watchStream is one stream of watches.
type watchStream struct {
	plan   *watchPlan
	id     uint32
	owner  int32
	number int   // from 0 on, of all streams
	asked  int   // watchers
	at     int64 // when the last one was asked for

	had map[int64]int // events, by watcher, while they catch up
}

// create makes the request for the next watcher.
func (s *watchStream) create(w *worker) []byte {
	p := s.plan
	if s.asked == 0 || p.behind == 0 {
		s.at = w.run.since()
	}
	p.began.CompareAndSwap(0, s.at)
	n := uint64(s.number)*uint64(p.Watchers) + uint64(s.asked)
	s.asked++
	msg := appendBytes(nil, 1, p.keys.append(nil, n%uint64(p.keys.Space)))
	msg = appendUint(msg, 3, uint64(p.startRev))
	msg = appendBool(msg, 6, p.PrevKV)
	return appendMessage(nil, 1, msg)
}

// message takes a WatchResponse.
func (s *watchStream) message(w *worker, msg []byte) error {
	p := s.plan
	event := func(kv []byte, _ bool) error {
		change, err := decodeKeyValue(kv)
		if at, ok := parseTime(change.value); ok {
			w.stats[eventSeries].latency.Record(time.Duration(w.now - at))
		}
		return err
	}
	if p.behind > 0 {
		event = nil
	}
	resp, err := decodeWatch(msg, event)
	switch {
	case err != nil:
		return w.explain(err)
	case resp.canceled:
		return fmt.Errorf("%s: a watcher was canceled: %s", w.where, resp.reason)
	case p.behind > 0:
		s.caught(w, resp)
	case resp.created:
		w.stats[createSeries].latency.Record(time.Duration(w.now - s.at))
		if s.asked < p.Watchers {
			w.session.Send(s.id, s.create(w), false)
		}
		p.created.Store(w.now)
		w.run.prepared(1)
	case resp.events > 0:
		w.last = w.now
		w.run.events.Add(int64(resp.events))
		w.wake()
	}
	return nil
}

// wake wakes all workers if nothing more is to come, and the writer if it may go on.
func (w *worker) wake() {
	p := w.run.watch
	switch {
	case p.over(w.run):
		w.run.kickAll()
	case p.Steps && w.run.gate():
		w.run.workers[0].kick()
	}
}

// gate says when the next put may begin, nil: always. In steps it waits for all events.
func (p *watchPlan) gate() func() bool {
	if !p.Steps {
		return nil
	}
	return func() bool { return p.run.events.Load() >= p.expected.Load() }
}

const digits = "0123456789abcdef"

func appendTime(b []byte, t int64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[t>>shift&15])
	}
	return b
}

// parseTime reads what appendTime has written.
func parseTime(b []byte) (t int64, ok bool) {
	if len(b) < timeSize {
		return 0, false
	}
	for _, c := range b[:timeSize] {
		switch {
		case c >= '0' && c <= '9':
			t = t<<4 | int64(c-'0')
		case c >= 'a' && c <= 'f':
			t = t<<4 | int64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return t, true
}
