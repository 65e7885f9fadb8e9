package watch

import (
	"bytes"
	"sync"
	"time"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/mutate"
)

// Texts of refusals, exactly etcd's (server/storage/mvcc/watcher.go).
const (
	reasonEmptyRange  = "mvcc: watcher range is empty"
	reasonDuplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
)

// invalidID is the watch id of a refused watcher, and of progress for the whole stream.
const invalidID = -1

// itemBytes is what a queued message counts for beside its body: the reference, the header.
const itemBytes = 64

// CreateRequest is etcdserverpb.WatchCreateRequest. The slices are copied.
type CreateRequest struct {
	Key           []byte // empty: the smallest key, one zero byte
	End           []byte // empty: the one key; one zero byte: every key from Key on
	StartRevision int64  // 0: what comes after the newest revision
	ID            int64  // 0: the stream chooses, from 0 on
	PrevKV        bool
	Progress      bool // progress_notify
	Fragment      bool
	NoPut         bool // filters
	NoDelete      bool
}

// Stream is the watchers of one Watch call and the queue of responses to them. All methods but
// Take are safe for concurrent use; Take is for one goroutine at a time.
type Stream struct {
	hub    *Hub
	header func() cairn.Header
	wake   func()

	// Guarded by Hub.mu.
	place     int // in Hub.streams
	watchers  map[int64]*watcher
	nextID    int64
	unsynced  int        // watchers that are not synced; no progress for the stream while there are
	lastStart int64      // largest StartRevision that a watcher was created with
	notify    []*watcher // watchers with progress_notify
	due       time.Time  // of the next progress notification
	interval  time.Duration
	asked     int   // progress requests that wait until the hub is at askedRev
	askedRev  int64 // 0 if there are none

	// mu guards the queue. It is taken after Hub.mu, and held for a few instructions.
	mu       sync.Mutex
	in       []item
	bytes    int  // of in and of what Take has not yet returned
	events   int  // of these
	signaled bool // wake was called and Take has not found the queue empty since
	closed   bool // written with Hub.mu held too
	// parked are watchers that are behind and wait for room: until bytes <= room.
	parked []*watcher
	room   int

	out taking
}

// item is one queued response: the events of a body for a watcher, or, without one, a control
// response.
type item struct {
	w *watcher
	b *body
}

func (it item) cost() int { return itemBytes + len(it.b.data) }

// The states of a watcher.
const (
	synced = iota // everything up to the hub's revision is queued; in Hub.live
	behind        // Step has to read for it, or it is parked
	ended         // canceled by the hub; the id is in use until the client cancels it
	gone          // canceled by the client, or the stream is closed
)

// watcher is one watch of a stream.
type watcher struct {
	stream     *Stream
	id         int64
	start, end []byte // as in bucket
	ranged     bool
	flavor
	startRev int64
	told     int64 // revision in its confirmation; no later response to it says a lower one
	fragment bool
	progress bool

	state int // guarded by Hub.mu; changes to and from gone with Stream.mu held too
	// group and place belong to the index that the watcher is in: guarded by Hub.mu while
	// it is synced, else by Hub.stepMu.
	group *group
	place int
	// next is the first revision that is not queued, while the watcher is behind. It belongs to who
	// holds the watcher: Publish until it is parked, Step after.
	next     int64
	indexed  bool  // in catchup.index (Step's)
	active   bool  // in catchup.active (Step's)
	notified int   // index in Stream.notify, guarded by Hub.mu
	sent     latch // events were taken since the last progress notification
}

// pickID says whether id is free, and picks one for 0.
func (s *Stream) pickID(id int64) (int64, bool) {
	if id != 0 {
		_, used := s.watchers[id]
		return id, !used
	}
	for s.watchers[s.nextID] != nil {
		s.nextID++
	}
	id = s.nextID
	s.nextID++
	return id, true
}

