package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	v3 "github.com/cairnkv/cairn/v3"
)

// allKinds lists the faults.
func allKinds() []kind {
	return []kind{
		{"partition", 0.5, 6, (*nemesis).partition},
		{"one-way cut", 0.3, 6, (*nemesis).oneWay},
		{"isolation", 0.4, 5, (*nemesis).isolate},
		{"slow links", 0.3, 5, (*nemesis).slowLinks},
		{"power failure", 0.5, 8, (*nemesis).powerFailure},
		{"power failure of all", 0.2, 2, (*nemesis).blackout},
		{"power failure at an operation", 0.5, 10, (*nemesis).crashAtOp},
		{"power failure near a file", 0.5, 12, (*nemesis).crashNear},
		{"power failure after a vote", 0.3, 10, (*nemesis).crashOnVote},
		{"pair cut off", 0.3, 8, (*nemesis).cutPair},
		{"kill", 0.4, 8, (*nemesis).killOne},
		{"stop", 0.3, 4, (*nemesis).stopOne},
		{"pause", 0.4, 6, (*nemesis).pauseOne},
		{"slow disk", 0.3, 4, (*nemesis).slow},
		{"hanging disk", 0.2, 3, (*nemesis).hang},
		{"full disk", 0.15, 3, (*nemesis).fill},
		{"disk error", 0.15, 3, (*nemesis).diskError},
		{"read error", 0.1, 3, (*nemesis).readError},
		{"bit rot", 0.15, 4, (*nemesis).rot},
		{"misdirected write", 0.1, 4, (*nemesis).misdirect},
		{"clock jump", 0.2, 4, (*nemesis).jump},
		{"transfer", 0.3, 6, (*nemesis).transfer},
		{"member added", 0.25, 3, (*nemesis).addMember},
		{"member removed", 0.2, 2, (*nemesis).removeMember},
		{"member replaced", 0.15, 2, (*nemesis).replaceMember},
		{"older version", 0.15, 4, (*nemesis).older},
		{"alarm", 0.15, 4, (*nemesis).alarm},
	}
}

// outage is how long a fault lasts.
func outage(rng *rand.Rand) time.Duration {
	if rng.IntN(3) == 0 {
		return between(rng, 10*time.Millisecond, 300*time.Millisecond)
	}
	return between(rng, 300*time.Millisecond, 8*time.Second)
}

// cut cuts links for a while.
func (n *nemesis) cut(links []link, d time.Duration) {
	for _, l := range links {
		n.s.net.cut[l] = true
	}
	n.later(d, func() {
		for _, l := range links {
			delete(n.s.net.cut, l)
		}
	})
}

func (n *nemesis) partition(rng *rand.Rand) {
	side := map[int]bool{clientSide: rng.IntN(2) == 0}
	for _, m := range n.s.members {
		side[m.index] = rng.IntN(2) == 0
	}
	var links []link
	for a := clientSide; a < len(n.s.members); a++ {
		for b := clientSide; b < len(n.s.members); b++ {
			if side[a] != side[b] && (a != clientSide && b != clientSide || rng.IntN(2) == 0) {
				links = append(links, link{a, b})
			}
		}
	}
	n.cut(links, outage(rng))
}

func (n *nemesis) oneWay(rng *rand.Rand) {
	a, b := pick(rng, n.s.members), pick(rng, n.s.members)
	n.cut([]link{{a.index, b.index}}, outage(rng))
}

func (n *nemesis) isolate(rng *rand.Rand) {
	m := n.some(rng, func(m *member) bool { return rng.IntN(2) == 0 || n.leads(m) })
	if m == nil {
		return
	}
	var links []link
	for _, o := range n.s.members {
		if o != m {
			links = append(links, link{m.index, o.index}, link{o.index, m.index})
		}
	}
	n.cut(links, outage(rng))
}

func (n *nemesis) slowLinks(rng *rand.Rand) {
	var links []link
	for a := clientSide; a < len(n.s.members); a++ {
		for b := clientSide; b < len(n.s.members); b++ {
			if rng.IntN(3) == 0 {
				links = append(links, link{a, b})
				n.s.net.slow[link{a, b}] = true
			}
		}
	}
	n.later(outage(rng), func() {
		for _, l := range links {
			delete(n.s.net.slow, l)
		}
	})
}

// leads says whether a member believes to lead.
func (n *nemesis) leads(m *member) bool {
	return m.life != nil && m.life.server != nil && m.life.server.Node().Status().IsLeader
}

// victim is a member that runs, often the leader.
func (n *nemesis) victim(rng *rand.Rand) *member {
	if rng.IntN(2) == 0 {
		if m := n.some(rng, func(m *member) bool { return running(m) && n.leads(m) }); m != nil {
			return m
		}
	}
	return n.some(rng, running)
}

