package sim

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Sim is one simulation. It is made and used by one goroutine.
type Sim struct {
	opts  Options
	now   time.Duration // simulated, since the beginning
	queue eventQueue
	seq   uint64
	steps int64

	// A source of randomness for each purpose, so that one that is asked more does not change what
	// the others say.
	netRNG, diskRNG, faultRNG, clientRNG, schedRNG *rand.Rand

	members []*member // by index; removed ones stay
	clients *host
	net     *network
	load    *load
	nemesis *nemesis
	truth   *truth

	failure error
	trace   hash.Hash64
	out     io.Writer // nil: the events are hashed alone
	lines   int64
	film    *Film // nil: nobody looks
	Stats   Stats
}

// event is something that happens at a time.
type event struct {
	at  time.Duration
	seq uint64
	fn  func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return last
}

// Streams of randomness.
const (
	streamNet = iota + 1
	streamDisk
	streamFault
	streamClient
	streamSched
	streamOptions
)

func stream(seed, purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, purpose)) }

func newSim(o Options, out io.Writer) *Sim {
	s := &Sim{
		opts: o, trace: fnv.New64a(), out: out,
		netRNG: stream(o.Seed, streamNet), diskRNG: stream(o.Seed, streamDisk),
		faultRNG: stream(o.Seed, streamFault), clientRNG: stream(o.Seed, streamClient),
		schedRNG: stream(o.Seed, streamSched),
	}
	s.net = newNetwork(s)
	s.clients = s.newHost("clients")
	s.truth = newTruth(s)
	return s
}

func (s *Sim) newHost(name string) *host {
	return &host{name: name, rng: s.schedRNG, failed: s.fail}
}

// at has fn called at a time from now.
func (s *Sim) after(d time.Duration, fn func()) {
	s.seq++
	heap.Push(&s.queue, event{s.now + max(d, 0), s.seq, fn})
}

// fail notes what ends the simulation.
func (s *Sim) fail(err error) {
	if s.failure == nil {
		s.failure = fmt.Errorf("at %v: %w", s.now, err)
		s.film.mark(s.now, FailureMark, err.Error())
		s.logf("FAILED: %v", err)
	}
}

// logf adds a line to the event log.
func (s *Sim) logf(format string, args ...any) {
	s.lines++
	fmt.Fprintf(s.trace, "%d ", s.now)
	fmt.Fprintf(s.trace, format, args...)
	if s.out != nil {
		fmt.Fprintf(s.out, "%12.6f ", s.now.Seconds())
		fmt.Fprintf(s.out, format, args...)
		fmt.Fprintln(s.out)
	}
}

// step does what comes next, if it comes before end, and says whether it did.
func (s *Sim) step(end time.Duration) bool {
	s.film.take(s)
	var wakes *member
	at := end
	for _, m := range s.members {
		if w, ok := m.nextWake(); ok && w < at {
			at, wakes = w, m
		}
	}
	if len(s.queue) > 0 && (s.queue[0].at <= at && s.queue[0].at < end) {
		e := heap.Pop(&s.queue).(event)
		s.now = max(s.now, e.at)
		e.fn()
		return true
	}
	if wakes == nil {
		return false
	}
	s.now = max(s.now, at)
	wakes.touch()
	return true
}

// until runs until cond holds or the time is over, and says whether it holds.
func (s *Sim) until(end time.Duration, cond func() bool) bool {
	for s.failure == nil {
		if cond() {
			return true
		}
		if !s.step(end) {
			s.now = end
			return cond()
		}
		if s.steps++; s.steps%stepsBetween == 0 {
			if err := s.compareTables(); err != nil {
				s.fail(err)
			}
		}
	}
	return false
}

// clientsRun lets the clients go on after something has come for them.
func (s *Sim) clientsRun() { s.clients.run() }

// chance is true with probability p.
func chance(rng *rand.Rand, p float64) bool { return p > 0 && rng.Float64() < p }

// between draws a duration from [lo, hi].
func between(rng *rand.Rand, lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(rng.Int64N(int64(hi-lo)+1))
}

// logHandler puts what a member logs into the event log, when somebody reads it.
type logHandler struct {
	m     *member
	attrs string
}

func (m *member) logger() *slog.Logger {
	if m.sim.out == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(logHandler{m: m})
}
