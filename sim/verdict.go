package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/check"
	"github.com/cairnkv/cairn/command"
	v3 "github.com/cairnkv/cairn/v3"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

const (
	// recoveryTime bounds how long the cluster may take until it serves everywhere again after the
	// last fault.
	recoveryTime = 40 * time.Second
	// settleTime bounds how long members may take to come to the same state when nobody writes.
	settleTime = 20 * time.Second
	// expiryTime bounds how long an abandoned lease may live: its time, twice if the leader
	// changes, and some.
	expiryTime = (2*leaseTTL + 4) * time.Second
	// noLease is the id of a lease that nobody has.
	noLease = 1
	// registersLimit bounds porcupine's time for one key.
	registersLimit = 5 * time.Second
)

// members that are part of the cluster at the end.
func (s *Sim) living() []*member {
	var list []*member
	for _, m := range s.members {
		if m.part() {
			list = append(list, m)
		}
	}
	return list
}

// recover waits until every member answers a linearizable read, and a write, and then until all
// have applied the same.
func (s *Sim) recover() {
	began := s.now
	s.film.mark(began, PhaseMark, "recovery")
	s.nemesis.stop()
	answered := map[*member]bool{}
	s.clients.Go("health", func() {
		rng := stream(s.opts.Seed, 6000)
		for s.failure == nil {
			for _, m := range s.living() {
				if !answered[m] && s.healthy(m) {
					answered[m] = true
				}
			}
			if s.nemesis.busy == 0 && !s.missing(answered) {
				return
			}
			s.rest(between(rng, 20*time.Millisecond, 100*time.Millisecond))
		}
	})
	s.clientsRun()
	ok := s.until(began+recoveryTime, func() bool {
		return s.nemesis.busy == 0 && !s.missing(answered)
	})
	if !ok {
		for _, m := range s.living() {
			if !answered[m] {
				s.fail(fmt.Errorf("%s does not serve %v after the last fault", m.name,
					recoveryTime))
			}
		}
		s.fail(fmt.Errorf("a change of the membership is not done %v after the last fault",
			recoveryTime))
		return
	}
	s.Stats.Recovery = max(s.Stats.Recovery, s.now-began)
	s.logf("all members serve again")
}

func (s *Sim) missing(answered map[*member]bool) bool {
	for _, m := range s.living() {
		if !answered[m] {
			return true
		}
	}
	return false
}

// healthy reads, writes and asks for a lease that is not there through a member. A learner does
// nothing of it: it must know a leader.
func (s *Sim) healthy(m *member) bool {
	if l := m.life; l != nil && l.backend() != nil && l.backend().Learner() {
		return l.backend().Leader() != 0
	}
	s.disarm(m)
	_, err := s.rpc(m, "health", callTimeout,
		func(_ context.Context, l *life, b v3.Backend) (any, error) { return nil, barrier(l, b) })
	if err == nil {
		err = s.submit(m, command.Put, &pb.PutRequest{Key: []byte("health")}, &pb.PutResponse{})
	}
	if err == nil {
		if _, err = s.keepAlive(m, noLease); errors.Is(err, cairn.ErrLeaseNotFound) {
			err = nil
		}
	}
	s.logf("health of %s: %v", m.name, err)
	return err == nil
}

// disarm takes back alarms of a full disk, as an operator does who has made room.
func (s *Sim) disarm(m *member) {
	l := m.life
	if l == nil || l.backend() == nil {
		return
	}
	for _, a := range l.backend().Status().Alarms {
		s.submit(m, command.Alarm, &pb.AlarmRequest{
			Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.Member,
			Alarm: pb.AlarmType(a.Type),
		}, &pb.AlarmResponse{})
	}
}

// settle lets the clients stop and the members come to the same state.
func (s *Sim) settle() {
	s.film.mark(s.now, PhaseMark, "settling")
	s.load.over = true
	ok := s.until(s.now+settleTime, func() bool { return s.load.active == 0 })
	if !ok {
		s.fail(errors.New("a client never stops"))
		return
	}
	s.until(s.now+expiryTime, func() bool { return s.leases() == 0 })
	if n := s.leases(); n > 0 {
		s.fail(fmt.Errorf("%d leases have lived by far too long", n))
		return
	}
	ok = s.soon(settleTime, "the members do not come to the same state", s.apart) &&
		s.soon(settleTime, "a watch lacks something", s.caughtUp) &&
		s.soon(recoveryTime, "a member does not end", s.retired)
	if !ok {
		return
	}
	for _, w := range s.load.watchers {
		w.stream.Whole = true
	}
}

// leases counts the leases, as the member sees it that has applied most.
func (s *Sim) leases() (n int) {
	var index uint64
	for _, m := range s.living() {
		if m.life == nil || m.life.server == nil {
			continue
		}
		if machine := m.life.server.Machine(); machine.Index() >= index {
			index, n = machine.Index(), machine.Leases().Len()
		}
	}
	return n
}

