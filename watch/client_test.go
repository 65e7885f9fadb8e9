package watch

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
)

// client is the far side of a stream: it takes, decodes, and holds every response against the
// model.
type client struct {
	m     *model
	s     *Stream
	woken atomic.Bool
	wakes chan struct{} // a token for each wake
	limit int           // Options.ResponseBytes
	// racing: others publish at the same time, so that a wake may come after the Take that it is
	// for.
	racing bool

	created  []CreateRequest // requests whose answer has not come, in order
	cancels  map[int64]int   // requests whose answer has not come
	watchers map[int64]*seen
	pieces   []*pb.WatchResponse
	progress int // responses with watch id -1
	notified int // progress notifications of watchers
	nextID   int64
}

// seen is what the client knows of a watcher.
type seen struct {
	req   CreateRequest
	known int64 // everything up to here has come
	// floor is the revision in the created response: without a start, no event up to it may come.
	floor   int64
	header  int64 // the highest revision of a header
	expired bool  // canceled by the hub
}

var testHeader = cairn.Header{ClusterID: 1<<63 + 5, MemberID: 77, Revision: 123456, RaftTerm: 9}

func openClient(h *Hub, m *model) *client {
	c := &client{
		m: m, wakes: make(chan struct{}, 1), limit: h.opts.ResponseBytes,
		cancels: make(map[int64]int), watchers: make(map[int64]*seen),
	}
	c.s = h.Open(func() cairn.Header { return testHeader }, c.wake)
	return c
}

func (c *client) wake() {
	c.woken.Store(true)
	select {
	case c.wakes <- struct{}{}:
	default:
	}
}

func (c *client) create(r CreateRequest) {
	c.created = append(c.created, r)
	c.s.Create(r)
}

func (c *client) cancel(id int64) {
	c.cancels[id]++
	c.s.Cancel(id)
}

// take takes up to maxBytes and checks what comes.
func (c *client) take(maxBytes int) (n int, err error) {
	woken := c.woken.Swap(false)
	msgs := take(c.s, maxBytes)
	if len(msgs) > 0 {
		if !woken && !c.woken.Load() && !c.racing {
			return 0, fmt.Errorf("there are responses but nobody was woken")
		}
		c.woken.Store(true)
	}
	size := 0
	for i, msg := range msgs {
		size += len(msg)
		if i > 0 && size > maxBytes {
			return 0, fmt.Errorf("take of %d bytes gave %d", maxBytes, size)
		}
		var r pb.WatchResponse
		if err := proto.Unmarshal(msg, &r); err != nil {
			return 0, err
		}
		again, err := proto.MarshalOptions{Deterministic: true}.Marshal(&r)
		if err != nil || !bytes.Equal(again, msg) {
			return 0, fmt.Errorf("response is not as etcd encodes it: %x, %x", msg, again)
		}
		if err := c.response(&r); err != nil {
			return 0, fmt.Errorf("%w\nresponse: %v", err, &r)
		}
	}
	return len(msgs), nil
}

func (c *client) response(r *pb.WatchResponse) error {
	h := r.Header
	if h.ClusterId != testHeader.ClusterID || h.MemberId != testHeader.MemberID ||
		h.RaftTerm != testHeader.RaftTerm {
		return fmt.Errorf("wrong header")
	}
	if h.Revision > c.m.Rev() {
		return fmt.Errorf("header is ahead of the store at %d", c.m.Rev())
	}
	switch {
	case r.Created:
		return c.onCreated(r)
	case r.Canceled:
		return c.onCanceled(r)
	case len(r.Events) == 0 && r.WatchId == invalidID:
		c.progress++
		return c.onProgress(r)
	}
	w := c.watchers[r.WatchId]
	if w == nil || w.expired {
		return fmt.Errorf("response for a watcher that is not there")
	}
	if err := w.goesOn(h.Revision); err != nil {
		return err
	}
	if len(r.Events) == 0 {
		c.notified++
		if !w.req.Progress {
			return fmt.Errorf("progress was not asked for")
		}
		return c.caughtUp(w, h.Revision)
	}
	return c.onEvents(w, r)
}

