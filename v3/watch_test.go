package v3

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/wire"
)

// watching is a client's watch stream and the fake that serves it.
type watching struct {
	pb.Watch_WatchClient
	door   *Door
	fake   *fakeWatch
	cancel context.CancelFunc
	ended  *handled
}

func openWatch(t *testing.T, md ...string) (*watching, *fakeBackend) {
	t.Helper()
	leaves(t)
	b, ended := newFake(), new(handled)
	opened := make(chan *fakeWatch, 1)
	b.openWatch = func(wake func()) WatchStream {
		w := newFakeWatch(wake)
		opened <- w
		return w
	}
	d, conn := serve(t, b, Options{Hooks: ended.hooks()})
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(testContext(t), md...))
	t.Cleanup(cancel)
	s, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &watching{Watch_WatchClient: s, door: d, fake: <-opened, cancel: cancel, ended: ended}, b
}

func (w *watching) create(t *testing.T, r *pb.WatchCreateRequest) {
	t.Helper()
	u := &pb.WatchRequest_CreateRequest{CreateRequest: r}
	if err := w.Send(&pb.WatchRequest{RequestUnion: u}); err != nil {
		t.Fatal(err)
	}
}

// expect receives the response for a watch.
func (w *watching) expect(t *testing.T, id int64, created, canceled bool) {
	t.Helper()
	r, err := w.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if r.WatchId != id || r.Created != created || r.Canceled != canceled {
		t.Errorf("got %v, want id %d, created %v, canceled %v", r, id, created, canceled)
	}
}

// endsWith waits until the server's side is over and its watches are closed.
func (w *watching) endsWith(t *testing.T, code codes.Code) {
	t.Helper()
	<-w.fake.closed
	eventually(t, "the handler has returned", func() bool { _, ok := w.ended.last(); return ok })
	if c, _ := w.ended.last(); c != code {
		t.Errorf("the server ended the stream with %v, want %v", c, code)
	}
}

func TestWatchRequests(t *testing.T) {
	w, _ := openWatch(t)
	w.create(t, &pb.WatchCreateRequest{
		Key: []byte("a"), RangeEnd: []byte("b"), StartRevision: 5, ProgressNotify: true,
		PrevKv: true, WatchId: 9, Fragment: true,
		Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE, 5},
	})
	w.expect(t, 9, true, false)
	w.create(t, &pb.WatchCreateRequest{StartRevision: -1, WatchId: 3,
		Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}})
	w.expect(t, 3, true, false)
	want := []WatchCreate{
		{Key: []byte("a"), End: []byte("b"), StartRevision: 5, ID: 9, ProgressNotify: true,
			NoDelete: true, PrevKV: true, Fragment: true},
		{Key: []byte{0}, StartRevision: -1, ID: 3, NoPut: true},
	}
	if d := cmp.Diff(want, w.fake.creates); d != "" {
		t.Error(d)
	}
	// A request of no kind is ignored.
	if err := w.Send(&pb.WatchRequest{}); err != nil {
		t.Fatal(err)
	}
	progress := &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}
	if err := w.Send(&pb.WatchRequest{RequestUnion: progress}); err != nil {
		t.Fatal(err)
	}
	w.expect(t, -1, false, false)
	cancel := &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 9}}
	if err := w.Send(&pb.WatchRequest{RequestUnion: cancel}); err != nil {
		t.Fatal(err)
	}
	w.expect(t, 9, false, true)
	w.cancel()
	w.endsWith(t, codes.Canceled)
}

// Messages come in order, whatever their number and size.
func TestWatchDelivers(t *testing.T) {
	w, _ := openWatch(t)
	big := bytes.Repeat([]byte("x"), 5<<20)
	go func() {
		for i := range 3000 {
			msg := wire.AppendVarint(nil, wire.WatchID, uint64(i+1))
			if i%1000 == 7 {
				ev := wire.AppendKV(nil, wire.EventKV,
					wire.AppendKeyValue(nil, &cairn.KeyValue{Value: big}))
				msg = wire.AppendKV(msg, wire.WatchEvents, ev)
			}
			w.fake.emit(bytes.Clone(msg))
		}
	}()
	for i := range 3000 {
		r, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.WatchId != int64(i+1) {
			t.Fatalf("message %d came in the place of %d", r.WatchId, i+1)
		}
		if i%1000 == 7 && !bytes.Equal(r.Events[0].Kv.Value, big) {
			t.Error("a big event has changed")
		}
	}
}

// The client's half of the stream may end: its watches go on.
func TestWatchHalfClose(t *testing.T) {
	w, _ := openWatch(t)
	w.create(t, &pb.WatchCreateRequest{Key: []byte("a"), WatchId: 1})
	w.expect(t, 1, true, false)
	if err := w.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		w.fake.emit(watchMessage(int64(i), false, false))
		w.expect(t, int64(i), false, false)
	}
	select {
	case <-w.fake.closed:
		t.Error("the watches were closed")
	default:
	}
	w.cancel()
	w.endsWith(t, codes.Canceled)
}

