package v3

import (
	"sync"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/rpc"
)

const (
	// watchTakeBytes is how much is taken from the stream of watches at most at once.
	watchTakeBytes = 64 << 10
	// maxWatchCreates is how many watches of a client are created before something was sent to
	// it again: a client that asks and does not read is not listened to.
	maxWatchCreates = 1024
)

// watcher is one Watch RPC. That the client closes its side ends no watch: it lasts until the
// client gives it up.
type watcher struct {
	*rawCall
	// creates is how many were handed on since the last send. Message adds with mu held.
	creates atomic.Int32

	mu      sync.Mutex // guards the calls of watches that change it, and all below
	watches WatchStream
	closed  bool
	held    bool // a request was not handed on for too many creates
}

// openWatch answers Watch.Watch.
func (d *Door) openWatch(c *rawCall) rpc.Receiver {
	w := &watcher{rawCall: c}
	w.watches = d.backend.OpenWatch(c.stream.Wake)
	return w
}

// Fill sends what the watches have to say.
func (w *watcher) Fill(room int) (more bool) {
	b := batches.Get().(*batch)
	b.buf, b.ends, more = w.watches.Take(b.buf[:0], b.ends[:0], min(room, watchTakeBytes))
	if len(b.ends) > 0 {
		if w.stream.SendAll(b.buf, b.ends) {
			w.sent(len(b.ends), len(b.buf))
		}
		if w.creates.Load() > 0 {
			w.answered()
		}
	}
	if cap(b.buf) <= maxKeptReply {
		batches.Put(b)
	}
	return more
}

// batch is the memory of messages on their way from the watches to the stream.
type batch struct {
	buf  []byte
	ends []int
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// answered lets the client ask for more.
func (w *watcher) answered() {
	w.mu.Lock()
	w.creates.Store(0)
	held := w.held
	w.held = false
	w.mu.Unlock()
	if held {
		w.stream.Resume()
	}
}

// Ended closes the watches.
func (w *watcher) Ended() {
	w.mu.Lock()
	w.closed = true
	w.watches.Close()
	w.mu.Unlock()
	w.end(cairn.ErrWatchCanceled)
}

// HalfClosed changes nothing: the watches go on.
func (w *watcher) HalfClosed() {}

// Message hands on one request, unless too many creations are without any response. A request of a
// kind not known is ignored, as in etcd.
func (w *watcher) Message(msg []byte) (ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return true
	}
	if w.creates.Load() >= maxWatchCreates {
		w.held = true
		return false
	}
	w.received(msg)
	r := new(pb.WatchRequest)
	if err := proto.Unmarshal(msg, r); err != nil {
		w.broke("receive", "watch", err)
		w.finish(malformedInStream(err))
		return true
	}
	switch u := r.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		w.creates.Add(1)
		w.watches.Create(watchCreate(u.CreateRequest))
	case *pb.WatchRequest_CancelRequest:
		w.watches.Cancel(u.CancelRequest.WatchId)
	case *pb.WatchRequest_ProgressRequest:
		w.watches.Progress()
	default:
		w.door.opts.Log.Info("invalid watch request received in gRPC stream")
	}
	return true
}

func watchCreate(r *pb.WatchCreateRequest) WatchCreate {
	c := WatchCreate{
		Key: r.Key, End: r.RangeEnd, StartRevision: r.StartRevision, ID: r.WatchId,
		ProgressNotify: r.ProgressNotify, PrevKV: r.PrevKv, Fragment: r.Fragment,
	}
	if len(c.Key) == 0 {
		c.Key = []byte{0} // the smallest key
	}
	for _, f := range r.Filters {
		switch f {
		case pb.WatchCreateRequest_NOPUT:
			c.NoPut = true
		case pb.WatchCreateRequest_NODELETE:
			c.NoDelete = true
		}
	}
	return c
}
