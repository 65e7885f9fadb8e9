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
	first   map[int64]int            // revision -> its first event
	gone    map[string]time.Duration // key -> when it was first seen deleted
	compact int64                    // the highest compaction seen
	gap     bool                     // a revision was compacted before any was asked for it
}

func newTruth(s *Sim) *truth {
	return &truth{
		s: s, first: map[int64]int{}, gone: map[string]time.Duration{},
		history: check.History{Revision: 1},
	}
}

// follow watches a life of a member.
func (t *truth) follow(l *life) {
	l.Go("truth", func() {
		store := l.server.Machine().Store()
		next := max(store.CompactRev(), 1)
		for {
			again := false
			l.stream(v3.WatchCreate{Key: []byte{0}, End: []byte{0}, StartRevision: next}, false,
				nil, func(r *pb.WatchResponse) bool {
					if r.Canceled {
						again = r.CompactRevision > 0 // else the disk lies, and the member ends
						next = max(next, r.CompactRevision)
						return false
					}
					t.compact = max(t.compact, store.CompactRev())
					if err := t.take(r, next); err != nil {
						t.s.fail(fmt.Errorf("%s: %w", l.m.name, err))
						return false
					}
					if n := len(r.Events); n > 0 {
						next = r.Events[n-1].Kv.ModRevision + 1
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
	t.first[rev] = len(h.Events)
	h.Events = append(h.Events, events...)
	h.Revision = rev
	for _, e := range events {
		if _, ok := t.gone[e.Key]; e.Delete && !ok {
			t.gone[e.Key] = t.s.now
		}
	}
	t.s.logf("revision %d: %v", rev, slices.Clone(events))
	return nil
}