// Create adds a watcher. The answer, that it was created or why not, is queued before anything
// else of the watcher. On a closed stream nothing happens.
func (s *Stream) Create(r CreateRequest) {
	h := s.hub
	h.mu.Lock()
	wake := s.create(&r)
	h.mu.Unlock()
	if wake {
		s.wake()
	}
}

func (s *Stream) create(r *CreateRequest) (wake bool) {
	if s.closed {
		return false
	}
	h := s.hub
	rev := h.source.Rev()
	if r.StartRevision < 0 {
		return s.post(refusal(rev, cairn.ErrCompacted.Text))
	}
	start, end, ranged, ok := keyRange(r.Key, r.End)
	if !ok {
		return s.post(refusal(rev, reasonEmptyRange))
	}
	id, ok := s.pickID(r.ID)
	if !ok {
		return s.post(refusal(rev, reasonDuplicateID))
	}
	w := &watcher{
		stream: s, id: id, start: start, end: end, ranged: ranged,
		flavor:   flavor{noPut: r.NoPut, noDelete: r.NoDelete, prevKV: r.PrevKV},
		startRev: r.StartRevision, told: rev, fragment: r.Fragment, progress: r.Progress,
		next: r.StartRevision,
	}
	if w.next == 0 {
		w.next = rev + 1
	}
	s.watchers[id] = w
	s.lastStart = max(s.lastStart, w.startRev)
	if s.asked > 0 {
		s.askedRev = max(s.askedRev, rev)
	}
	if w.progress {
		w.notified = len(s.notify)
		s.notify = append(s.notify, w)
	}
	h.stats.watchers.Add(1)
	wake = s.post(created(rev, id))
	if w.next > h.rev {
		h.live.add(w)
	} else {
		h.fallBehind(w)
		h.admit(w)
	}
	return wake
}

// keyRange normalizes a request's range: copies of its bounds, end nil where there is none. ok
// is false if no key can be in it.
func keyRange(key, rangeEnd []byte) (start, end []byte, ranged, ok bool) {
	if len(key) == 0 {
		key = []byte{0}
	}
	switch {
	case len(rangeEnd) == 0:
		return bytes.Clone(key), nil, false, true
	case len(rangeEnd) == 1 && rangeEnd[0] == 0:
		return bytes.Clone(key), nil, true, true
	}
	both := make([]byte, 0, len(key)+len(rangeEnd))
	both = append(append(both, key...), rangeEnd...)
	start, end = both[:len(key):len(key)], both[len(key):]
	return start, end, true, bytes.Compare(start, end) < 0
}

// Cancel ends a watcher; what was queued for it before stays. Unknown ids are ignored, as in etcd.
func (s *Stream) Cancel(id int64) {
	h := s.hub
	h.mu.Lock()
	w := s.watchers[id]
	wake := false
	if w != nil && !s.closed {
		rev := h.source.Rev()
		s.drop(w)
		delete(s.watchers, id)
		wake = s.post(canceled(rev, id, 0, ""))
	}
	h.mu.Unlock()
	if wake {
		s.wake()
	}
}

// drop takes w out of everything but s.watchers.
func (s *Stream) drop(w *watcher) {
	h := s.hub
	h.stats.watchers.Add(-1)
	if w.progress {
		last := len(s.notify) - 1
		s.notify[w.notified] = s.notify[last]
		s.notify[w.notified].notified = w.notified
		s.notify[last] = nil
		s.notify = s.notify[:last]
	}
	was := w.state
	s.mu.Lock()
	w.state = gone
	for i, p := range s.parked {
		if p == w {
			last := len(s.parked) - 1
			s.parked[i], s.parked[last] = s.parked[last], nil
			s.parked = s.parked[:last]
			break
		}
	}
	s.mu.Unlock()
	switch was {
	case synced:
		h.live.remove(w)
	case behind:
		h.stats.slow.Add(-1)
		s.unsynced--
		h.forget(w)
	case ended:
		s.unsynced--
	}
}

