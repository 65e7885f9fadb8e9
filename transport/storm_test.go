package transport

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	storms    = flag.Int("storms", 6, "how many storms TestStorm goes through")
	stormSeed = flag.Uint64("storm", 0, "the seed of the first storm; 0: drawn")
)

// Bounds that a storm demands, in its own time.
const (
	// calm is how long after the last fault everybody is connected again: a dead connection is
	// noticed after 5 s, an attempt to dial takes 2 s, the wait between two of them 1 s.
	calm = 20 * time.Second
	// notice is how long after a loss it is told of at the latest.
	notice = 30 * time.Second
	// forgetTime is for how long a member does not know another one at most.
	forgetTime = 3 * time.Second
)

// storm is a cluster of transports in a bad network, in virtual time.
type storm struct {
	t     *testing.T
	rng   *rand.Rand // of the one that makes the faults
	ether *ether
	nodes []*node
	ca    *authority // nil: without TLS
	lives atomic.Uint64
	log   *logBuffer

	mu      sync.Mutex // guards below
	sent    map[flow]*sendings
	wrong   []string
	working atomic.Bool
}

// flow is what one life of a member sends to another member on one stream.
type flow struct {
	from, to, life uint64
	kind           kind
}

// sendings are when the messages of a flow were sent, by number - 1, and which came.
type sendings struct {
	at   []time.Time
	came map[uint64]bool
}

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

func (s *storm) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wrong) < 10 {
		s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
	}
}

// pair draws two hosts.
func (s *storm) pair() (a, b string) {
	i := s.rng.IntN(len(s.nodes))
	j := (i + 1 + s.rng.IntN(len(s.nodes)-1)) % len(s.nodes)
	return s.nodes[i].host, s.nodes[j].host
}

// fault lets something go wrong.
func (s *storm) fault() {
	a, b := s.pair()
	m := s.nodes[s.rng.IntN(len(s.nodes))]
	switch s.rng.IntN(9) {
	case 0, 1:
		s.ether.cut(a, b)
	case 2: // one way or both
		stall := s.rng.IntN(3) > 0
		s.ether.alter(a, b, func(p *state) { p.stalled = stall })
		if s.rng.IntN(2) == 0 {
			s.ether.alter(b, a, func(p *state) { p.stalled = stall })
		}
	case 3:
		delay := time.Duration(s.rng.IntN(1000)) * time.Millisecond
		s.ether.alter(a, b, func(p *state) { p.delay = delay })
	case 4:
		rate := 1 << (10 + s.rng.IntN(16))
		s.ether.alter(a, b, func(p *state) { p.rate = rate })
	case 5:
		s.ether.alter(a, b, func(p *state) { p.decay = 0.01 * s.rng.Float64() })
	case 6:
		s.ether.heal()
	case 7:
		s.restart(m)
	case 8: // it does not know another one for a while, who may come as a guest
		without := uint64(1 + s.rng.IntN(len(s.nodes)))
		m.forget(without)
		pass(time.Duration(s.rng.Int64N(int64(forgetTime))))
		m.peers(0)
	}
}

// restart gives a member a new life, at another address now and then.
func (s *storm) restart(m *node) {
	m.stop(s.rng.IntN(2) == 0)
	pass(time.Duration(s.rng.IntN(3000)) * time.Millisecond)
	moves := s.rng.IntN(3) == 0
	if moves {
		m.mu.Lock()
		m.hosts++
		m.host = hostOf(m.hosts, m.id)
		m.mu.Unlock()
	}
	m.start()
	m.peers(0)
	if moves {
		for _, i := range s.rng.Perm(len(s.nodes)) {
			s.nodes[i].peers(0)
			pass(time.Duration(s.rng.IntN(500)) * time.Millisecond)
		}
	}
}

// hostOf is where a member listens after some moves; one of them has IPv6.
func hostOf(moves int, id uint64) string {
	if id == 2 {
		return fmt.Sprintf("[fd00:%d::2]:2380", moves)
	}
	return fmt.Sprintf("10.0.%d.%d:2380", moves, id)
}

// launch starts members that know each other.
func (s *storm) launch(n int) {
	for id := range uint64(n) {
		s.nodes = append(s.nodes, &node{
			s: s, id: id + 1, host: hostOf(0, id+1),
			losses: map[uint64][]time.Time{}, forgot: map[uint64][]time.Time{},
			ends: map[uint64]time.Time{},
			last: map[flow]uint64{}, newest: map[flow]uint64{}})
	}
	for _, m := range s.nodes {
		m.start()
	}
	for _, m := range s.nodes {
		m.peers(0)
	}
}