// apart says in what the members differ.
func (s *Sim) apart() error {
	var first *member
	for _, m := range s.living() {
		if m.life == nil || m.life.server == nil {
			return fmt.Errorf("%s does not run", m.name)
		}
		if first == nil {
			first = m
			continue
		}
		a, b := first.life.server.Machine(), m.life.server.Machine()
		switch {
		case a.Index() != b.Index():
			return fmt.Errorf("%s has applied %d, %s %d", first.name, a.Index(), m.name, b.Index())
		case a.Store().Rev() != b.Store().Rev():
			return fmt.Errorf("%s is at revision %d, %s at %d", first.name, a.Store().Rev(),
				m.name, b.Store().Rev())
		case a.Store().CompactRev() != b.Store().CompactRev():
			return fmt.Errorf("%s is compacted at %d, %s at %d", first.name,
				a.Store().CompactRev(), m.name, b.Store().CompactRev())
		}
	}
	return s.compareTables()
}

// verdict checks everything.
func (s *Sim) verdict() error {
	h := &s.truth.history
	if err := s.sameState(); err != nil {
		return err
	}
	if s.truth.gap {
		s.Stats.Gaps++
		return nil
	}
	timeline := check.NewTimeline(h, isKV)
	ops := timeline.Resolve(s.load.ops)
	s.Stats.Checked += int64(len(ops))
	for _, c := range []func() error{
		func() error { return s.load.ledger.Check(h) },
		func() error { return timeline.CheckStates(ops) },
		func() error { return check.Order(ops) },
		func() error { return s.registers(ops) },
		s.checkWatchers,
		func() error { return check.Locks(h, lockPrefix, s.load.guarded) },
		func() error { return check.Turns(s.load.turns) },
		s.checkLeases,
		func() error { return s.checkStores(timeline) },
	} {
		s.Stats.Checks++
		if err := c(); err != nil {
			return err
		}
	}
	return nil
}

// registers has porcupine look for an order. That it does not find out in time is no failure: the
// other checks say all that it could.
func (s *Sim) registers(ops []*check.Op) error {
	err := check.Registers(ops, registersLimit, s.opts.Dir)
	if errors.Is(err, check.ErrUndecided) {
		s.Stats.Undecided++
		return nil
	}
	return err
}

func (s *Sim) checkLeases() error {
	var all []*check.Tenancy
	for _, t := range s.load.tenants {
		all = append(all, &t.Tenancy)
		for _, k := range t.more {
			k.Until, k.Ended = t.Until, t.Ended
			all = append(all, k)
		}
		all = append(all, t.freed...)
	}
	return check.Leases(all, s.truth.goneAfter)
}

func (s *Sim) checkWatchers() error {
	for _, w := range s.load.watchers {
		for _, st := range append(w.past, w.stream) {
			s.Stats.Checks++
			if err := st.Check(&s.truth.history); err != nil {
				return fmt.Errorf("watcher %d from revision %d: %w", w.number, st.From, err)
			}
		}
	}
	return nil
}

// sameState compares the members' hashes over all that they have at the newest revision.
func (s *Sim) sameState() error {
	var first *member
	var hash v3.HashKV
	for _, m := range s.living() {
		h, err := m.life.backend().HashKV(context.Background(), 0)
		if err != nil {
			return fmt.Errorf("the hash of %s: %w", m.name, err)
		}
		s.Stats.Checks++
		if first == nil {
			first, hash = m, h
		} else if h != hash {
			return fmt.Errorf("%s has the hash %+v, %s has %+v", first.name, hash, m.name, h)
		}
	}
	return nil
}

// checkStores holds what each member has at the end against the history.
func (s *Sim) checkStores(timeline *check.Timeline) error {
	for _, m := range s.living() {
		reply, err := m.life.backend().AppendRange(context.Background(), nil,
			&cairn.RangeRequest{Key: []byte{0}, End: []byte{0}}, v3.Unbounded)
		if err != nil {
			return fmt.Errorf("the content of %s: %w", m.name, err)
		}
		var r pb.RangeResponse
		if err := proto.Unmarshal(reply, &r); err != nil {
			return err
		}
		want := timeline.Keys(s.truth.history.Revision)
		for _, kv := range r.Kvs {
			v := valueOf(kv)
			if v != want[string(kv.Key)] {
				return fmt.Errorf("at the end %s has %s = %+v, and should have %+v", m.name,
					kv.Key, v, want[string(kv.Key)])
			}
			delete(want, string(kv.Key))
		}
		for key, v := range want {
			return fmt.Errorf("at the end %s lacks %s = %+v", m.name, key, v)
		}
	}
	return nil
}
