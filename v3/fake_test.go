package v3

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/wire"
)

// testTimeout bounds what a test waits for.
const testTimeout = 20 * time.Second

// proposal is a request that the fake backend was asked to replicate.
type proposal struct {
	kind command.Kind
	req  []byte
	done func([]byte, error)
}

// fakeBackend answers everything at once with little, unless a test says otherwise.
type fakeBackend struct {
	leader    atomic.Uint64
	learner   atomic.Bool
	revision  atomic.Int64
	barriers  atomic.Int64
	proposals atomic.Int64

	// Each is called instead of the plain answer, if set.
	propose     func(p proposal)
	barrier     func(done func([]byte, error))
	appendRange func(ctx context.Context, dst []byte, r *cairn.RangeRequest) ([]byte, error)
	writeRange  func(ctx context.Context, begin func(int) error, write func([]byte) error) error
	streamRange func(ctx context.Context, send func([]byte) error) error
	compacted   func(ctx context.Context, rev int64) error
	keepAlive   func(ctx context.Context, id int64) (int64, error)
	openWatch   func(wake func()) WatchStream
	snapshot    func() (io.ReadCloser, int64, error)
	err         error // of all cold RPCs
}

func newFake() *fakeBackend {
	b := new(fakeBackend)
	b.leader.Store(2)
	b.revision.Store(7)
	return b
}

func (b *fakeBackend) Header() cairn.Header {
	return cairn.Header{ClusterID: 1, MemberID: 2, Revision: b.revision.Load(), RaftTerm: 3}
}

func (b *fakeBackend) Leader() cairn.MemberID { return b.leader.Load() }

func (b *fakeBackend) Learner() bool { return b.learner.Load() }

func (b *fakeBackend) Propose(kind command.Kind, req []byte, done func([]byte, error)) {
	b.proposals.Add(1)
	if b.propose != nil {
		b.propose(proposal{kind, req, done})
		return
	}
	h := b.Header()
	done(wire.AppendHeader(nil, &h), nil)
}

func (b *fakeBackend) Barrier(done func([]byte, error)) {
	b.barriers.Add(1)
	if b.barrier != nil {
		b.barrier(done)
		return
	}
	done(nil, nil)
}

func (b *fakeBackend) AppendRange(
	ctx context.Context, dst []byte, r *cairn.RangeRequest, _ Budget,
) ([]byte, error) {
	if b.appendRange != nil {
		return b.appendRange(ctx, dst, r)
	}
	h := b.Header()
	return wire.AppendHeader(dst, &h), nil
}

func (b *fakeBackend) WriteRange(
	ctx context.Context, r *cairn.RangeRequest, begin func(int) error, write func([]byte) error,
) error {
	if b.writeRange != nil {
		return b.writeRange(ctx, begin, write)
	}
	h := b.Header()
	msg := wire.AppendHeader(nil, &h)
	if err := begin(len(msg)); err != nil {
		return err
	}
	return write(msg)
}

func (b *fakeBackend) AppendReadTxn(
	_ context.Context, dst []byte, _ *cairn.TxnRequest,
) ([]byte, error) {
	h := b.Header()
	return wire.AppendTxnResponse(dst, &h, true, nil), nil
}

func (b *fakeBackend) StreamRange(
	ctx context.Context, _ *cairn.RangeRequest, send func([]byte) error,
) error {
	if b.streamRange != nil {
		return b.streamRange(ctx, send)
	}
	h := b.Header()
	return send(wire.AppendHeader(nil, &h))
}

func (b *fakeBackend) WaitCompacted(ctx context.Context, rev int64) error {
	if b.compacted != nil {
		return b.compacted(ctx, rev)
	}
	return nil
}

func (b *fakeBackend) KeepAlive(ctx context.Context, id int64) (int64, error) {
	if b.keepAlive != nil {
		return b.keepAlive(ctx, id)
	}
	return 60, b.err
}

func (b *fakeBackend) TryKeepAlive(
	id int64, done func(int64, error),
) bool {
	if b.keepAlive != nil || b.err != nil {
		return false
	}
	done(60, nil)
	return true
}

func (b *fakeBackend) TimeToLive(context.Context, int64, bool) (Lease, error) {
	return Lease{TTL: 30, Granted: 60, Keys: [][]byte{[]byte("k")}}, b.err
}

func (b *fakeBackend) Leases(context.Context) ([]int64, error) { return []int64{4, 5}, b.err }

func (b *fakeBackend) Status() Status {
	return Status{
		StoredBytes: 100, InUseBytes: 50, QuotaBytes: 1000, Leader: b.leader.Load(), RaftIndex: 9,
		AppliedIndex: 8, Alarms: []alarm.Alarm{{Member: 2, Type: alarm.NoSpace}},
	}
}