func (c *client) onCreated(r *pb.WatchResponse) error {
	req := c.created[0]
	c.created = c.created[1:]
	if r.Canceled {
		if r.WatchId != invalidID || r.CompactRevision != 0 || c.refusal(&req) != r.CancelReason {
			return fmt.Errorf("refused, want %q", c.refusal(&req))
		}
		return nil
	}
	if want := c.refusal(&req); want != "" {
		return fmt.Errorf("created, want refusal %q", want)
	}
	if want := c.id(&req); want != r.WatchId {
		return fmt.Errorf("want id %d", want)
	}
	w := &seen{req: req, known: req.StartRevision - 1, floor: r.Header.Revision}
	w.header = w.floor
	if req.StartRevision == 0 {
		w.known = w.floor
	}
	c.watchers[r.WatchId] = w
	return nil
}

func (c *client) refusal(r *CreateRequest) string {
	if r.StartRevision < 0 {
		return "etcdserver: mvcc: required revision has been compacted"
	}
	end := r.End
	if len(end) == 1 && end[0] == 0 {
		end = nil
	}
	if len(end) > 0 && bytes.Compare(r.Key, end) >= 0 {
		return "mvcc: watcher range is empty"
	}
	if r.ID != 0 && c.watchers[r.ID] != nil {
		return "mvcc: duplicate watch ID provided on the WatchStream"
	}
	return ""
}

func (c *client) id(r *CreateRequest) int64 {
	if r.ID != 0 {
		return r.ID
	}
	for c.watchers[c.nextID] != nil {
		c.nextID++
	}
	c.nextID++
	return c.nextID - 1
}

func (c *client) onCanceled(r *pb.WatchResponse) error {
	w := c.watchers[r.WatchId]
	if w == nil {
		return fmt.Errorf("cancel of a watcher that is not there")
	}
	if r.CompactRevision == 0 && r.CancelReason == "" {
		if c.cancels[r.WatchId] == 0 {
			return fmt.Errorf("cancel was not asked for")
		}
		c.cancels[r.WatchId]--
		delete(c.watchers, r.WatchId)
		return w.goesOn(r.Header.Revision)
	}
	if w.expired {
		return fmt.Errorf("expired twice")
	}
	w.expired = true
	if r.CancelReason != "" {
		return w.goesOn(r.Header.Revision)
	}
	if r.Header.Revision != 0 {
		return fmt.Errorf("etcd's header of a compacted watcher has no revision")
	}
	if r.CompactRevision > c.m.CompactRev() || w.known+1 >= r.CompactRevision {
		return fmt.Errorf("compaction did not concern a watcher that knows %d", w.known)
	}
	return nil
}

func (c *client) onProgress(r *pb.WatchResponse) error {
	if len(c.watchers) == 0 {
		return fmt.Errorf("progress of no watcher")
	}
	for id, w := range c.watchers {
		if w.expired {
			return fmt.Errorf("progress with the expired watcher %d", id)
		}
		err := cmp.Or(w.goesOn(r.Header.Revision), c.caughtUp(w, r.Header.Revision))
		if err != nil {
			return fmt.Errorf("watcher %d: %w", id, err)
		}
	}
	return nil
}

// goesOn checks that the revisions of the headers that a watcher gets never go back.
func (w *seen) goesOn(header int64) error {
	if header < w.header {
		return fmt.Errorf("the header went back from %d to %d", w.header, header)
	}
	w.header = header
	return nil
}

// caughtUp checks that everything up to rev has come.
func (c *client) caughtUp(w *seen, rev int64) error {
	if rev < w.req.StartRevision {
		return fmt.Errorf("progress at %d before the start %d", rev, w.req.StartRevision)
	}
	if evs := c.m.expected(&w.req, w.known+1, rev); len(evs) > 0 {
		return fmt.Errorf("promised %d, but the event of %d has not come", rev, evs[0].Rev.Main)
	}
	w.known = max(w.known, rev)
	return nil
}

