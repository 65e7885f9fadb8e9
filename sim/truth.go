package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/cairnkv/cairn/check"
	v3 "github.com/cairnkv/cairn/v3"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// truth is the history of the store, put together of what the members have made visible: a watch
// inside each of them, from the oldest revision that it has. The first that shows a revision says
// what is in it, and all others must agree, for good.
type truth struct {
	s       *Sim
	history check.History
	first   map[int64]int           // revision -> its first event
	since   map[int64]time.Duration // revision -> when it was first seen
	gone    map[string][]ending     // by key, in order
	compact int64                   // the highest compaction seen
	gap     bool                    // a revision was compacted before any was asked for it
}

// ending is the delete of a key, when it was first seen.
type ending struct {
	revision int64
	at       time.Duration
}

// goneAfter is when a key was first seen deleted in a revision after another one.
func (t *truth) goneAfter(key string, revision int64) (time.Duration, bool) {
	for _, e := range t.gone[key] {
		if e.revision > revision {
			return e.at, true
		}
	}
	return 0, false
}

func newTruth(s *Sim) *truth {
	return &truth{
		s: s, first: map[int64]int{}, since: map[int64]time.Duration{},
		gone:    map[string][]ending{},
		history: check.History{Revision: 1},
	}
}

// follow watches a life of a member.
func (t *truth) follow(l *life) {
	l.Go("truth", func() {
		store := l.server.Machine().Store()
		next := max(store.CompactRev(), 1)
		for {
			l.shown = next
			again := false
			l.stream(v3.WatchCreate{Key: []byte{0}, End: []byte{0}, StartRevision: next}, false,
				nil, func(r *pb.WatchResponse) bool {
					if r.Canceled {
						again = r.CompactRevision > next // else the disk lies, and the member ends
						if r.CompactRevision > 0 && !again {
							t.s.fail(fmt.Errorf("%s: a watch from revision %d is told of the "+
								"compaction of %d", l.m.name, next, r.CompactRevision))
						}
						next = max(next, r.CompactRevision)
						return false
					}
					t.compact = max(t.compact, store.CompactRev())
					events := r.Events
					if err := t.take(r, next); err != nil {
						t.s.fail(fmt.Errorf("%s: %w", l.m.name, err))
						return false
					}
					if n := len(events); n > 0 {
						next = events[n-1].Kv.ModRevision + 1
						l.shown = next
					}
					return true
				})
			if !again {
				return
			}
			l.m.sim.Stats.Overtaken++
		}
	})
}

// take holds the events of a response against what is known.
func (t *truth) take(r *pb.WatchResponse, from int64) error {
	for len(r.Events) > 0 {
		rev := r.Events[0].Kv.ModRevision
		n := 1
		for n < len(r.Events) && r.Events[n].Kv.ModRevision == rev {
			n++
		}
		events := make([]check.Event, n)
		for i := range n {
			events[i] = seen(r.Events[i], 0).Event
		}
		if err := t.revision(rev, events, from); err != nil {
			return err
		}
		r.Events = r.Events[n:]
		from = rev + 1
	}
	return nil
}

// revision takes what a member says of a revision; from is what it would have shown first.
func (t *truth) revision(rev int64, events []check.Event, from int64) error {
	h := &t.history
	if rev <= h.Revision {
		at, ok := t.first[rev]
		if !ok {
			return nil // before the gap
		}
		for i, e := range events {
			if at+i >= len(h.Events) || h.Events[at+i] != e {
				return fmt.Errorf("revision %d has %+v here, and elsewhere %+v", rev, events,
					h.Events[at:min(at+len(events), len(h.Events))])
			}
		}
		if end := at + len(events); end < len(h.Events) && h.Events[end].Revision == rev {
			return fmt.Errorf("revision %d lacks %+v here", rev, h.Events[end])
		}
		return nil
	}
	if rev != h.Revision+1 {
		if from <= h.Revision+1 {
			return fmt.Errorf("revision %d follows revision %d", rev, h.Revision)
		}
		t.gap = true
	}
	t.first[rev], t.since[rev] = len(h.Events), t.s.now
	h.Events = append(h.Events, events...)
	h.Revision = rev
	for _, e := range events {
		if e.Delete {
			t.gone[e.Key] = append(t.gone[e.Key], ending{rev, t.s.now})
		}
	}
	t.s.logf("revision %d: %v", rev, slices.Clone(events))
	return nil
}
