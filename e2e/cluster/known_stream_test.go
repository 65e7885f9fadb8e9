package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cairnkv/cairn/check"
	"github.com/cairnkv/cairn/e2e"
)

const (
	// allWatches is the id in a progress response that speaks for all watches of its stream.
	allWatches = -1

	// streamWindow is how much a member may send before it is read, in bytes: HTTP/2's least.
	streamWindow = 64 << 10

	// streamMessage bounds a response, in bytes.
	streamMessage = 64 << 20

	// eventTimeout bounds the wait for events of the past.
	eventTimeout = 30 * time.Second
)

// stream is one stream of watches on one member, at the level of gRPC: unlike etcd's client it
// reads only when it may, keeps nothing back, and is not opened again after an error.
type stream struct {
	name  string
	grpc  pb.Watch_WatchClient
	tasks sync.WaitGroup
	end   context.CancelFunc

	reading sync.Mutex // held by who wants that nothing is read
	slow    time.Duration
	sending sync.Mutex // of requests
	// ordered says that what is told to all watches is told to each that is confirmed. In etcd
	// (3.7) the confirmation of a new watch overtakes progress that was queued before, so that what
	// comes before its first event may be about the others alone. Cairn keeps the order.
	ordered bool

	mu      sync.Mutex // guards the fields below
	watches map[int64]*tap
	asked   int // responses to requests for progress
	broken  error
}

// tap is one watch of a stream, with all that came of it.
type tap struct {
	check.Stream
	created   bool
	ended     bool
	compacted int64 // the compaction for which it was cancelled
	header    int64 // highest revision of a header
	early     int64 // least revision of a progress response, 0 if there was none
}