func (c *client) onEvents(w *seen, r *pb.WatchResponse) error {
	if r.Fragment && !w.req.Fragment {
		return fmt.Errorf("fragments were not asked for")
	}
	if len(c.pieces) > 0 && c.pieces[0].WatchId != r.WatchId {
		return fmt.Errorf("fragments of %d interrupted", c.pieces[0].WatchId)
	}
	c.pieces = append(c.pieces, r)
	if r.Fragment {
		return nil
	}
	whole := proto.Clone(c.pieces[0]).(*pb.WatchResponse)
	for _, p := range c.pieces[1:] {
		whole.Events = append(whole.Events, p.Events...)
	}
	whole.Fragment = false
	pieces := c.pieces
	c.pieces = nil
	if w.req.Fragment {
		same := func(a, b *pb.WatchResponse) bool { return proto.Equal(a, b) }
		if want := fragments(whole, c.limit); !slices.EqualFunc(pieces, want, same) {
			return fmt.Errorf("%d fragments, want %d", len(pieces), len(want))
		}
	}
	return c.events(w, whole)
}

// fragments is etcd's rule, written down a second time.
func fragments(r *pb.WatchResponse, limit int) (out []*pb.WatchResponse) {
	if proto.Size(r) < limit || len(r.Events) < 2 {
		return []*pb.WatchResponse{r}
	}
	for rest := r.Events; len(rest) > 0; {
		p := &pb.WatchResponse{Header: r.Header, WatchId: r.WatchId, Fragment: true}
		for len(rest) > 0 {
			p.Events = append(p.Events, rest[0])
			if len(p.Events) > 1 && proto.Size(p) >= limit {
				p.Events = p.Events[:len(p.Events)-1]
				break
			}
			rest = rest[1:]
		}
		p.Fragment = len(rest) > 0
		out = append(out, p)
	}
	return out
}

// events checks that a response has exactly the watcher's next events, to the end of a revision.
func (c *client) events(w *seen, r *pb.WatchResponse) error {
	last := r.Events[len(r.Events)-1].Kv.ModRevision
	if r.Header.Revision < last {
		return fmt.Errorf("header is behind the events")
	}
	want := c.m.expected(&w.req, w.known+1, last)
	if len(want) != len(r.Events) {
		return fmt.Errorf("%d events after %d, want %d", len(r.Events), w.known, len(want))
	}
	for i, ev := range r.Events {
		if err := c.event(w, ev, want[i]); err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
	}
	w.known = last
	return nil
}

func (c *client) event(w *seen, got *mvccpb.Event, want *mvcc.Event) error {
	kv, err := proto.Marshal(got.Kv)
	if err != nil {
		return err
	}
	if !bytes.Equal(kv, want.KV) || (got.Type == mvccpb.Event_DELETE) != want.Delete {
		return fmt.Errorf("is %v, want that of %v", got, want.Rev)
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	prev := c.m.before(want)
	switch {
	case got.PrevKv == nil:
		if w.req.PrevKV && prev != nil && want.Rev.Main-1 >= c.m.compact {
			return fmt.Errorf("previous value is missing")
		}
		return nil
	case !w.req.PrevKV:
		return fmt.Errorf("previous value was not asked for")
	}
	kv, err = proto.Marshal(got.PrevKv)
	if err != nil {
		return err
	}
	if !bytes.Equal(kv, prev) {
		return fmt.Errorf("wrong previous value")
	}
	return nil
}

// take returns the messages of one Take.
func take(s *Stream, maxBytes int) (msgs [][]byte) {
	buf, ends, _ := s.Take(nil, nil, maxBytes)
	from := 0
	for _, end := range ends {
		msgs = append(msgs, buf[from:end])
		from = end
	}
	return msgs
}
