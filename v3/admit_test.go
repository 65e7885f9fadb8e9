package v3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/cairnkv/cairn"
)

func TestAdmit(t *testing.T) {
	b := newFake()
	var counted []string
	d := New(b, Options{Hooks: Hooks{ClientRequest: func(kind, version string) {
		counted = append(counted, kind+" "+version)
	}}})
	for _, c := range []struct {
		leader      uint64
		meta        []string
		wantsLeader bool
		err         error
		counted     string
	}{
		{2, nil, false, nil, "unary unknown"},
		{2, []string{"client-api-version", "3.7"}, false, nil, "unary 3.7"},
		{2, []string{"client-api-version", "\xff"}, false, cairn.ErrInvalidClientAPI, ""},
		{2, []string{"hasleader", "true"}, true, nil, "unary unknown"},
		{0, []string{"hasleader", "true"}, true, cairn.ErrNoLeader, "unary unknown"},
		{0, []string{"hasleader", "false"}, false, nil, "unary unknown"},
		{0, []string{"hasleader", "false", "hasleader", "true"}, false, nil, "unary unknown"},
		{0, nil, false, nil, "unary unknown"},
	} {
		b.leader.Store(c.leader)
		counted = nil
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(c.meta...))
		wantsLeader, err := d.admit(metadataOf{ctx}, "unary")
		if wantsLeader != c.wantsLeader || err != c.err ||
			strings.Join(counted, ",") != c.counted {
			t.Errorf("leader %d, %q: %v, %v, counted %q", c.leader, c.meta, wantsLeader, err,
				counted)
		}
	}
}

// No leader refuses requests and streams of clients that want one, before the backend is asked.
func TestNoLeader(t *testing.T) {
	b := newFake()
	b.leader.Store(0)
	_, conn := serve(t, b, Options{})
	ctx := metadata.AppendToOutgoingContext(testContext(t), "hasleader", "true")
	_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("k")})
	wantStatus(t, err, codes.Unavailable, "etcdserver: no leader")
	w, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Recv()
	wantStatus(t, err, codes.Unavailable, "etcdserver: no leader")
	if n := b.proposals.Load(); n != 0 {
		t.Errorf("%d proposals", n)
	}
	// Whoever does not ask is told by the status.
	st, err := pb.NewMaintenanceClient(conn).Status(testContext(t), &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if st.Leader != 0 || st.Errors[0] != "etcdserver: no leader" {
		t.Errorf("status %v", st)
	}
}

// Everything is counted once, under the method's name.
func TestHooks(t *testing.T) {
	b := newFake()
	var mu sync.Mutex // guards log and bytes
	var log []string
	var in, out int
	note := func(what string) func(*Method) {
		return func(m *Method) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, what+" "+m.Name)
		}
	}
	_, conn := serve(t, b, Options{Hooks: Hooks{
		Started: note("started"), Received: note("received"), Sent: note("sent"),
		Handled: func(m *Method, c codes.Code, took time.Duration) {
			if took < 0 {
				t.Errorf("took %v", took)
			}
			note(fmt.Sprint("handled ", c))(m)
		},
		ReceivedBytes: func(n int) { mu.Lock(); in += n; mu.Unlock() },
		SentBytes:     func(n int) { mu.Lock(); out += n; mu.Unlock() },
	}})
	ctx := testContext(t)
	expect := func(want ...string) {
		t.Helper()
		eventually(t, strings.Join(want, ", "), func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Equal(log, want)
		})
		log = nil
	}
	kv := pb.NewKVClient(conn)
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	expect("started Put", "received Put", "sent Put", "handled OK Put")
	if in != 3 || out != 10 {
		t.Errorf("%d bytes in, %d out; want 3, 10", in, out)
	}
	if _, err := kv.Put(ctx, &pb.PutRequest{}); err == nil {
		t.Fatal("a put without a key was accepted")
	}
	expect("started Put", "received Put", "handled InvalidArgument Put")
	ka, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := ka.Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := ka.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if err := ka.CloseSend(); err != nil {
		t.Fatal(err)
	}
	expect("started LeaseKeepAlive", "received LeaseKeepAlive", "sent LeaseKeepAlive",
		"received LeaseKeepAlive", "sent LeaseKeepAlive", "handled OK LeaseKeepAlive")
}

