package sim

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cairnkv/cairn/check"
	v3 "github.com/cairnkv/cairn/v3"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// takeBytes is how much of a watch is taken at once.
const takeBytes = 64 << 10

// stream runs a watch until sink does not want more, or gone is closed. By a task of the member.
func (l *life) stream(
	c v3.WatchCreate, ask bool, gone <-chan struct{}, sink func(*pb.WatchResponse) bool,
) {
	wake := make(chan struct{}, 1)
	w := l.backend().OpenWatch(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer w.Close()
	w.Create(c)
	if ask {
		w.Progress()
	}
	var buf []byte
	var ends []int
	for {
		var more bool
		buf, ends, more = w.Take(buf[:0], ends[:0], takeBytes)
		at := 0
		for _, end := range ends {
			r := &pb.WatchResponse{}
			if err := proto.Unmarshal(buf[at:end], r); err != nil {
				l.m.sim.fail(fmt.Errorf("a watch response: %w", err))
				return
			}
			if at = end; !sink(r) {
				return
			}
		}
		if !more && l.on().Wait(nil, gone, wake) == 0 {
			return
		}
	}
}

// seen converts an event. What was before an event up to compacted may not be known any more.
func seen(e *mvccpb.Event, compacted int64) check.Seen {
	s := check.Seen{
		Event: check.Event{
			Change: check.Change{
				Key: string(e.Kv.Key), Value: string(e.Kv.Value),
				Delete: e.Type == mvccpb.Event_DELETE,
			},
			Revision: e.Kv.ModRevision,
		},
		Created: e.Kv.CreateRevision,
		Unsure:  e.Kv.ModRevision <= compacted,
	}
	if e.PrevKv != nil {
		s.Previous = &check.Change{Key: string(e.PrevKv.Key), Value: string(e.PrevKv.Value)}
	}
	return s
}

// watcher is a client that watches through one member after the other, each time from where it was.
type watcher struct {
	s      *Sim
	number int
	rng    *rand.Rand
	create v3.WatchCreate

	next   int64 // the revision to go on from
	stream *check.Stream
	past   []*check.Stream // that ended with a compaction
	conn   *connection
	piece  []check.Seen // of a revision that comes in fragments
	broken error
}

// connection is one watch over the network.
type connection struct {
	w    *watcher
	m    *member
	gone chan struct{} // closed when the client has left
	over bool
	// header is the highest revision that a header has said.
	header int64
}

func newWatcher(s *Sim, number int) *watcher {
	w := &watcher{s: s, number: number, rng: stream(s.opts.Seed, uint64(4000+number)), next: 1}
	w.create = v3.WatchCreate{Key: []byte{0}, End: []byte{0}, PrevKV: true}
	switch number % 4 {
	case 1:
		w.create.Key, w.create.End = []byte(kvPrefix), []byte("kv0")
		w.create.NoDelete = true
	case 2:
		w.create.ProgressNotify, w.create.PrevKV = true, false
	case 3:
		w.create.Fragment, w.create.NoPut = true, !w.told()
	}
	if w.told() {
		w.create.Key, w.create.End = []byte(kvPrefix), []byte("kv0")
		w.create.ProgressNotify = true
	}
	from := int64(1)
	if number%8 == 4 || number%8 == 6 { // of a revision that is not there yet
		from += w.rng.Int64N(200)
	}
	w.begin(from)
	return w
}

// told is of watchers that learn by progress notifications alone how far they are: at the end they
// have nothing to get, for what is written then is not of the workers, and they do not ask.
func (w *watcher) told() bool { return w.number%8 == 7 }

// begin begins a stream that nothing is known to lack.
func (w *watcher) begin(from int64) {
	if w.stream != nil {
		w.past = append(w.past, w.stream)
	}
	w.next, w.piece = from, nil
	w.stream = &check.Stream{From: from, Previous: w.create.PrevKV, Wanted: w.wants}
}

func (w *watcher) wants(c check.Change) bool {
	if c.Delete && w.create.NoDelete || !c.Delete && w.create.NoPut {
		return false
	}
	return len(w.create.Key) == 1 || strings.HasPrefix(c.Key, kvPrefix)
}

// run watches as long as the simulation goes on.
func (w *watcher) run() {
	for w.broken == nil {
		w.piece = nil
		if w.number%8 == 5 && !w.s.load.over && w.rng.IntN(3) == 0 {
			// From the compaction on, which may be anew.
			w.begin(max(w.s.load.compacted, 1))
		}
		c := &connection{w: w, m: pick(w.rng, w.s.members), gone: make(chan struct{})}
		w.conn = c
		w.s.net.carry(link{clientSide, c.m.index}, c.open, c.lose)
		leave := w.s.now + between(w.rng, detection, w.s.opts.WatchFor)
		w.s.after(leave-w.s.now, w.s.clientsRun)
		w.s.clients.await(func() bool { return c.over || w.s.now >= leave })
		c.leave()
		w.s.rest(retryPause)
	}
}

// leave ends the watch from the client's side.
func (c *connection) leave() {
	c.over = true
	c.w.s.net.carry(link{clientSide, c.m.index}, func() {
		close(c.gone)
		c.m.touch()
	}, nil)
}

// lose tells the client some time later that its connection is gone.
func (c *connection) lose() {
	c.w.s.after(silence, c.end)
}

func (c *connection) end() {
	if !c.over {
		c.over = true
		c.w.s.clientsRun()
	}
}

// open begins the watch at the member.
func (c *connection) open() {
	s, l := c.w.s, c.m.life
	back := link{c.m.index, clientSide}
	if l == nil || l.backend() == nil || l.backend().Learner() {
		s.net.carry(back, c.end, c.lose)
		return
	}
	l.pending = append(l.pending, func() { s.after(detection, c.end) })
	create := c.w.create
	create.StartRevision = c.w.next
	ask := c.w.rng.IntN(2) == 0 && !c.w.told()
	lost := false
	l.Go("watch", func() {
		l.stream(create, ask, c.gone, func(r *pb.WatchResponse) bool {
			if lost {
				return false
			}
			c.dawdle(l)
			compacted := l.server.Machine().Store().CompactRev()
			s.net.carry(back, func() {
				if !lost {
					c.take(r, compacted)
				}
			}, func() {
				lost = true
				c.lose()
			})
			return true
		})
	})
	l.touch()
}

// dawdle lets some time go by now and then before more is taken: what comes meanwhile has to wait
// for room. By a task of the member.
func (c *connection) dawdle(l *life) {
	s := c.w.s
	if s.opts.WatchBytes == 0 || s.load.over || c.w.rng.IntN(8) > 0 {
		return
	}
	t := l.m.clock.NewTimer(between(c.w.rng, time.Millisecond, 300*time.Millisecond))
	defer t.Stop()
	l.on().Wait(t.C(), c.gone)
}

// take is the arrival of a response.
func (c *connection) take(r *pb.WatchResponse, compacted int64) {
	w := c.w
	if c.over || w.conn != c || w.broken != nil {
		return
	}
	if err := cmp.Or(c.goesOn(r), w.take(r, compacted)); err != nil {
		w.broken = fmt.Errorf("watcher %d: %w", w.number, err)
		w.s.fail(w.broken)
	}
	if r.Canceled {
		c.end()
	}
}

// goesOn checks that the headers' revisions never go back, but in what tells of a compaction, where
// etcd leaves the revision out.
func (c *connection) goesOn(r *pb.WatchResponse) error {
	revision := r.Header.GetRevision()
	if revision < c.header && r.CompactRevision == 0 {
		return fmt.Errorf("it was told that the store is at revision %d, and now at %d", c.header,
			revision)
	}
	c.header = max(c.header, revision)
	return nil
}

// take adds what a response has. A revision must come whole, but for fragments, and after all
// before it.
func (w *watcher) take(r *pb.WatchResponse, compacted int64) error {
	w.s.Stats.WatchResponses++
	switch {
	case r.Canceled && r.CompactRevision > 0:
		if r.CompactRevision <= w.next {
			return fmt.Errorf("it waits for revision %d, and is told of the compaction of %d",
				w.next, r.CompactRevision)
		}
		w.begin(r.CompactRevision)
		return nil
	case r.Canceled, r.Created:
		return nil
	case len(r.Events) == 0:
		return w.progress(r.Header.GetRevision())
	}
	for i, e := range r.Events {
		ev := seen(e, compacted)
		if i == 0 && len(w.piece) == 0 && ev.Revision < w.next {
			return fmt.Errorf("a response begins with revision %d, but revision %d was due: "+
				"events come twice, or a revision in two pieces", ev.Revision, w.next)
		}
		w.piece = append(w.piece, ev)
	}
	if r.Fragment {
		if !w.create.Fragment {
			return errors.New("a fragment, which was not asked for")
		}
		return nil
	}
	w.stream.Events = append(w.stream.Events, w.piece...)
	w.next = w.piece[len(w.piece)-1].Revision + 1
	w.piece = nil
	w.s.Stats.WatchEvents += int64(len(r.Events))
	return nil
}

// progress notes a promise. Of revisions that were not asked for nothing may be said.
func (w *watcher) progress(revision int64) error {
	if revision < w.next-1 {
		return fmt.Errorf("it waits for revision %d, and is told that revision %d is all there is",
			w.next, revision)
	}
	w.stream.Progress = append(w.stream.Progress,
		check.Progress{Revision: revision, Events: len(w.stream.Events)})
	w.next = max(w.next, revision+1)
	w.s.Stats.Progress++
	return nil
}
