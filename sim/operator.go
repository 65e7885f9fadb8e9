package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	cairn "github.com/cairnkv/cairn"
	raftmember "github.com/cairnkv/cairn/member"
	v3 "github.com/cairnkv/cairn/v3"
)

// maxMembers bounds the machines of a run, those that have left included.
const maxMembers = 9

// operatorTries bounds how often a change of the membership is tried.
const operatorTries = 40

// change lets the operator do something to the membership, as a task, unless something is under
// way.
func (n *nemesis) change(what string, fn func()) {
	if n.busy > 0 {
		return
	}
	n.busy++
	n.s.clients.Go(what, func() {
		defer func() { n.busy-- }()
		fn()
	})
	n.s.clientsRun()
}

// insist asks one member after the other until a change is done. Who asks again must take what an
// earlier try has done for an answer.
func (n *nemesis) insist(rng *rand.Rand, what string, fn served) (any, bool) {
	for tries := 0; tries < operatorTries && n.s.failure == nil; {
		m := n.some(rng, running)
		if m == nil {
			n.s.rest(200 * time.Millisecond)
			continue
		}
		v, err := n.s.rpc(m, what, 2*callTimeout,
			func(ctx context.Context, l *life, b v3.Backend) (any, error) {
				if b.Learner() {
					return nil, cairn.ErrNotForLearner
				}
				return fn(ctx, l, b)
			})
		n.s.logf("%s by %s: %v", what, m.name, err)
		if err == nil {
			n.s.Stats.MemberChanges++
			if all, ok := v.([]raftmember.Member); ok {
				n.told = 0
				for _, m := range all {
					if !m.IsLearner {
						n.told++
					}
				}
			}
			return v, true
		}
		api := (*cairn.Error)(nil)
		switch {
		case errors.Is(err, cairn.ErrUnhealthy) && n.anyDamaged():
			tries++ // perhaps it gets well only when the operator has time for it
		case errors.As(err, &api) && api.Code != cairn.CodeUnavailable:
			tries++ // an answer; who does not answer is asked again
		}
		n.s.rest(between(rng, 50*time.Millisecond, 500*time.Millisecond))
	}
	return nil, false
}

func (n *nemesis) addMember(rng *rand.Rand) {
	if len(n.s.members) >= maxMembers || n.repairing != nil {
		return
	}
	n.change("member add", func() { n.add(rng, rng.IntN(3) > 0) })
}

// add adds a machine to the cluster, as a learner at first or not.
func (n *nemesis) add(rng *rand.Rand, learner bool) {
	s := n.s
	m := s.newMember()
	m.existing = true
	if !learner && n.votersLeft() == 1 {
		n.startAhead(m)
	}
	v, ok := n.insist(rng, "member add", func(ctx context.Context, _ *life, b v3.Backend) (
		any, error,
	) {
		// Not linearizably: it may be the one that the quorum lacks.
		if all, err := b.Members(ctx, false); err != nil || m.among(all) != nil {
			return all, err
		}
		_, all, err := b.AddMember(ctx, []string{m.url}, learner)
		return all, err
	})
	m.rejoining = false
	if !ok {
		m.kill()
		m.gone = true // perhaps it was added after all, and never starts
		n.forget(rng, m)
		return
	}
	m.join(v.([]raftmember.Member))
	m.start()
	if !learner || rng.IntN(4) == 0 { // some stay learners
		return
	}
	n.insist(rng, "member promote", func(ctx context.Context, _ *life, b v3.Backend) (any, error) {
		all, err := b.PromoteMember(ctx, m.id)
		if errors.Is(err, cairn.ErrMemberNotLearner) {
			return all, nil
		}
		return all, err
	})
}

// startAhead starts a second member before it is one, and again until it is: a cluster of one that
// has taken it serves only with its vote, and if the answer is lost it cannot say so.
func (n *nemesis) startAhead(m *member) {
	initial := []string{m.name + "=" + m.url}
	for _, o := range n.s.living() {
		initial = append(initial, o.name+"="+o.url)
	}
	m.initial = strings.Join(initial, ",")
	m.rejoining = true // nobody needs to ask for it
	m.start()
}

