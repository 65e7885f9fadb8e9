package server

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/server/config"
	v3 "github.com/cairnkv/cairn/v3"
	"github.com/cairnkv/cairn/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// Small sizes, so that a short test sees segments come and go.
const (
	testWALBytes    = 8 << 10
	testRevlogBytes = 8 << 10
	// patience is how long a test waits for what must happen.
	patience = 30 * time.Second
)

// rig is a member without doors; its requests go through the backend, as those of a door.
type rig struct{ *Server }

// hastyClock has timers that fire too early: what is done now and then in the background is done
// all the time.
type hastyClock struct{ clock.Clock }

const haste = 50

func (c hastyClock) NewTimer(d time.Duration) clock.Timer   { return c.Clock.NewTimer(d / haste) }
func (c hastyClock) NewTicker(d time.Duration) clock.Ticker { return c.Clock.NewTicker(d / haste) }

// smallSystem is a system of files in memory, small segments and haste.
func smallSystem(fs vfs.FS) system {
	return system{
		fs: fs, clock: hastyClock{clock.Real()},
		walBytes: testWALBytes, revlogBytes: testRevlogBytes,
	}
}

func startRig(sys system, args ...string) (*rig, error) {
	return startLogged(sys, slog.New(slog.DiscardHandler), args...)
}

func startLogged(sys system, log *slog.Logger, args ...string) (*rig, error) {
	cfg, _, err := config.Parse("cairn", append([]string{"--data-dir=data"}, args...), nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := start(ctx, cfg, log, sys)
	if err != nil {
		return nil, err
	}
	return &rig{s}, nil
}

func mustStart(t *testing.T, sys system, args ...string) *rig {
	t.Helper()
	r, err := startRig(sys, args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) stop(t *testing.T) {
	t.Helper()
	if err := r.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// do proposes a request and waits for its reply.
func (r *rig) do(kind command.Kind, req, reply proto.Message) error {
	b, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	r.back.Propose(kind, b, func(got []byte, err error) {
		if err == nil {
			err = proto.Unmarshal(got, reply)
		}
		result <- err
	})
	return <-result
}

func (r *rig) put(key, value string, lease int64) (int64, error) {
	var reply pb.PutResponse
	err := r.do(command.Put,
		&pb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease}, &reply)
	return reply.GetHeader().GetRevision(), err
}

func (r *rig) delete(key, end string) (rev, deleted int64, err error) {
	var reply pb.DeleteRangeResponse
	req := &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
	err = r.do(command.DeleteRange, req, &reply)
	return reply.GetHeader().GetRevision(), reply.Deleted, err
}

func (r *rig) compact(rev int64) error {
	return r.do(command.Compact, &pb.CompactionRequest{Revision: rev}, &pb.CompactionResponse{})
}

func (r *rig) grant(id, ttl int64) error {
	return r.do(command.LeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: ttl},
		&pb.LeaseGrantResponse{})
}

func (r *rig) revoke(id int64) (rev int64, err error) {
	var reply pb.LeaseRevokeResponse
	err = r.do(command.LeaseRevoke, &pb.LeaseRevokeRequest{ID: id}, &reply)
	return reply.GetHeader().GetRevision(), err
}

func (r *rig) disarm() error {
	return r.do(command.Alarm, &pb.AlarmRequest{
		Action: pb.AlarmRequest_DEACTIVATE, MemberID: r.stores.machine.Local(),
		Alarm: pb.AlarmType_NOSPACE,
	}, &pb.AlarmResponse{})
}

// get reads a range at a revision (0: the newest), linearizably.
func (r *rig) get(key, end string, rev int64) (*pb.RangeResponse, error) {
	if err := r.back.barrier(context.Background()); err != nil {
		return nil, err
	}
	b, err := r.back.AppendRange(context.Background(), nil,
		&cairn.RangeRequest{Key: []byte(key), End: []byte(end), Revision: rev}, v3.Unbounded)
	if err != nil {
		return nil, err
	}
	var reply pb.RangeResponse
	return &reply, proto.Unmarshal(b, &reply)
}

// everything is the range of all keys.
const everything = "\x00"

// watcher collects the events of a stream with one watch.
type watcher struct {
	stream v3.WatchStream
	wake   chan struct{}
	buf    []byte
	ends   []int
	events []*pbEvent
	err    error // why the watch ended
}

// pbEvent is an event as it came, with the revision of the response that brought it.
type pbEvent struct {
	*mvccpb.KeyValue
	deleted bool
}

func (r *rig) watch(from int64) *watcher {
	w := &watcher{wake: make(chan struct{}, 1)}
	w.stream = r.back.OpenWatch(func() { poke(w.wake) })
	w.stream.Create(v3.WatchCreate{Key: []byte{0}, End: []byte{0}, StartRevision: from})
	return w
}

// follow takes what arrives until ended is closed, then up to revision rev(). A stream that is not
// taken from falls behind, and a compaction may overtake it.
func (w *watcher) follow(ended <-chan struct{}, rev func() int64) error {
	for {
		if err := w.take(); err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-ended:
			return w.until(rev())
		}
	}
}

// take adds what has arrived.
func (w *watcher) take() error {
	for {
		var more bool
		w.buf, w.ends, more = w.stream.Take(w.buf[:0], w.ends[:0], 1<<20)
		from := 0
		for _, end := range w.ends {
			var resp pb.WatchResponse
			if err := proto.Unmarshal(w.buf[from:end], &resp); err != nil {
				return err
			}
			from = end
			if resp.Canceled {
				w.err = fmt.Errorf("watch canceled: %s (compacted %d)",
					resp.CancelReason, resp.CompactRevision)
			}
			for _, e := range resp.Events {
				w.events = append(w.events, &pbEvent{e.Kv, e.Type != 0})
			}
		}
		if !more {
			return w.err
		}
	}
}

// until waits for the events up to revision rev.
func (w *watcher) until(rev int64) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		if err := w.take(); err != nil {
			return err
		}
		if n := len(w.events); n > 0 && w.events[n-1].ModRevision >= rev {
			return nil
		}
		select {
		case <-w.wake:
		case <-deadline.C:
			return fmt.Errorf("no events up to revision %d after %v (%d events)",
				rev, patience, len(w.events))
		}
	}
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}
