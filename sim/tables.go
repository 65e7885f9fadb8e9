package sim

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/state"
	"google.golang.org/protobuf/proto"
)

// stepsBetween is after how many steps of the simulation the members' tables are looked at.
const stepsBetween = 200

// table is a part of the replicated state, as text.
type table struct{ name, text string }

// tables are the parts of a member's state besides its records, which a watch shows. Two members
// that have applied the same entry have the same.
// No encoding of the product is used: it might leave something out on both sides.
func (s *Sim) tables(m *state.Machine) ([]table, error) {
	members := fmt.Sprintf("%x %s %+v", m.Members().ClusterID(), m.Members().Version(),
		m.Members().List())
	for _, o := range s.members {
		if m.Members().Removed(o.id) {
			members += " without " + o.name
		}
	}
	conf, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Conf())
	if err != nil {
		return nil, err
	}
	leases := ""
	for _, l := range m.Leases().All() {
		leases += fmt.Sprintf("%+v %q\n", l, m.Leases().Keys(l.ID))
	}
	return []table{
		{"term", fmt.Sprint(m.Term())},
		{"revision", fmt.Sprint(m.Store().Rev())},
		{"compact revision", fmt.Sprint(m.Store().CompactRev())},
		{"leases", leases},
		{"alarms", fmt.Sprint(m.Alarms().List(alarm.None))},
		{"members", members},
		{"configuration", hex.EncodeToString(conf)},
	}, nil
}

// compareTables holds the tables of members against each other that have applied the same entry.
func (s *Sim) compareTables() error {
	seen := map[uint64]*member{}
	for _, m := range s.living() {
		if m.life == nil || m.life.server == nil {
			continue
		}
		machine := m.life.server.Machine()
		if err := s.plausible(m, machine); err != nil {
			return err
		}
		if m.life.server.Node().Status().Applied != machine.Index() {
			continue // in the middle of it: an entry is executed, and what it did not yet visible
		}
		other := seen[machine.Index()]
		seen[machine.Index()] = m
		if other == nil {
			continue
		}
		s.Stats.Checks++
		a, err := s.tables(other.life.server.Machine())
		if err != nil {
			return err
		}
		b, err := s.tables(machine)
		if err != nil {
			return err
		}
		for i := range a {
			if a[i] != b[i] {
				return fmt.Errorf("%s and %s have applied entry %d, and differ in the %s:\n%s\n%s",
					other.name, m.name, machine.Index(), a[i].name, a[i].text, b[i].text)
			}
		}
	}
	return nil
}

// plausible looks at what a member has done by itself: accused others, compacted the past.
func (s *Sim) plausible(m *member, machine *state.Machine) error {
	if machine.Alarms().Active(alarm.Corrupt) && !s.lied() {
		return fmt.Errorf("%s has the alarm CORRUPT, and no disk has lied", m.name)
	}
	if err := agree(machine); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	compacted := machine.Store().CompactRev()
	if s.opts.Retention == 0 || s.opts.CompactEvery > 0 || compacted < 1 {
		return nil
	}
	// The revision of a time ago may be compacted at, none that is younger; nine tenths of the
	// time, for clocks that run fast.
	const tenths = 9
	if at, ok := s.truth.since[compacted]; ok && s.now-at < s.opts.Retention/10*tenths {
		return fmt.Errorf("%s is compacted at revision %d, which is %v old: %v are to be kept",
			m.name, compacted, (s.now - at).Round(time.Millisecond), s.opts.Retention)
	}
	return nil
}

// agree holds raft's configuration against the membership.
func agree(m *state.Machine) error {
	var voters, learners []uint64
	for _, o := range m.Members().List() {
		if o.IsLearner {
			learners = append(learners, o.ID)
		} else {
			voters = append(voters, o.ID)
		}
	}
	conf := m.Conf()
	if m.Index() == 0 { // it joins, and has no state yet
		return nil
	}
	if !sameIDs(voters, conf.GetVoters()) || !sameIDs(learners, conf.GetLearners()) {
		return fmt.Errorf("at entry %d raft's configuration is %v, and the members are %+v",
			m.Index(), conf, m.Members().List())
	}
	return nil
}

func sameIDs(a, b []uint64) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// lied says whether some disk has not given what was written to it.
func (s *Sim) lied() bool {
	for _, m := range s.members {
		if m.damaged {
			return true
		}
	}
	return s.Stats.Faults["failed read"] > 0
}

// caughtUp says whether all watches have shown all there is, those of clients and the one that is
// inside each member, and have told so where that was asked for.
func (s *Sim) caughtUp() error {
	for _, m := range s.living() {
		if l := m.life; l == nil || l.shown <= s.truth.history.Revision {
			return fmt.Errorf("the watch inside %s has not come to revision %d", m.name,
				s.truth.history.Revision)
		}
	}
	for _, w := range s.load.watchers {
		if last := w.due(); last >= w.next {
			return fmt.Errorf("watcher %d waits for revision %d, and has not got %d", w.number,
				w.next, last)
		}
		if w.create.ProgressNotify && w.s.opts.WatchFor > time.Second &&
			w.next <= s.truth.history.Revision {
			return fmt.Errorf("watcher %d waits for revision %d, and is not told that all up to "+
				"%d is there", w.number, w.next, s.truth.history.Revision)
		}
	}
	return nil
}

// due is the newest revision that has an event for the watcher.
func (w *watcher) due() int64 {
	events := w.s.truth.history.Events
	for i := len(events) - 1; i >= 0; i-- {
		if w.wants(events[i].Change) {
			return events[i].Revision
		}
	}
	return 0
}

// retired says whether the processes of members that were removed have ended. A learner is not
// told: nobody speaks with it, and it asks for no votes.
func (s *Sim) retired() error {
	for _, m := range s.members {
		l := m.life
		if !m.gone || l == nil {
			continue
		}
		if l.server != nil && l.server.Node().Status().Learner {
			continue
		}
		return fmt.Errorf("%s was removed, and goes on", m.name)
	}
	return nil
}

// soon waits until cond is nil, and fails with what it says otherwise.
func (s *Sim) soon(limit time.Duration, what string, cond func() error) bool {
	reason := errors.New("not looked at")
	if s.until(s.now+limit, func() bool {
		reason = cond()
		return reason == nil
	}) {
		return true
	}
	s.fail(fmt.Errorf("%s: %w", what, reason))
	return false
}