func (n *nemesis) powerFailure(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		n.s.logf("%s: loses power", m.name)
		m.powerLoss()
		n.comeback(m, rng)
	}
}

func (n *nemesis) blackout(rng *rand.Rand) {
	for _, m := range n.s.members {
		if m.life != nil {
			m.powerLoss()
			n.comeback(m, rng)
		}
	}
}

func (n *nemesis) crashAtOp(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		m.crashIn = 1 + rng.IntN(60)
		m.afterCrash = func() { n.comeback(m, rng) }
	}
}

// delicate are files at whose writing a power failure meets the order of several steps.
var delicate = []string{
	"INSTALLING", "INSTALLING", "REPAIRING", "PROVEN", "checkpoint/", "incoming/", "revlog/",
	"spare", ".wal", "donors",
}

func (n *nemesis) crashNear(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		m.crashNear = pick(rng, delicate)
		m.afterCrash = func() { n.comeback(m, rng) }
	}
}

func (n *nemesis) crashOnVote(rng *rand.Rand) {
	if m := n.some(rng, running); m != nil {
		m.crashOnVote = true
		m.afterCrash = func() { n.comeback(m, rng) }
	}
}

// cutPair cuts two members off from each other, so that they may see different leaders.
func (n *nemesis) cutPair(rng *rand.Rand) {
	a, b := pick(rng, n.s.members), pick(rng, n.s.members)
	if rng.IntN(2) == 0 {
		if leader := n.some(rng, n.leads); leader != nil {
			a = leader
		}
	}
	if a != b {
		n.cut([]link{{a.index, b.index}, {b.index, a.index}}, outage(rng))
	}
}

func (n *nemesis) killOne(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		n.s.logf("%s: is killed", m.name)
		m.kill()
		n.comeback(m, rng)
	}
}

// stopOne ends a process as an operator does.
func (n *nemesis) stopOne(rng *rand.Rand) {
	m := n.victim(rng)
	if m == nil || m.life.server == nil || m.life.stopping {
		return
	}
	l := m.life
	l.stopping = true
	n.s.logf("%s: is asked to stop", m.name)
	l.Go("stop", func() {
		if err := l.server.Stop(); err != nil && !m.excused {
			n.s.fail(fmt.Errorf("%s does not stop cleanly: %w", m.name, err))
		}
		n.s.after(0, func() {
			if m.life == l {
				m.kill()
				n.comeback(m, rng)
			}
		})
	})
	m.touch()
}

func (n *nemesis) pauseOne(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		n.s.logf("%s: is paused", m.name)
		m.pause()
		n.later(outage(rng), m.resume)
	}
}

func (n *nemesis) slow(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		m.slowDisk = true
		n.later(outage(rng), func() { m.slowDisk = false })
	}
}

func (n *nemesis) hang(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		m.hangingDisk = true
		n.later(outage(rng), func() {
			m.hangingDisk = false
			m.touch()
		})
	}
}

// fill leaves little room on a disk for a while.
func (n *nemesis) fill(rng *rand.Rand) {
	m := n.victim(rng)
	if m == nil {
		return
	}
	mem := m.life.disk.mem
	mem.SetCapacity(mem.Used() + rng.Int64N(64<<10))
	m.excused = true // without room a start fails
	n.later(outage(rng), func() {
		m.mem.SetCapacity(0)
		if m.life != nil {
			m.life.disk.mem.SetCapacity(0)
		}
	})
}

func (n *nemesis) diskError(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		m.failIn = 1 + rng.IntN(60)
	}
}

func (n *nemesis) readError(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		m.unreadable = 1 + rng.IntN(20)
	}
}

func (n *nemesis) rot(rng *rand.Rand) {
	if m := n.some(rng, n.mayDamage); m != nil {
		n.flip(m, rng)
	}
}

func (n *nemesis) misdirect(rng *rand.Rand) {
	if m := n.some(rng, n.mayDamage); m != nil && running(m) {
		n.repairing = m
		m.misdirect = 1 + rng.IntN(20)
	}
}

func (n *nemesis) jump(rng *rand.Rand) {
	if m := n.victim(rng); m != nil {
		m.clock.JumpWall(between(rng, -2*time.Hour, 2*time.Hour))
	}
}

func (n *nemesis) transfer(rng *rand.Rand) {
	leader := n.some(rng, func(m *member) bool { return running(m) && n.leads(m) })
	to := n.some(rng, func(m *member) bool { return m.id != 0 })
	if leader == nil || to == nil {
		return
	}
	n.s.clients.Go("transfer", func() {
		_, err := n.s.rpc(leader, "move leader", callTimeout,
			func(ctx context.Context, _ *life, b v3.Backend) (any, error) {
				return nil, b.MoveLeader(ctx, to.id)
			})
		n.s.logf("transfer from %s to %s: %v", leader.name, to.name, err)
	})
	n.s.clientsRun()
}
