package check

import (
	"strings"
	"testing"
	"time"
)

// seenAt is an event as a watcher gets it.
func seenAt(e Event, created int64, previous *Change) Seen {
	e.Previous = previous
	return Seen{Event: e, Created: created}
}

// stream is a history and a stream of all of it but the last event, with progress up to the end.
func stream() (*History, *Stream) {
	h := &History{Revision: 6, Events: []Event{
		putAt(2, "a", "1"), putAt(3, "b", "2"), putAt(3, "a", "3"), delAt(4, "a"),
		putAt(5, "a", "4"), putAt(6, "b", "5"),
	}}
	one, two, three := h.Events[0].Change, h.Events[1].Change, h.Events[2].Change
	return h, &Stream{
		From: 2, Previous: true, Wanted: func(Change) bool { return true },
		Events: []Seen{
			seenAt(putAt(2, "a", "1"), 2, nil), seenAt(putAt(3, "b", "2"), 3, nil),
			seenAt(putAt(3, "a", "3"), 2, &one), seenAt(delAt(4, "a"), 0, &three),
			seenAt(putAt(5, "a", "4"), 5, nil), seenAt(putAt(6, "b", "5"), 3, &two),
		},
		Progress: []Progress{{1, 0}, {3, 3}, {4, 4}, {6, 6}}, Whole: true,
	}
}

// TestStream shows each lie to the checker and demands that it notices, and the truth, which it
// must accept.
func TestStream(t *testing.T) {
	tests := map[string]struct {
		lie  func(*Stream)
		want string
	}{
		"the truth": {func(*Stream) {}, ""},
		"from the middle": {func(s *Stream) {
			s.From, s.Events, s.Progress = 4, s.Events[3:], nil
		}, ""},
		"not yet all": {func(s *Stream) {
			s.Events, s.Progress, s.Whole = s.Events[:2], nil, false
		}, ""},
		"an unsure past": {func(s *Stream) {
			s.Events[2].Previous, s.Events[2].Unsure = nil, true
		}, ""},
		"not all": {func(s *Stream) {
			s.Events, s.Progress = s.Events[:5], nil
		}, "the watch ends before"},
		"a lost event": {func(s *Stream) {
			s.Events = append(s.Events[:1:1], s.Events[2:]...)
		}, "event 2 of the watch"},
		"twice": {func(s *Stream) {
			s.Events = append(s.Events[:2:2], s.Events[1:]...)
		}, "event 3 of the watch"},
		"out of order": {func(s *Stream) {
			s.Events[1], s.Events[2] = s.Events[2], s.Events[1]
		}, "event 2 of the watch"},
		"behind the end": {func(s *Stream) {
			s.Events = append(s.Events, s.Events[5])
		}, "after the last event"},
		"a wrong creation": {func(s *Stream) { s.Events[2].Created = 3 }, "created at 3, not 2"},
		"no previous value": {func(s *Stream) {
			s.Events[3].Previous = nil
		}, "previous value"},
		"progress too early": {func(s *Stream) {
			s.Progress[1] = Progress{4, 3}
		}, "progress up to revision 4 was told before"},
	}
	for name, tt := range tests {
		h, s := stream()
		tt.lie(s)
		said := ""
		if err := s.Check(h); err != nil {
			said = err.Error()
		}
		if (said == "") != (tt.want == "") || !strings.Contains(said, tt.want) {
			t.Errorf("%s: error %q, want %q", name, said, tt.want)
		}
	}
}

// TestTurns: two who are sure at one time are told.
func TestTurns(t *testing.T) {
	turns := []Turn{{"b", 20, 30}, {"a", 10, 20}, {"c", 35, 30}}
	if err := Turns(turns); err != nil {
		t.Errorf("all is right, but %v", err)
	}
	if Turns(append(turns, Turn{"d", 29, 31})) == nil {
		t.Error("two have held the lock at once, and nobody noticed")
	}
}

// TestLeases lets a key go before and after the time that was promised.
func TestLeases(t *testing.T) {
	all := []*Tenancy{{ID: 1, Key: "one", Until: 50},
		{ID: 2, Key: "two", Until: 50, Ended: true}, {ID: 3, Key: "three", Until: 50}}
	gone := map[string]time.Duration{"one": 50, "two": 20}
	when := func(key string, after int64) (time.Duration, bool) {
		const revision = 7
		at, ok := gone[key]
		return at, ok && after < revision
	}
	if err := Leases(all, when); err != nil {
		t.Errorf("all is right, but %v", err)
	}
	gone["three"] = 49
	if Leases(all, when) == nil {
		t.Error("a key went too early, and nobody noticed")
	}
	all[2].Since = 7 // it went before it was put
	if err := Leases(all, when); err != nil {
		t.Errorf("all is right, but %v", err)
	}
	all[2].Bound = true
	if Leases(all, when) == nil {
		t.Error("a key stays without its lease, and nobody noticed")
	}
}

// TestRefused: what was refused must not be in the history.
func TestRefused(t *testing.T) {
	l, c := NewLedger(), Change{Key: "a", Value: "1"}
	a := l.Try(c)
	h := &History{Revision: 2, Events: []Event{{Change: c, Revision: 2}}}
	if err := l.Check(h); err != nil {
		t.Errorf("of one that was not answered nobody knows, but %v", err)
	}
	l.Refused(a)
	if l.Check(h) == nil {
		t.Error("what was refused was done, and nobody noticed")
	}
}

// TestResolveDeletes: a delete that was not answered is left out if others explain all deletes.
func TestResolveDeletes(t *testing.T) {
	h := &History{Revision: 3, Events: []Event{putAt(2, "a", "1"), delAt(3, "a")}}
	tl := NewTimeline(h, func(string) bool { return true })
	lost := &Op{Kind: Delete, Key: "a", End: Forever}
	told := &Op{Kind: Delete, Key: "a", Revision: 3, Done: true}
	if got := tl.Resolve([]*Op{lost}); len(got) != 1 {
		t.Errorf("it may have been done, and %v is left", got)
	}
	if got := tl.Resolve([]*Op{lost, told}); len(got) != 1 || got[0] != told {
		t.Errorf("it was not done, and %v are left", got)
	}
	if keys := tl.Keys(2); len(keys) != 1 || keys["a"].Value != "1" || len(tl.Keys(3)) != 0 {
		t.Errorf("keys are %v at revision 2, %v at 3", keys, tl.Keys(3))
	}
}
