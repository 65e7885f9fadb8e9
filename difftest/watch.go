package difftest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

const (
	// probeID is the first watch id that the runner uses for probes of its own; scripts stay below.
	probeID = int64(1) << 30

	// probeKey is what probes watch. It may fall into the ranges of a script's watchers, which then
	// see it on both sides.
	probeKey = "\xf0probe"

	// answerTimeout bounds the wait for something that a watch stream must deliver.
	answerTimeout = 10 * time.Second
)

var errAnswerTimeout = errors.New("the watch stream did not answer in time")

// watchStream is one open Watch RPC on one side. A goroutine of its own receives.
type watchStream struct {
	client pb.Watch_WatchClient
	cancel context.CancelFunc

	mu      sync.Mutex // guards the fields below
	log     []*pb.WatchResponse
	probes  []*pb.WatchResponse // responses for ids from probeID on
	err     error               // how the stream ended; nil while it is open
	ended   bool
	changed chan struct{} // closed and replaced when something was received
}

// openWatch opens a stream on the side's connection.
func (s *Side) openWatch() (*watchStream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	client, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	ws := &watchStream{client: client, cancel: cancel, changed: make(chan struct{})}
	go ws.receive()
	return ws, nil
}

// receive appends what comes until the stream ends.
func (ws *watchStream) receive() {
	for {
		resp, err := ws.client.Recv()
		ws.mu.Lock()
		switch {
		case err != nil:
			ws.ended, ws.err = true, err
		case resp.WatchId >= probeID:
			ws.probes = append(ws.probes, resp)
		default:
			ws.log = append(ws.log, resp)
		}
		close(ws.changed)
		ws.changed = make(chan struct{})
		ws.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// stop ends the stream from the client's side.
func (ws *watchStream) stop() { ws.cancel() }

// wait waits until ok holds, which it calls with the lock held, or the stream has ended.
func (ws *watchStream) wait(ok func() bool) error {
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	for {
		ws.mu.Lock()
		done, ended, err, changed := ok(), ws.ended, ws.err, ws.changed
		ws.mu.Unlock()
		switch {
		case done:
			return nil
		case ended:
			return fmt.Errorf("watch stream ended: %w", err)
		}
		select {
		case <-changed:
		case <-timer.C:
			return errAnswerTimeout
		}
	}
}

// control sends a request and waits until the server has dealt with it, though it may have nothing
// to say: behind it goes a request that is refused for certain, and control responses keep their
// order. The refusal is removed from the log.
func (ws *watchStream) control(req *pb.WatchRequest) error {
	marker, isMarker := refusedCreate(req)
	ws.mu.Lock()
	before := count(ws.log, isMarker)
	ws.mu.Unlock()
	if err := ws.client.Send(req); err != nil {
		return err
	}
	if err := ws.client.Send(marker); err != nil {
		return err
	}
	return ws.wait(func() bool {
		if count(ws.log, isMarker) == before {
			return false
		}
		i := len(ws.log) - 1
		for !isMarker(ws.log[i]) {
			i--
		}
		ws.log = slices.Delete(ws.log, i, i+1)
		return true
	})
}

// refusedCreate returns a create request that is refused, and how to know the refusal from what the
// request before it might get: there are two reasons, and it takes the other one.
func refusedCreate(before *pb.WatchRequest) (*pb.WatchRequest, func(*pb.WatchResponse) bool) {
	create := &pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}
	reason := "mvcc: watcher range is empty"
	if c := before.GetCreateRequest(); c != nil && c.StartRevision >= 0 {
		create = &pb.WatchCreateRequest{Key: []byte("a"), StartRevision: -1}
		reason = "etcdserver: mvcc: required revision has been compacted"
	}
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}},
		func(r *pb.WatchResponse) bool {
			return r.Created && r.Canceled && r.CancelReason == reason
		}
}

// count returns how many responses satisfy f.
func count(log []*pb.WatchResponse, f func(*pb.WatchResponse) bool) (n int) {
	for _, r := range log {
		if f(r) {
			n++
		}
	}
	return n
}

// openProbe creates a watcher for probeKey and waits for its created response.
func (ws *watchStream) openProbe(id, start int64) error {
	err := ws.client.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
		CreateRequest: &pb.WatchCreateRequest{
			Key: []byte(probeKey), StartRevision: start, WatchId: id,
		},
	}})
	if err != nil {
		return err
	}
	return ws.awaitProbe(id, func(r *pb.WatchResponse) bool { return r.Created })
}

// closeProbe cancels a probe and waits for the answer.
func (ws *watchStream) closeProbe(id int64) error {
	err := ws.client.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{
		CancelRequest: &pb.WatchCancelRequest{WatchId: id},
	}})
	if err != nil {
		return err
	}
	return ws.awaitProbe(id, func(r *pb.WatchResponse) bool { return r.Canceled })
}

// awaitProbeEvent waits for the event of revision rev at a probe.
func (ws *watchStream) awaitProbeEvent(id, rev int64) error {
	return ws.awaitProbe(id, func(r *pb.WatchResponse) bool {
		return slices.ContainsFunc(r.Events, func(e *mvccpb.Event) bool {
			return e.Kv.ModRevision == rev
		})
	})
}

// awaitProbe waits for a response to the probe id that satisfies f.
func (ws *watchStream) awaitProbe(id int64, f func(*pb.WatchResponse) bool) error {
	return ws.wait(func() bool {
		return slices.ContainsFunc(ws.probes, func(r *pb.WatchResponse) bool {
			return r.WatchId == id && f(r)
		})
	})
}

// take returns copies of the responses since the last take that are not probes'. They stay in the
// log until drop.
func (ws *watchStream) take() []*pb.WatchResponse {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	log := make([]*pb.WatchResponse, len(ws.log))
	for i, r := range ws.log {
		log[i] = proto.Clone(r).(*pb.WatchResponse)
	}
	return log
}

// drop forgets the first n responses and all that probes have got.
func (ws *watchStream) drop(n int) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.log = slices.Clone(ws.log[n:])
	ws.probes = nil
}