// stream opens a stream on a member; after each response that it reads it waits for slow.
func (k *known) stream(m *Member, slow time.Duration) *stream {
	k.Helper()
	conn, err := grpc.NewClient(m.Endpoint(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(streamWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(streamMessage)))
	k.must(err)
	k.Cleanup(func() { _ = conn.Close() })
	s := &stream{name: m.Name, slow: slow, watches: make(map[int64]*tap), ordered: k.cairn(m)}
	var ctx context.Context
	ctx, s.end = context.WithCancel(k.ctx)
	s.grpc, err = pb.NewWatchClient(conn).Watch(ctx)
	k.must(err)
	s.tasks.Go(func() { s.read(ctx) })
	k.Cleanup(s.close)
	return s
}

// hold keeps a stream from being read until the function that it returns is called.
func (k *known) hold(s *stream) (release func()) {
	s.reading.Lock()
	release = sync.OnceFunc(s.reading.Unlock)
	k.Cleanup(release)
	return release
}

// close ends the stream.
func (s *stream) close() {
	s.end()
	s.tasks.Wait()
}

// read takes what comes until the stream ends.
func (s *stream) read(ctx context.Context) {
	for {
		s.reading.Lock()
		s.reading.Unlock() // nothing is done under it: it is a gate
		resp, err := s.grpc.Recv()
		s.mu.Lock()
		if err == nil {
			err = s.take(resp)
		}
		if err != nil && s.broken == nil {
			s.broken = err
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
		if s.slow > 0 {
			pause(ctx, s.slow)
		}
	}
}

// take notes one response. s.mu is held.
func (s *stream) take(resp *pb.WatchResponse) error {
	if resp.WatchId == allWatches && len(resp.Events) == 0 && !resp.Created && !resp.Canceled {
		s.asked++
		for _, w := range s.watches {
			if w.created && !w.ended && (s.ordered || len(w.Events) > 0) {
				w.progress(resp.Header.Revision)
			}
		}
		return nil
	}
	w := s.watches[resp.WatchId]
	switch {
	case w == nil:
		return fmt.Errorf("a response for watch %d, which nobody has made", resp.WatchId)
	case w.ended:
		return fmt.Errorf("watch %d goes on after its end: %v", resp.WatchId, resp)
	case resp.Header.Revision < w.header && !resp.Canceled: // which says when it was compacted
		return fmt.Errorf("watch %d went back from revision %d to %d", resp.WatchId, w.header,
			resp.Header.Revision)
	}
	w.header = max(w.header, resp.Header.Revision)
	w.ended, w.compacted = resp.Canceled, resp.CompactRevision
	switch {
	case resp.Created:
		w.created = true
		if w.From == 0 {
			w.From = resp.Header.Revision + 1
		}
	case resp.Canceled:
	case len(resp.Events) == 0:
		w.progress(resp.Header.Revision)
	}
	for _, e := range resp.Events {
		ev := check.Seen{Event: e2e.EventOf((*clientv3.Event)(e)), Created: e.Kv.CreateRevision}
		if ev.Delete {
			ev.Created = 0
		}
		if ev.Revision > resp.Header.Revision {
			return fmt.Errorf("watch %d: an event of revision %d in a response of revision %d",
				resp.WatchId, ev.Revision, resp.Header.Revision)
		}
		w.Events = append(w.Events, ev)
	}
	return nil
}

// progress notes that somebody was told of progress.
func (w *tap) progress(revision int64) {
	w.Progress = append(w.Progress, check.Progress{Revision: revision, Events: len(w.Events)})
	if w.early == 0 || revision < w.early {
		w.early = revision
	}
}

// watch adds a watch of a prefix, "" for all keys, from a revision on, 0 for what comes next;
// notify asks for progress from time to time, previous for the values before. Responses may come in
// fragments.
func (s *stream) watch(prefix string, from int64, notify, previous bool) (*tap, error) {
	w := &tap{}
	w.From, w.Previous = from, previous
	w.Wanted = func(c check.Change) bool { return strings.HasPrefix(c.Key, prefix) }
	s.mu.Lock()
	id := int64(len(s.watches) + 1)
	s.watches[id] = w
	s.mu.Unlock()
	create := &pb.WatchCreateRequest{Key: []byte(prefix), StartRevision: from, WatchId: id,
		RangeEnd: []byte(clientv3.GetPrefixRangeEnd(prefix)), ProgressNotify: notify,
		PrevKv: previous, Fragment: true}
	if prefix == "" {
		create.Key, create.RangeEnd = []byte{0}, []byte{0}
	}
	return w, s.send(&pb.WatchRequest{
		RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}})
}

// ask asks how far all watches of the stream are.
func (s *stream) ask() error {
	return s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
		ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (s *stream) send(req *pb.WatchRequest) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.grpc.Send(req)
}

// is asks for something about the stream's watches while nothing changes. A stream that is broken
// is not asked: that comes out when it is checked.
func (s *stream) is(fn func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken != nil || fn()
}

// made says whether a watch was confirmed.
func (s *stream) made(w *tap) bool { return s.is(func() bool { return w.created }) }

// got says how many events have come to a watch.
func (s *stream) got(w *tap) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(w.Events)
}

// expect is how many events of a history a watch must get.
func (w *tap) expect(h *check.History) (n int) {
	for _, e := range h.Events {
		if e.Revision >= w.From && w.Wanted(e.Change) {
			n++
		}
	}
	return n
}

// check waits until each watch of the stream has ended or has as many events as it must get of a
// history, and then holds all that came against it. It returns how many events that were. What is
// wrong with any watch ends the test.
func (s *stream) check(k *known) (events int) {
	k.Helper()
	h := k.history
	s.mu.Lock()
	want := make(map[int64]int)
	for id, w := range s.watches {
		want[id] = w.expect(h)
	}
	s.mu.Unlock()
	k.within(eventTimeout, func() bool {
		return s.is(func() bool {
			for id, w := range s.watches {
				if !w.ended && len(w.Events) < want[id] {
					return false
				}
			}
			return true
		})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil && !errors.Is(s.broken, context.Canceled) {
		k.fail(fmt.Errorf("the stream on %s: %w", s.name, s.broken))
	}
	for id, w := range s.watches {
		if w.ended && w.compacted == 0 {
			k.fail(fmt.Errorf("watch %d on %s was cancelled", id, s.name))
		}
		w.Whole = !w.ended
		if err := w.Check(h); err != nil {
			k.fail(fmt.Errorf("watch %d on %s, from revision %d: %w", id, s.name, w.From, err))
		}
		events += len(w.Events)
	}
	if k.Failed() {
		k.FailNow()
	}
	return events
}