// A client that does not read holds up its own stream alone: messages stay where they are.
func TestWatchSlowClient(t *testing.T) {
	w, _ := openWatch(t)
	msg := bytes.Repeat(wire.AppendVarint(nil, wire.WatchCompactRevision, 1<<40), 4<<10)
	for range 1000 {
		w.fake.emit(bytes.Clone(msg))
	}
	taken := func() int {
		w.fake.mu.Lock()
		defer w.fake.mu.Unlock()
		return 1000 - len(w.fake.out)
	}
	eventually(t, "something was taken", func() bool { return taken() > 0 })
	if n := taken() * len(msg); n > 4<<20 {
		t.Errorf("%d bytes were taken for a client that does not read", n)
	}
	for range 1000 {
		if _, err := w.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	w.cancel()
	w.endsWith(t, codes.Canceled)
}

// muteWatch says nothing until it is told to.
type muteWatch struct {
	*fakeWatch
	speak chan struct{}
}

func (w *muteWatch) Take(buf []byte, ends []int, maxBytes int) ([]byte, []int, bool) {
	select {
	case <-w.speak:
		return w.fakeWatch.Take(buf, ends, maxBytes)
	default:
		return buf, ends, false
	}
}

// A client that asks without end and takes nothing is not heard until it does, whatever it asks.
func TestWatchRequestsAreBounded(t *testing.T) {
	const limit = 1000
	leaves(t)
	b := newFake()
	opened := make(chan *muteWatch, 1)
	b.openWatch = func(wake func()) WatchStream {
		w := &muteWatch{newFakeWatch(wake), make(chan struct{})}
		w.limit = limit
		opened <- w
		return w
	}
	_, conn := serve(t, b, Options{})
	s, err := pb.NewWatchClient(conn).Watch(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	const n = 3 * limit
	sent := make(chan error, 1)
	go func() {
		w := watching{Watch_WatchClient: s}
		for i := range n {
			r := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
				CreateRequest: &pb.WatchCreateRequest{WatchId: int64(i + 1)}}}
			if i%2 > 0 {
				r.RequestUnion = &pb.WatchRequest_CancelRequest{
					CancelRequest: &pb.WatchCancelRequest{WatchId: int64(i + 1)}}
			}
			if err := w.Send(r); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	w := <-opened
	waiting := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.out)
	}
	eventually(t, "as many as allowed wait", func() bool { return waiting() == limit })
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if k := waiting(); k != limit {
		t.Errorf("%d responses wait, the limit is %d", k, limit)
	}
	close(w.speak)
	w.wake()
	for i := range n {
		r, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if r.WatchId != int64(i+1) {
			t.Fatalf("answer to %d in the place of %d", r.WatchId, i+1)
		}
	}
}

// The ways a stream ends.
func TestWatchEnds(t *testing.T) {
	t.Run("malformed request", func(t *testing.T) {
		leaves(t)
		b := newFake()
		w := newFakeWatch(func() {})
		b.openWatch = func(func()) WatchStream { return w }
		_, conn := serve(t, b, Options{})
		s, err := conn.NewStream(testContext(t),
			&grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			"/etcdserverpb.Watch/Watch", grpc.ForceCodec(rawCodec{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendMsg(rawRequest{0x0a, 9}); err != nil {
			t.Fatal(err)
		}
		wantMalformed(t, s.RecvMsg(new(pb.WatchResponse)))
		<-w.closed
	})
	t.Run("server stops", func(t *testing.T) {
		leaves(t)
		b := newFake()
		w := newFakeWatch(func() {})
		opened := make(chan struct{})
		b.openWatch = func(func()) WatchStream { close(opened); return w }
		stop := serveUntil(t, b)
		<-opened
		stop()
		<-w.closed
	})
}

// Streams that want a leader end without one; others do not.
func TestWatchWithoutLeader(t *testing.T) {
	t.Run("no leader", func(t *testing.T) {
		w, b := openWatch(t, "hasleader", "true")
		w.create(t, &pb.WatchCreateRequest{WatchId: 1})
		w.expect(t, 1, true, false)
		b.leader.Store(0)
		for range maxLeaderless - 1 {
			w.door.Tick()
		}
		b.leader.Store(2)
		w.door.Tick() // in time: the count starts anew
		b.leader.Store(0)
		for range maxLeaderless - 1 {
			w.door.Tick()
		}
		w.fake.emit(watchMessage(2, false, false))
		w.expect(t, 2, false, false)
		w.door.Tick()
		_, err := w.Recv()
		wantStatus(t, err, codes.Unavailable, "etcdserver: no leader")
		w.endsWith(t, codes.Unavailable)
	})
	t.Run("no leader, but none was asked for", func(t *testing.T) {
		w, b := openWatch(t)
		b.leader.Store(0)
		for range 2 * maxLeaderless {
			w.door.Tick()
		}
		w.create(t, &pb.WatchCreateRequest{WatchId: 1})
		w.expect(t, 1, true, false)
	})
}

func wantMalformed(t *testing.T, err error) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != codes.Internal ||
		!strings.HasPrefix(s.Message(), "grpc: failed to unmarshal the received message: proto:") {
		t.Errorf("got %v", err)
	}
}

// serveUntil serves and opens a watch; the function that it returns stops the server.
func serveUntil(t *testing.T, b Backend) (stop func()) {
	d := New(b, Options{})
	s, conn := listen(t, d)
	if _, err := pb.NewWatchClient(conn).Watch(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return s.Stop
}
