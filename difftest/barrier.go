package difftest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// agreeTimeout is how long a side may take to deliver what the other one has delivered.
	agreeTimeout = 5 * time.Second

	// agreePoll is how often the streams are compared meanwhile.
	agreePoll = 5 * time.Millisecond
)

// watchHistory opens a member's stream that sees every event, from the newest revision on.
func (r *runner) watchHistory(member int) error {
	return both(func(i int) error {
		ws, err := r.sides[i].Side(member).stream(historyStream)
		if err != nil {
			return err
		}
		return ws.control(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{
				Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: r.rev + 1, PrevKv: true,
			},
		}})
	})
}

// stream returns an open stream by its number, opening it if need be.
func (s *Side) stream(n int) (*watchStream, error) {
	if ws := s.streams[n]; ws != nil {
		return ws, nil
	}
	ws, err := s.openWatch()
	if err != nil {
		return nil, fmt.Errorf("side %s: %w", s.Name, err)
	}
	s.streams[n] = ws
	return ws, nil
}

// barrier waits until every watcher of both sides has got all that there is for it, and compares.
// It returns a description of the difference.
//
// A probe, a watcher of a key that only the runner writes, is put on every stream. If a watcher may
// be catching up, the probe first catches up with a put made before it: etcd brings all watchers
// that lag forward in the same pass. Then a second put goes to the probes on the way of all
// watchers that are in step, and what it overtakes on the stream was not to come.
func (r *runner) barrier(ctx context.Context) (string, error) {
	if r.capped && r.lead != 0 {
		if what := r.probeUncapped(ctx); what != "" {
			return what, nil
		}
	}
	if r.capped || r.lead == 0 {
		return r.agree()
	}
	id, start := r.nextProbe, int64(0)
	r.nextProbe++
	if r.lagging {
		if what := r.exchange(ctx, r.probePut()); what != "" {
			return what, nil
		}
		start = r.rev
	}
	open := func(ws *watchStream) error { return ws.openProbe(id, start) }
	if what := r.eachStream(open); what != "" {
		return what, nil
	}
	for _, rev := range []int64{start, r.rev + 1} {
		if rev == 0 {
			continue
		}
		if rev > r.rev {
			if what := r.exchange(ctx, r.probePut()); what != "" {
				return what, nil
			}
		}
		what := r.eachStream(func(ws *watchStream) error { return ws.awaitProbeEvent(id, rev) })
		if what != "" {
			return what, nil
		}
	}
	if what := r.eachStream(func(ws *watchStream) error { return ws.closeProbe(id) }); what != "" {
		return what, nil
	}
	r.lagging = false
	return r.agree()
}

// probePut returns the put that probes see.
func (r *runner) probePut() Op {
	return Op{Kind: "put", Member: r.lead, Request: &pb.PutRequest{Key: []byte(probeKey)}}
}

// probeUncapped finds out whether puts are accepted again after an alarm.
func (r *runner) probeUncapped(ctx context.Context) string {
	failed := r.stats.Failed
	what := r.exchange(ctx, r.probePut())
	r.capped = r.stats.Failed > failed
	return what
}

