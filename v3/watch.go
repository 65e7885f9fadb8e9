package v3

import (
	"context"
	"errors"
	"io"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairnkv/cairn"
)

const (
	// watchTakeBytes is how much is taken from the stream of watches at once.
	watchTakeBytes = 256 << 10
	// maxWatchCreates is how many watches of a client are created before something was sent to
	// it again: a client that asks and does not read is not listened to.
	maxWatchCreates = 1024
)

// watcher is one Watch RPC: the handler's goroutine writes, a second one reads.
type watcher struct {
	*stream

	mu      sync.Mutex // guards the calls of watches that change it, and all below
	watches WatchStream
	closed  bool
	// creates is how many were handed on since the last send; room is signaled when it drops.
	creates int
	room    sync.Cond
}

// serveWatch answers Watch.Watch. It lasts until the client's context ends; that the client closes
// its side ends no watch.
func (d *Door) serveWatch(st *stream) error {
	wake := make(chan struct{}, 1)
	w := &watcher{stream: st}
	w.room.L = &w.mu
	w.watches = d.backend.OpenWatch(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	received := make(chan error, 1)
	go func() { received <- w.receive() }()
	err := w.send(wake, received)
	w.close()

	if cause := contextError(st.ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, context.Canceled) {
		return cairn.ErrWatchCanceled
	}
	return err
}

// send sends what the watches have to say until the stream breaks or a request cannot be received.
func (w *watcher) send(wake <-chan struct{}, received <-chan error) error {
	var msgs [][]byte
	for {
		msgs = w.watches.Take(msgs[:0], watchTakeBytes)
		for _, msg := range msgs {
			// A copy, for the stream may still hold the message when it takes the next one.
			if err := w.SendMsg(lendCopy(msg)); err != nil {
				w.door.streamBroke(w.stream, "send", "watch", err)
				return err
			}
		}
		if len(msgs) > 0 {
			w.sent()
			if w.ctx.Err() == nil {
				continue
			}
		}
		select {
		case <-wake:
		case err := <-received:
			if err != nil {
				w.door.streamBroke(w.stream, "receive", "watch", err)
				return err
			}
			received = nil // the client has no more to ask
		case <-w.ctx.Done():
			return contextError(w.ctx)
		}
	}
}

// sent lets the client ask for more.
func (w *watcher) sent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.creates = 0
	w.room.Signal()
}

// close ends the watches; what the client asks for afterwards is not heard.
func (w *watcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.watches.Close()
	w.room.Signal()
}

// receive hands on the client's requests until it closes its side (nil) or the stream breaks.
func (w *watcher) receive() error {
	var r pb.WatchRequest
	for {
		r.Reset()
		if err := w.RecvMsg(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if !w.request(&r) {
			return nil
		}
	}
}

// request hands on one request. It waits while too many creations are without any response; ok is
// false once the watches are closed. A request of a kind not known is ignored, as in etcd.
func (w *watcher) request(r *pb.WatchRequest) (ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.creates >= maxWatchCreates && !w.closed {
		w.room.Wait()
	}
	if w.closed {
		return false
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
