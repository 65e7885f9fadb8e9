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
)

// watcher is one Watch RPC. That the client closes its side ends no watch: it lasts until the
// client gives it up.
type watcher struct {
	*rawCall
	// held: a request was not handed on, for the client does not take what its requests bring.
	held atomic.Bool

	mu      sync.Mutex // guards the calls of watches that change it, and all below
	watches WatchStream
	closed  bool
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
		if w.held.Load() && !w.watches.Congested() {
			w.held.Store(false)
			w.stream.Resume()
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

// Message hands on one request, unless the client takes too little of what is there for it. A
// request of a kind not known is ignored, as in etcd.
func (w *watcher) Message(msg []byte) (ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return true
	}
	if w.congested() {
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

// congested says whether the next request has to wait; then Fill resumes, once there is room. Fill
// may make room at the same time: it makes room and then looks at held, here it is the other way.
func (w *watcher) congested() bool {
	if !w.watches.Congested() {
		return false
	}
	w.held.Store(true)
	return w.watches.Congested()
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
