package check

import "fmt"

// Stream is what one watcher has got from a revision on, without a gap that it was told of: over as
// many watches and members as it took, each begun after the last event of the one before.
type Stream struct {
	From     int64 // the first revision that was asked for
	Events   []Seen
	Progress []Progress
	// Whole says that the watcher was given the time to get everything up to the history's end.
	Whole bool
	// Wanted says which events were asked for.
	Wanted func(Change) bool
	// Previous says that values before were asked for.
	Previous bool
}

// Seen is an event as it came.
type Seen struct {
	Event
	Created int64 // revision of creation, 0 in a delete
	// Unsure says that the value before may have been compacted away when the event was read.
	Unsure bool
}

// Progress is a response without events: its revision promises that all events up to it have come.
type Progress struct {
	Revision int64
	Events   int // that had come before
}

// Check holds a stream against the history: each event that was asked for came once, in order, with
// what was before, up to the end if the stream is whole; and no progress was told too early.
func (s *Stream) Check(h *History) error {
	type version struct {
		change  Change
		created int64
	}
	before := make(map[string]*version)
	next, told := 0, 0
	for i := range h.Events {
		want := &h.Events[i]
		prev := before[want.Key]
		now := &version{want.Change, want.Revision}
		if prev != nil {
			now.created = prev.created
		}
		before[want.Key] = now
		if want.Delete {
			before[want.Key] = nil
		}
		if want.Revision < s.From || !s.Wanted(want.Change) {
			continue
		}
		for ; told < len(s.Progress) && s.Progress[told].Events <= next; told++ {
			if p := s.Progress[told]; p.Revision >= want.Revision {
				return fmt.Errorf("progress up to revision %d was told before %+v of revision %d",
					p.Revision, want.Change, want.Revision)
			}
		}
		if next == len(s.Events) {
			if s.Whole {
				return fmt.Errorf("the watch ends before %+v of revision %d", want.Change,
					want.Revision)
			}
			return nil
		}
		got := &s.Events[next]
		next++
		if got.Revision != want.Revision || got.Change != want.Change {
			return fmt.Errorf("event %d of the watch is %+v of revision %d, not %+v of revision %d",
				next, got.Change, got.Revision, want.Change, want.Revision)
		}
		if !want.Delete && got.Created != now.created {
			return fmt.Errorf("%+v of revision %d is said to be created at %d, not %d", got.Change,
				got.Revision, got.Created, now.created)
		}
		var old *Change
		if prev != nil {
			old = &prev.change
		}
		if s.Previous && !samePrevious(got.Previous, old) && !(got.Unsure && got.Previous == nil) {
			return fmt.Errorf("event %+v of revision %d has the previous value %+v, not %+v",
				got.Change, got.Revision, got.Previous, old)
		}
	}
	if next < len(s.Events) {
		return fmt.Errorf("the watch has %+v of revision %d after the last event of the history",
			s.Events[next].Change, s.Events[next].Revision)
	}
	return nil
}
