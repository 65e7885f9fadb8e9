package sim

import (
	"encoding/hex"
	"errors"
	"fmt"
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
func tables(m *state.Machine) ([]table, error) {
	members, err := m.Members().Encode(nil)
	if err != nil {
		return nil, err
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
		{"members", string(members)},
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
		other := seen[machine.Index()]
		seen[machine.Index()] = m
		if other == nil {
			continue
		}
		s.Stats.Checks++
		a, err := tables(other.life.server.Machine())
		if err != nil {
			return err
		}
		b, err := tables(machine)
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

// lied says whether some disk has not given what was written to it.
func (s *Sim) lied() bool {
	for _, m := range s.members {
		if m.damaged {
			return true
		}
	}
	return s.Stats.Faults["failed read"] > 0
}

// caughtUp says whether all watches have shown all there is: those of clients, and the one that is
// inside each member. reason says which has not.
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