func TestMethods(t *testing.T) {
	d := New(newFake(), Options{})
	seen := make(map[string]bool)
	for i, m := range d.Methods() {
		if m.Index != i || seen[m.FullName()] || m.Kind == "" {
			t.Errorf("method %d is %+v", i, m)
		}
		seen[m.FullName()] = true
	}
	for _, name := range []string{"/etcdserverpb.KV/RangeStream", "/etcdserverpb.Watch/Watch",
		"/etcdserverpb.Maintenance/Snapshot", "/etcdserverpb.Cluster/MemberPromote",
		"/grpc.health.v1.Health/Check"} {
		if !seen[name] {
			t.Errorf("%s is not listed", name)
		}
	}
}

// Every method that the API's own descriptors list is served, and with the same kind of stream.
func TestEveryMethodIsServed(t *testing.T) {
	d := New(newFake(), Options{})
	kinds := make(map[string]MethodKind)
	for _, m := range d.Methods() {
		kinds[m.FullName()] = m.Kind
	}
	for _, desc := range generatedServices() {
		for _, m := range desc.Methods {
			name := "/" + desc.ServiceName + "/" + m.MethodName
			if kinds[name] != Unary {
				t.Errorf("%s is %q, want unary", name, kinds[name])
			}
		}
		for _, s := range desc.Streams {
			name, kind := "/"+desc.ServiceName+"/"+s.StreamName, ServerStream
			if s.ClientStreams {
				kind = BidiStream
			}
			if kinds[name] != kind {
				t.Errorf("%s is %q, want %q", name, kinds[name], kind)
			}
		}
	}
}

// A kept-alive stream ends with its client, with its leader, or with the backend's error.
func TestLeaseKeepAlive(t *testing.T) {
	open := func(t *testing.T, b *fakeBackend, md ...string) (
		*Door, pb.Lease_LeaseKeepAliveClient, *handled, context.CancelFunc,
	) {
		leaves(t)
		h := new(handled)
		d, conn := serve(t, b, Options{Hooks: h.hooks()})
		ctx, cancel := context.WithCancel(
			metadata.AppendToOutgoingContext(testContext(t), md...))
		t.Cleanup(cancel)
		s, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&pb.LeaseKeepAliveRequest{ID: 4}); err != nil {
			t.Fatal(err)
		}
		return d, s, h, cancel
	}
	t.Run("header before renewal", func(t *testing.T) {
		b := newFake()
		b.keepAlive = func(_ context.Context, id int64) (int64, error) {
			b.revision.Add(1)
			return 10 * id, nil
		}
		_, s, _, _ := open(t, b)
		resp, err := s.Recv()
		want(t, resp, err, &pb.LeaseKeepAliveResponse{Header: fakeHeader, ID: 4, TTL: 40})
	})
	t.Run("error", func(t *testing.T) {
		b := newFake()
		b.err = cairn.ErrTimeout
		_, s, _, _ := open(t, b)
		_, err := s.Recv()
		wantStatus(t, err, codes.Unavailable, "etcdserver: request timed out")
	})
	t.Run("client goes", func(t *testing.T) {
		b := newFake()
		asked := make(chan struct{})
		b.keepAlive = func(ctx context.Context, _ int64) (int64, error) {
			close(asked)
			<-ctx.Done()
			return 0, ctx.Err()
		}
		_, _, h, cancel := open(t, b)
		<-asked
		cancel()
		eventually(t, "the handler has returned", func() bool {
			c, ok := h.last()
			return ok && c == codes.Canceled
		})
	})
	t.Run("no leader", func(t *testing.T) {
		b := newFake()
		d, s, _, _ := open(t, b, "hasleader", "true")
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		b.leader.Store(0)
		for range maxLeaderless {
			d.Tick()
		}
		_, err := s.Recv()
		wantStatus(t, err, codes.Unavailable, "etcdserver: no leader")
	})
}

// slowBackup never ends.
type slowBackup struct{ closed chan struct{} }

func (slowBackup) Read(b []byte) (int, error) {
	return copy(b, bytes.Repeat([]byte("x"), len(b))), nil
}

func (s slowBackup) Close() error {
	close(s.closed)
	return nil
}

// A client that goes away during a backup ends it.
func TestSnapshotCanceled(t *testing.T) {
	leaves(t)
	b, closed := newFake(), make(chan struct{})
	b.snapshot = func() (io.ReadCloser, int64, error) { return slowBackup{closed}, 1 << 40, nil }
	_, conn := serve(t, b, Options{})
	ctx, cancel := context.WithCancel(testContext(t))
	s, err := pb.NewMaintenanceClient(conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	<-closed
}
