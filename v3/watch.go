package v3

import (
	"sync"

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
	msgs [][]byte // Fill's

	mu      sync.Mutex // guards the calls of watches that change it, and all below
	watches WatchStream
	closed  bool
	// creates is how many were handed on since the last send; held says that one was not.
	creates int
	held    bool
}

// openWatch answers Watch.Watch.
func (d *Door) openWatch(c *rawCall) rpc.Receiver {
	w := &watcher{rawCall: c}
	w.watches = d.backend.OpenWatch(c.stream.Wake)
	return w
}

// Fill sends what the watches have to say.
func (w *watcher) Fill() (more bool) {
	w.msgs = w.watches.Take(w.msgs[:0], min(w.stream.Room(), watchTakeBytes))
	if len(w.msgs) == 0 {
		return false
	}
	if w.stream.Send(w.msgs...) {
		n := 0
		for _, msg := range w.msgs {
			n += len(msg)
			w.door.opts.Hooks.Sent(w.method)
		}
		w.door.opts.Hooks.SentBytes(n)
	}
	clear(w.msgs)
	w.mu.Lock()
	w.creates = 0
	held := w.held
	w.held = false
	w.mu.Unlock()
	if held {
		w.stream.Resume()
	}
	return true
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
	if w.creates >= maxWatchCreates {
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
		w.creates++
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
