package check

import (
	"fmt"
	"slices"
	"sync"
)

// Change is one change of one key: a put of a value that is never put again, or a delete.
type Change struct {
	Key, Value string
	Delete     bool
}

// Event is a change as a watch reports it.
type Event struct {
	Change
	Revision int64
	Previous *Change // with prev_kv: what was there before, nil if nothing
}

// Attempt is one request of a writer: changes that must come together or not at all.
type Attempt struct {
	changes []Change
	acked   int64 // revision of the acknowledgement, 0 if none has come
	gone    bool  // acknowledged, but there was nothing to delete
	refused bool  // it was said that it will not be done
	seen    int64 // revision under which the history has it, 0 if it has not
}

// Ledger is what writers have tried and were told. Its methods may be called from everywhere.
type Ledger struct {
	// Foreign tells keys that others write too, so that the ledger does not know all of it;
	// revisions with such keys alone are not looked at. nil: there are none. Set it before use.
	Foreign func(key string) bool

	mu       sync.Mutex // guards the fields below
	puts     map[string]*Attempt
	deletes  map[string][]*Attempt // by key
	attempts []*Attempt
	newest   int64 // highest acknowledged revision
	acked    int
	unknown  int
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{puts: make(map[string]*Attempt), deletes: make(map[string][]*Attempt)}
}

// Try notes that changes are about to be sent in one request.
func (l *Ledger) Try(changes ...Change) *Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &Attempt{changes: changes}
	l.attempts = append(l.attempts, a)
	for _, c := range changes {
		if c.Delete {
			l.deletes[c.Key] = append(l.deletes[c.Key], a)
		} else {
			l.puts[c.Value] = a
		}
	}
	return a
}

// Acked notes that a request was answered with a revision; changed is false if it had nothing to
// change.
func (l *Ledger) Acked(a *Attempt, revision int64, changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.acked, a.gone = revision, !changed
	l.newest = max(l.newest, revision)
	l.acked++
}

// Unknown notes that a request was not answered: it may or may not have been done.
func (l *Ledger) Unknown(*Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unknown++
}

// Refused notes that a request was answered with an error that says that it was not and will not
// be done: it must not be in the history.
func (l *Ledger) Refused(a *Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.refused = true
}

// Counts returns how many requests were acknowledged and how many were not answered, and the
// highest acknowledged revision.
func (l *Ledger) Counts() (acked, unknown int, newest int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.unknown, l.newest
}

// History is every event there was, in order, as read back from the server.
type History struct {
	Events   []Event
	Revision int64 // all events up to here are in
}

// Extend appends events and checks that each revision is the successor of the one before.
func (h *History) Extend(events []Event, revision int64) error {
	for _, e := range events {
		last := h.Last()
		if e.Revision != last && e.Revision != last+1 {
			return fmt.Errorf("revision %d follows revision %d in the history", e.Revision, last)
		}
		if e.Revision <= h.Revision {
			return fmt.Errorf("revision %d came after the history up to %d was complete",
				e.Revision, h.Revision)
		}
		h.Events = append(h.Events, e)
	}
	if last := h.Last(); last != revision {
		return fmt.Errorf("the history ends with revision %d, but the store is at %d", last,
			revision)
	}
	h.Revision = revision
	return nil
}

// Last returns the revision of the last event; the store begins with revision 1.
func (h *History) Last() int64 {
	if len(h.Events) == 0 {
		return 1
	}
	return h.Events[len(h.Events)-1].Revision
}

// Check holds the ledger against the history: every acknowledged request up to its revision must
// be in it, whole and under the revision that was acknowledged; everything in it must have been
// tried, and once. Call it only when the history is complete up to a revision that the store had
// after all acknowledgements so far.
func (l *Ledger) Check(h *History) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.attempts {
		a.seen = 0
	}
	byRevision := make(map[int64][]Change)
	for _, e := range h.Events {
		byRevision[e.Revision] = append(byRevision[e.Revision], e.Change)
	}
	for revision := int64(2); revision <= h.Revision; revision++ {
		if l.foreign(byRevision[revision]) {
			continue
		}
		if err := l.match(revision, byRevision[revision]); err != nil {
			return err
		}
	}
	for _, a := range l.attempts {
		if a.acked != 0 && a.acked <= h.Revision && !a.gone && a.seen != a.acked {
			return fmt.Errorf("acknowledged write lost: %v of revision %d is in the history "+
				"under %d", a.changes, a.acked, a.seen)
		}
	}
	return nil
}

// foreign says whether all changes of a revision are others'.
func (l *Ledger) foreign(changes []Change) bool {
	return l.Foreign != nil && len(changes) > 0 &&
		!slices.ContainsFunc(changes, func(c Change) bool { return !l.Foreign(c.Key) })
}

// match finds the request that made the changes of one revision.
func (l *Ledger) match(revision int64, changes []Change) error {
	for _, a := range l.candidates(revision, changes) {
		if a.seen == 0 && !a.gone && !a.refused && (a.acked == 0 || a.acked == revision) &&
			slices.Equal(a.changes, changes) {
			a.seen = revision
			return nil
		}
	}
	told := ""
	for _, a := range l.candidates(revision, changes) {
		told += fmt.Sprintf("; a request for %v: acknowledged with %d, gone %v, refused %v, in "+
			"the history under %d", a.changes, a.acked, a.gone, a.refused, a.seen)
	}
	return fmt.Errorf("revision %d has changes %v that no request made, or that were made "+
		"before%s", revision, changes, told)
}

// candidates returns the requests that may have made changes. One that was acknowledged with this
// revision comes first, so that a delete whose fate is unknown does not take its place.
func (l *Ledger) candidates(revision int64, changes []Change) []*Attempt {
	if len(changes) == 0 {
		return nil
	}
	first := changes[0]
	if !first.Delete {
		if a := l.puts[first.Value]; a != nil {
			return []*Attempt{a}
		}
		return nil
	}
	list := slices.Clone(l.deletes[first.Key])
	slices.SortStableFunc(list, func(a, b *Attempt) int {
		switch {
		case a.acked == revision && b.acked != revision:
			return -1
		case a.acked != revision && b.acked == revision:
			return 1
		}
		return 0
	})
	return list
}

// CheckWatch compares what one watcher has got from revision from on with the history: the events
// that wanted holds for, each once, in order. With previous, the values before must be right too.
func (h *History) CheckWatch(got []Event, from int64, wanted func(Change) bool,
	previous bool) error {
	before := make(map[string]*Change)
	next := 0
	for _, want := range h.Events {
		prev := before[want.Key]
		before[want.Key] = &want.Change
		if want.Delete {
			before[want.Key] = nil
		}
		if want.Revision < from || !wanted(want.Change) {
			continue
		}
		if next == len(got) {
			return fmt.Errorf("the watch ends before %+v of revision %d", want.Change,
				want.Revision)
		}
		g := got[next]
		next++
		if g.Revision != want.Revision || g.Change != want.Change {
			return fmt.Errorf("event %d of the watch is %+v of revision %d, not %+v of revision %d",
				next, g.Change, g.Revision, want.Change, want.Revision)
		}
		if previous && !samePrevious(g.Previous, prev) {
			return fmt.Errorf("event %+v of revision %d has the previous value %+v, not %+v",
				g.Change, g.Revision, g.Previous, prev)
		}
	}
	if next < len(got) {
		return fmt.Errorf("the watch has %+v of revision %d after the last event of the history",
			got[next].Change, got[next].Revision)
	}
	return nil
}

// samePrevious compares two previous values.
func samePrevious(a, b *Change) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