// run is a storm of a minute, and what must be so after it.
func (s *storm) run(seed uint64) {
	if s.rng.IntN(3) == 0 {
		s.ca = newAuthority(s.t)
	}
	s.launch(2 + s.rng.IntN(3))
	s.working.Store(true)
	var workers sync.WaitGroup
	for _, m := range s.nodes {
		workers.Go(func() { m.work(rand.New(rand.NewPCG(seed, m.id))) })
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		pass(time.Duration(s.rng.IntN(2000)) * time.Millisecond)
		s.fault()
	}
	s.working.Store(false)
	workers.Wait()
	s.ether.heal()
	for _, m := range s.nodes {
		m.peers(0)
	}
	pass(calm)
	s.probe()
	pass(notice)
	s.account()
	for _, m := range s.nodes {
		m.stop(false)
	}
}

// probe demands that everything comes now.
func (s *storm) probe() {
	began := time.Now()
	for range 20 {
		for _, m := range s.nodes {
			for _, o := range s.nodes {
				if m != o {
					m.send(m.life, o.id, fast, []int{0})
					m.send(m.life, o.id, bulk, []int{100, 100_000})
				}
			}
		}
		pass(100 * time.Millisecond)
	}
	pass(time.Second)
	n := len(s.nodes)
	if got, want := s.count(began), 20*n*(n-1)*3; got != want {
		s.fail("%v after the storm only %d of %d messages come", calm, got, want)
	}
	for _, m := range s.nodes {
		for _, o := range s.nodes {
			if m != o && m.life.ActiveSince(o.id).IsZero() {
				s.fail("%v after the storm %d is not connected to %d", calm, m.id, o.id)
			}
		}
	}
}

// count is how many messages have come that were sent since.
func (s *storm) count(since time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sent := range s.sent {
		for number := range sent.came {
			if !sent.at[number-1].Before(since) {
				n++
			}
		}
	}
	return n
}

// account demands that who lost messages was told of it: within 100 ms before, or soon after.
func (s *storm) account() {
	total, lost := 0, 0
	for f, sent := range s.sent {
		m := s.nodes[f.from-1]
		for i, at := range sent.at {
			total++
			if sent.came[uint64(i+1)] {
				continue
			}
			lost++
			soon := func(t time.Time) bool {
				return t.After(at.Add(-reportInterval-time.Millisecond)) && t.Before(at.Add(notice))
			}
			// Of who is no peer, or was none for a while, nobody wants to know.
			known := func(t time.Time) bool { return soon(t.Add(forgetTime)) || soon(t) }
			end, ended := m.ends[f.life]
			if !slices.ContainsFunc(m.losses[f.to], soon) && !(ended && soon(end)) &&
				!slices.ContainsFunc(m.forgot[f.to], known) {
				s.fail("%v: nobody was told that message %d was lost", f, i+1)
			}
		}
	}
	s.t.Logf("%d members, %d lives, TLS %v: %d messages, %d lost", len(s.nodes), s.lives.Load(),
		s.ca != nil, total, lost)
}

// TestStorm: transports in a network that stalls, cuts, slows and damages connections, with members
// that begin anew and move. What comes is what was sent, in order, once; losses are told; and after
// the storm all comes. Time is virtual; the seeds give the faults, not the order of goroutines.
func TestStorm(t *testing.T) {
	first := *stormSeed
	if first == 0 {
		first = rand.Uint64N(1 << 32)
	}
	for seed := first; seed < first+uint64(*storms); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 0))
				s := &storm{t: t, rng: rng, ether: newEther(rand.New(rand.NewPCG(seed, 1000))),
					sent: map[flow]*sendings{}, log: &logBuffer{}}
				s.run(seed)
				for _, w := range s.wrong {
					t.Error(w)
				}
				if t.Failed() {
					t.Logf("again: go test ./transport -run TestStorm -storms 1 -storm %d\n%s",
						seed, s.log)
				}
			})
		})
	}
}

// TestSlowLink: what takes longer than any timeout on a slow link comes all the same, for it goes
// on.
func TestSlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &storm{t: t, rng: rand.New(rand.NewPCG(1, 1)), sent: map[flow]*sendings{},
			ether: newEther(rand.New(rand.NewPCG(1, 2))), log: &logBuffer{}}
		s.launch(2)
		pass(time.Second)
		a, b := s.nodes[0], s.nodes[1]
		s.ether.alter(a.host, b.host, func(p *state) { p.rate = 100 << 10 })
		a.send(a.life, b.id, bulk, []int{1000, 6 << 20, 1000})
		pass(90 * time.Second)
		if n := s.count(time.Time{}); n != 3 {
			t.Errorf("%d of 3 messages came in 90 s\n%s", n, s.log)
		}
		if n := len(a.losses[b.id]); n > 0 {
			t.Errorf("told of %d losses", n)
		}
		for _, m := range s.nodes {
			m.stop(false)
		}
	})
}