func (b *fakeBackend) Hash(context.Context) (uint32, int64, error) { return 0xabc, 6, b.err }

func (b *fakeBackend) HashKV(_ context.Context, rev int64) (HashKV, error) {
	return HashKV{Hash: 0xdef, HashRev: rev, CompactRev: 2, CurrentRev: 7}, b.err
}

func (b *fakeBackend) Snapshot(context.Context) (io.ReadCloser, int64, error) {
	if b.snapshot != nil {
		return b.snapshot()
	}
	return io.NopCloser(nil), 0, b.err
}

func (b *fakeBackend) Defragment(context.Context) error                 { return b.err }
func (b *fakeBackend) MoveLeader(context.Context, cairn.MemberID) error { return b.err }

func (b *fakeBackend) Members(context.Context, bool) ([]member.Member, error) {
	return []member.Member{{ID: 2, Name: "default", PeerURLs: []string{"http://a:1"},
		ClientURLs: []string{"http://a:2"}, IsLearner: true}}, b.err
}

func (b *fakeBackend) AddMember(
	ctx context.Context, urls []string, learner bool,
) (member.Member, []member.Member, error) {
	all, err := b.Members(ctx, true)
	m := member.Member{ID: 5, PeerURLs: urls, IsLearner: learner}
	return m, append(all, m), err
}

func (b *fakeBackend) RemoveMember(
	ctx context.Context, _ cairn.MemberID,
) ([]member.Member, error) {
	return b.Members(ctx, true)
}

func (b *fakeBackend) UpdateMember(
	ctx context.Context, _ cairn.MemberID, _ []string,
) ([]member.Member, error) {
	return b.Members(ctx, true)
}

func (b *fakeBackend) PromoteMember(
	ctx context.Context, _ cairn.MemberID,
) ([]member.Member, error) {
	return b.Members(ctx, true)
}

func (b *fakeBackend) OpenWatch(wake func()) WatchStream {
	if b.openWatch != nil {
		return b.openWatch(wake)
	}
	return newFakeWatch(wake)
}

// fakeWatch answers each creation, cancellation and progress request with the bytes that a test can
// tell apart; emit adds others.
type fakeWatch struct {
	wake func()

	mu      sync.Mutex // guards all below
	out     [][]byte
	taken   [][]byte // overwritten at the next Take: nobody may use them any longer
	creates []WatchCreate
	limit   int // of responses that wait: then it is congested; 0: none
	closed  chan struct{}
}

func newFakeWatch(wake func()) *fakeWatch {
	return &fakeWatch{wake: wake, closed: make(chan struct{})}
}

func (w *fakeWatch) emit(msg []byte) {
	w.mu.Lock()
	w.out = append(w.out, msg)
	w.mu.Unlock()
	w.wake()
}

func watchMessage(id int64, created, canceled bool) []byte {
	b := wire.AppendHeader(nil, &cairn.Header{Revision: 7})
	b = wire.AppendVarint(b, wire.WatchID, uint64(id))
	b = wire.AppendBool(b, wire.WatchCreated, created)
	return wire.AppendBool(b, wire.WatchCanceled, canceled)
}

func (w *fakeWatch) Create(c WatchCreate) {
	w.mu.Lock()
	w.creates = append(w.creates, c)
	w.mu.Unlock()
	w.emit(watchMessage(c.ID, true, false))
}

func (w *fakeWatch) Cancel(id int64) { w.emit(watchMessage(id, false, true)) }
func (w *fakeWatch) Progress()       { w.emit(watchMessage(-1, false, false)) }

func (w *fakeWatch) Take(buf []byte, ends []int, maxBytes int) ([]byte, []int, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for from := len(buf); len(w.out) > 0 && len(buf)-from < maxBytes; w.out = w.out[1:] {
		buf = append(buf, w.out[0]...)
		ends = append(ends, len(buf))
	}
	return buf, ends, len(w.out) > 0
}

func (w *fakeWatch) Congested() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.limit > 0 && len(w.out) >= w.limit
}

func (w *fakeWatch) Close() { close(w.closed) }

// serve runs a door for the backend and returns it with a connection to it.
func serve(t testing.TB, b Backend, opts Options) (*Door, *grpc.ClientConn) {
	t.Helper()
	d := New(b, opts)
	_, conn := listen(t, d)
	return d, conn
}

// listen serves d until the test ends, or the server is stopped.
func listen(t testing.TB, d *Door) (*rpc.Server, *grpc.ClientConn) {
	t.Helper()
	s := rpc.New(rpc.Options{MaxRecvBytes: d.MaxRecvBytes(), MaxSendBytes: d.MaxSendBytes()})
	d.Register(s)
	l := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///door",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return l.DialContext(ctx)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Stop()
		if err := <-served; !errors.Is(err, rpc.ErrStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	return s, conn
}

// testContext ends with the test at the latest.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}
