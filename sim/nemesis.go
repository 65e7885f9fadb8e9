package sim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cairnkv/cairn/vfs"
)

// kind is a kind of fault.
type kind struct {
	name string
	odds float64 // that a run has it
	rate float64 // in a minute, where it does
	do   func(n *nemesis, rng *rand.Rand)
}

// kinds are the faults that come from time to time.
var kinds = allKinds()

// nemesis lets faults come over the cluster.
type nemesis struct {
	s     *Sim
	over  bool
	plans int
	// repairing is the member that the operator is replacing, or whose disk lies: one at a time,
	// for what a majority has lost is lost.
	repairing *member
	failures  map[*member]int // starts in a row that failed
	told      int             // voters, as the last change was answered; 0: none was
	busy      int             // changes of the membership under way
}

func newNemesis(s *Sim) *nemesis { return &nemesis{s: s, failures: map[*member]int{}} }

// plan draws when which fault comes. Each has a generator of its own, so that to leave one out
// changes no other.
func (n *nemesis) plan() {
	for _, k := range kinds {
		rate := n.s.opts.Faults.Rates[k.name]
		if rate <= 0 {
			continue
		}
		at := time.Duration(0)
		for {
			gap := -math.Log(1-n.s.faultRNG.Float64()) * float64(time.Minute) / rate
			if at += time.Duration(gap); at >= n.s.opts.Duration {
				break
			}
			number := n.plans
			n.plans++
			if n.s.opts.Skip[number] {
				continue
			}
			n.s.after(at, func() {
				if n.over {
					return
				}
				n.s.logf("fault %d: %s", number, k.name)
				n.s.film.mark(n.s.now, FaultMark, fmt.Sprintf("%d %s", number, k.name))
				n.s.Stats.Faults[k.name]++
				n.s.Stats.FaultCount++
				k.do(n, stream(n.s.opts.Seed, uint64(100_000+number)))
			})
		}
	}
}

// later undoes something after a while, or when the faults are over.
func (n *nemesis) later(d time.Duration, fn func()) {
	n.s.after(d, func() {
		if !n.over {
			fn()
		}
	})
}

// stop ends all faults; the members get well.
func (n *nemesis) stop() {
	n.over = true
	n.s.net.faulty = false
	n.s.net.heal()
	for _, m := range n.s.members {
		m.heal()
		m.resume()
		if m.damaged || m.lacks != 0 {
			m.kill() // a start reads all that is stored, and repairs it or refuses
		}
		m.lacks = 0
		if m.life == nil {
			m.start()
		} else {
			m.touch()
		}
	}
}

// heal makes the machine a good one, as far as what it has done can be undone.
func (m *member) heal() {
	m.crashIn, m.failIn, m.unreadable, m.misdirect = 0, 0, 0, 0
	m.crashNear, m.crashOnVote = "", false
	m.slowDisk, m.hangingDisk = false, false
	m.mem.SetCapacity(0)
	if m.life != nil {
		m.life.disk.mem.SetCapacity(0)
	}
}

// some draws a member that is part of the cluster, nil if there is none for which ok holds.
func (n *nemesis) some(rng *rand.Rand, ok func(*member) bool) *member {
	var list []*member
	for _, m := range n.s.members {
		if m.part() && ok(m) {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return pick(rng, list)
}

func running(m *member) bool { return m.life != nil && !m.paused }

// comeback starts a member again after a while.
func (n *nemesis) comeback(m *member, rng *rand.Rand) {
	m.crashIn, m.crashNear, m.crashOnVote = 0, "", false
	if rng.IntN(3) == 0 { // it is back before the others have noticed
		n.s.after(between(rng, time.Millisecond, 50*time.Millisecond), m.start)
		return
	}
	d := between(rng, 5*time.Millisecond, 8*time.Second)
	n.s.after(d, m.start)
}

// exited takes a process that ended by what its disk has done. It is started again; if that does
// not help, the operator replaces the member.
func (n *nemesis) exited(m *member, err error) {
	s := n.s
	if m.lostPages { // what a failed sync has not written may be gone
		m.lostPages = false
		m.mem = m.mem.CrashClone(s.diskRNG)
	}
	// A full disk and an operation that fails once are no reason why the next start should fail.
	if m.startFailure != nil && !errors.Is(err, vfs.ErrNoSpace) && !errors.Is(err, errIO) {
		n.failures[m]++
	}
	if n.failures[m] < 3 || m.damaged && n.busy > 0 {
		s.after(between(s.faultRNG, time.Millisecond, time.Second), m.start)
		return
	}
	n.failures[m] = 0
	if !m.damaged || n.votersLeft() < 3 {
		if !m.damaged {
			s.fail(fmt.Errorf("%s does not start any more: %w", m.name, err))
		}
		return
	}
	n.replace(m)
}

// pause stops the process for a while.
func (m *member) pause() { m.paused = true }

func (m *member) resume() {
	if m.paused {
		m.paused = false
		m.sim.logf("%s: goes on", m.name)
		m.touch()
	}
}

// mayDamage says whether the disk of a member may lie: no other one's does, and others have all.
func (n *nemesis) mayDamage(m *member) bool {
	if n.votersLeft() < 3 || n.repairing != nil && n.repairing != m || n.busy > 0 {
		return false
	}
	for _, o := range n.s.members {
		if o != m && o.damaged && !o.gone {
			return false
		}
	}
	return m.id != 0
}

// votersLeft counts the voters. Those that run may not know yet of a removal that the operator was
// told of.
func (n *nemesis) votersLeft() int {
	count := len(n.s.voters())
	if n.told > 0 {
		count = min(count, n.told)
	}
	return count
}

// anyDamaged says whether some disk lies.
func (n *nemesis) anyDamaged() bool {
	for _, m := range n.s.members {
		if m.damaged && !m.gone {
			return true
		}
	}
	return false
}

// voters are the members that the newest state names, as far as one that runs knows.
func (s *Sim) voters() []*member {
	var list []*member
	var index uint64
	for _, m := range s.members {
		if m.life == nil || m.life.server == nil {
			continue
		}
		if machine := m.life.server.Machine(); list == nil || machine.Index() > index {
			index, list = machine.Index(), nil
			for _, v := range machine.Members().List() {
				if o := s.byID(v.ID); o != nil && !v.IsLearner {
					list = append(list, o)
				}
			}
		}
	}
	if list == nil {
		for _, m := range s.members {
			if m.part() {
				list = append(list, m)
			}
		}
	}
	return list
}

// flip lets a bit of a member's files decay.
func (n *nemesis) flip(m *member, rng *rand.Rand) {
	fs := m.mem
	if m.life != nil {
		fs = m.life.disk.mem
	}
	dir := "data/" + pick(rng, []string{"wal", "revlog", "checkpoint"})
	names, err := fs.List(dir)
	if err != nil {
		return
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.Contains(n, "LOCK") })
	if len(names) == 0 {
		return
	}
	name := dir + "/" + pick(rng, names)
	info, err := fs.Stat(name)
	if err != nil || info.Size() == 0 {
		return
	}
	at := rng.Int64N(info.Size())
	if err := vfs.Flip(fs, name, at, uint(rng.IntN(8))); err != nil {
		return
	}
	n.s.logf("%s: a bit of %s at %d decays", m.name, base(name), at)
	m.damage()
}