// among is the member as the cluster knows it.
func (m *member) among(all []raftmember.Member) *raftmember.Member {
	for i := range all {
		if len(all[i].PeerURLs) > 0 && all[i].PeerURLs[0] == m.url {
			return &all[i]
		}
	}
	return nil
}

// join notes what the cluster has said of itself.
func (m *member) join(all []raftmember.Member) {
	var initial []string
	for _, o := range all {
		name := "unknown"
		for _, other := range m.sim.members {
			if other.url == o.PeerURLs[0] {
				name = other.name
			}
		}
		initial = append(initial, name+"="+o.PeerURLs[0])
		if o.PeerURLs[0] == m.url {
			m.id = o.ID
		}
	}
	m.initial = strings.Join(initial, ",")
}

// rejoin tells a machine that could not begin who the members are now. Until somebody serves who
// can say it, the machine is started as it was, as by its supervisor: perhaps it only reached
// nobody, and the quorum may lack just this one.
func (n *nemesis) rejoin(m *member) {
	rng := stream(n.s.opts.Seed, uint64(60_000+n.s.Stats.Starts))
	n.s.after(between(rng, 100*time.Millisecond, time.Second), m.start)
	if m.rejoining {
		return
	}
	m.rejoining = true
	n.busy++
	n.s.clients.Go("member list", func() {
		defer func() { n.busy--; m.rejoining = false }()
		v, ok := n.insist(rng, "member list", func(ctx context.Context, _ *life, b v3.Backend) (
			any, error,
		) {
			all, err := b.Members(ctx, false)
			if err == nil && m.among(all) == nil { // who was asked may not know yet
				all, err = b.Members(ctx, true)
			}
			return all, err
		})
		all, _ := v.([]raftmember.Member)
		if !ok || m.among(all) == nil {
			if ok {
				m.gone = true
				m.kill()
			}
			return
		}
		m.join(all)
		m.start()
	})
	n.s.after(0, n.s.clientsRun)
}

// forget removes a machine from the cluster that may be a member of it.
func (n *nemesis) forget(rng *rand.Rand, m *member) bool {
	_, ok := n.insist(rng, "member remove", func(ctx context.Context, _ *life, b v3.Backend) (
		any, error,
	) {
		all, err := b.Members(ctx, true)
		if err != nil {
			return nil, err
		}
		known := m.among(all)
		if known == nil {
			return all, nil
		}
		return b.RemoveMember(ctx, known.ID)
	})
	return ok
}

func (n *nemesis) removeMember(rng *rand.Rand) {
	if n.votersLeft() < 3 || n.repairing != nil || n.anyDamaged() {
		return
	}
	if m := n.some(rng, func(m *member) bool { return m.id != 0 }); m != nil {
		n.change("member remove", func() {
			if n.forget(rng, m) {
				m.gone = true
			}
		})
	}
}

// replaceMember gives a member a new disk and lets it join anew.
func (n *nemesis) replaceMember(rng *rand.Rand) {
	if n.votersLeft() < 3 || n.repairing != nil || n.anyDamaged() || n.busy > 0 {
		return
	}
	if m := n.some(rng, func(m *member) bool { return m.id != 0 }); m != nil {
		n.replace(m)
	}
}

// replace ends a member's process and lets another machine take its place.
func (n *nemesis) replace(m *member) {
	rng := stream(n.s.opts.Seed, uint64(50_000+n.s.Stats.Starts))
	m.kill()
	n.repairing = m
	m.gone = true
	n.busy++
	n.s.clients.Go("member replace", func() {
		defer func() { n.busy-- }()
		if n.forget(rng, m) && len(n.s.members) < maxMembers {
			n.add(rng, rng.IntN(2) == 0)
		}
		n.repairing = nil
	})
	n.s.after(0, n.s.clientsRun)
}