// eachStream calls f for all streams of both sides and describes the first error.
func (r *runner) eachStream(f func(*watchStream) error) string {
	err := both(func(i int) error {
		for _, s := range r.sides[i].Sides {
			for _, n := range slices.Sorted(maps.Keys(s.streams)) {
				if err := f(s.streams[n]); err != nil {
					return fmt.Errorf("side %s, stream %d: %w", s.Name, n, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return ""
}

// agree compares the streams until they are equal or a side has had its time, and then begins a
// new window.
func (r *runner) agree() (string, error) {
	r.sinceComp = 0
	for n := range r.sides[0].Sides {
		if what, err := r.agreeAt(n + 1); err != nil || what != "" {
			return what, err
		}
	}
	return "", nil
}

// agreeAt is agree for the streams of one member.
func (r *runner) agreeAt(member int) (string, error) {
	deadline := time.Now().Add(agreeTimeout)
	poll := time.NewTicker(agreePoll)
	defer poll.Stop()
	for {
		what, taken, events, fragments := r.compareStreams(member)
		if what == "" {
			for i, lengths := range taken {
				for n, length := range lengths {
					r.sides[i].Side(member).streams[n].drop(length)
				}
			}
			r.stats.Events += events
			r.stats.Fragments += fragments
			return "", nil
		}
		if time.Now().After(deadline) {
			return what, nil
		}
		<-poll.C
	}
}

// compareStreams compares the windows of all streams of a member. It returns how many responses
// each stream had, and how many events and fragments side A had.
func (r *runner) compareStreams(member int) (
	what string, taken [2]map[int]int, events, fragments int,
) {
	taken = [2]map[int]int{{}, {}}
	for _, n := range slices.Sorted(maps.Keys(r.sides[0].Side(member).streams)) {
		var windows [2]*window
		for i, c := range r.sides {
			s := c.Side(member)
			log := s.streams[n].take()
			taken[i][n] = len(log)
			for _, m := range log {
				if err := s.normalize(m); err != nil {
					return fmt.Sprintf("side %s, stream %d: %v", s.Name, n, err), taken, 0, 0
				}
			}
			w, err := newWindow(log)
			if err != nil {
				return fmt.Sprintf("side %s, stream %d: %v", s.Name, n, err), taken, 0, 0
			}
			windows[i] = w
		}
		if d := windows[0].diff(windows[1], r.pair.StrictWatch); d != "" {
			return fmt.Sprintf("stream %d: %s", n, d), taken, 0, 0
		}
		fragments += windows[0].fragments
		for _, t := range windows[0].watchers {
			events += len(t.events)
		}
	}
	return "", taken, events, fragments
}

// watch does an operation on a watch stream and waits until both sides have dealt with it.
func (r *runner) watch(ctx context.Context, op Op) (string, error) {
	switch op.Kind {
	case kindWatchCreate:
		r.lagging = true
	case kindWatchClose:
		r.closeWatch(op)
		return "", nil
	}
	err := both(func(i int) error {
		s := r.sides[i].holder(op)
		ws, err := s.stream(op.Stream)
		if err != nil {
			return err
		}
		req := &pb.WatchRequest{}
		switch m := s.resolve(op.Request, r.rev, r.compacted).(type) {
		case *pb.WatchCreateRequest:
			req.RequestUnion = &pb.WatchRequest_CreateRequest{CreateRequest: m}
		case *pb.WatchCancelRequest:
			req.RequestUnion = &pb.WatchRequest_CancelRequest{CancelRequest: m}
		case *pb.WatchProgressRequest:
			req.RequestUnion = &pb.WatchRequest_ProgressRequest{ProgressRequest: m}
		}
		if err := ws.control(req); err != nil {
			return fmt.Errorf("side %s: %w", s.Name, err)
		}
		return nil
	})
	if err != nil {
		return err.Error(), nil
	}
	if op.Kind == kindWatchProgress {
		return r.barrier(ctx) // the answer, if there is one, has come when the barrier has passed
	}
	return "", nil
}

// closeWatch ends a stream from the client's side. There is nothing to compare: etcd goes on with a
// stream whose client has merely said that it will send no more.
func (r *runner) closeWatch(op Op) {
	for _, c := range r.sides {
		s := c.holder(op)
		if ws := s.streams[op.Stream]; ws != nil {
			ws.stop()
			delete(s.streams, op.Stream)
		}
	}
}

// holder returns the member that has the stream of an operation open, or else the one that the
// operation asks.
func (c *Cluster) holder(op Op) *Side {
	for _, s := range c.Sides {
		if s.streams[op.Stream] != nil {
			return s
		}
	}
	return c.Side(op.Member)
}