// Progress asks for a response that says how far the whole stream is. It is queued if all
// watchers of the stream are synced and have reached their first revision, and there are any;
// else nothing is, as in etcd. Where the store is ahead of the hub, the decision waits for the
// next Publish.
func (s *Stream) Progress() {
	h := s.hub
	h.mu.Lock()
	wake := false
	if rev := h.source.Rev(); s.closed {
		// Nobody is there to take it.
	} else if rev <= h.rev && s.asked == 0 {
		wake = s.progressAll()
	} else if s.asked < maxProgressWaiting {
		if s.asked == 0 {
			h.waiting = append(h.waiting, s)
		}
		s.asked++
		s.askedRev = max(s.askedRev, rev)
	}
	h.mu.Unlock()
	if wake {
		s.wake()
	}
}

// progressAll queues a progress response for the stream, if it may.
func (s *Stream) progressAll() (wake bool) {
	if s.unsynced > 0 && !mutate.On(mutate.ProgressEarly) || len(s.watchers) == 0 || s.Congested() {
		return false
	}
	if s.lastStart > s.hub.rev {
		for _, w := range s.watchers {
			if w.startRev > s.hub.rev {
				return false
			}
		}
	}
	return s.post(progress(s.hub.rev, invalidID))
}

// tick queues the progress notifications that are due, for watchers that got no event since the
// last.
func (s *Stream) tick(now time.Time) (wake bool) {
	if s.closed || now.Before(s.due) {
		return false
	}
	s.due = now.Add(s.interval)
	rev := s.hub.rev
	for _, w := range s.notify {
		if !w.sent.clear() && w.state == synced && max(w.startRev, w.told) <= rev &&
			!s.Congested() {
			wake = s.post(progress(rev, w.id)) || wake
		}
	}
	return wake
}

// Congested says that more is queued than the stream's limit: the owner reads no more requests of
// the stream until Take has made room, since every request can queue a response.
func (s *Stream) Congested() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes > s.hub.opts.StreamBytes
}

// Close cancels all watchers and forgets what is queued. A wake that is under way may still come.
func (s *Stream) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return
	}
	s.mu.Lock()
	s.closed = true
	h.stats.pending.Add(-int64(s.events))
	s.in, s.bytes, s.events, s.parked = nil, 0, 0, nil
	s.mu.Unlock()
	h.leave(s)
	n := 0
	for id, w := range s.watchers {
		s.drop(w)
		delete(s.watchers, id)
		if n++; n%lockBatch == 0 {
			h.mu.Unlock()
			h.mu.Lock()
		}
	}
}

// post queues a control response, whatever the queue's length.
func (s *Stream) post(b *body) (wake bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	it := item{b: b}
	s.in = append(s.in, it)
	s.bytes += it.cost()
	return s.signal()
}

// offer queues the bodies from revision from on for w, as far as there is room; the first is
// always taken if the queue is empty. refused is the revision of the first that was not taken,
// and w is parked then; 0 if all were.
func (s *Stream) offer(w *watcher, bodies []*body, from int64, late bool) (
	refused int64, events int, wake bool,
) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || late && w.state == gone {
		return 0, 0, false
	}
	for _, b := range bodies {
		if b.rev < from {
			continue
		}
		it := item{w: w, b: b}
		cost := it.cost()
		if limit := s.hub.opts.StreamBytes; s.bytes > 0 && s.bytes+cost > limit {
			refused = b.rev
			if mutate.On(mutate.ParkSkips) {
				refused++
			}
			s.park(w, limit-cost)
			break
		}
		s.in = append(s.in, it)
		s.bytes += cost
		events += b.events
	}
	s.events += events
	return refused, events, events > 0 && s.signal()
}

// park makes w wait until no more than room bytes are queued, and at most half the limit.
func (s *Stream) park(w *watcher, room int) {
	room = min(max(room, 0), s.hub.opts.StreamBytes/2)
	if len(s.parked) == 0 || room < s.room {
		s.room = room
	}
	s.parked = append(s.parked, w)
}

// signal says whether the owner must be woken.
func (s *Stream) signal() bool {
	if s.signaled {
		return false
	}
	s.signaled = true
	return true
}
