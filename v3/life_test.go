package v3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/wire"
)

// eventually polls until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	end := time.After(testTimeout)
	for !ok() {
		select {
		case <-poll.C:
		case <-end:
			t.Fatalf("%s: still not so after %v", what, testTimeout)
		}
	}
}

// leaves checks at the end of the test that none of the door's goroutines are left.
func leaves(t *testing.T) {
	t.Cleanup(func() {
		stacks := make([]byte, 1<<20)
		eventually(t, "no goroutine of a door is left", func() bool {
			all := string(stacks[:runtime.Stack(stacks, true)])
			return !strings.Contains(all, "v3.(*Door)") && !strings.Contains(all, "v3.(*watcher)")
		})
	})
}

// handled collects how RPCs ended.
type handled struct {
	mu    sync.Mutex // guards codes
	codes []codes.Code
}

func (h *handled) hooks() Hooks {
	return Hooks{Handled: func(_ *Method, c codes.Code, _ time.Duration) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.codes = append(h.codes, c)
	}}
}

func (h *handled) last() (codes.Code, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.codes) == 0 {
		return 0, false
	}
	return h.codes[len(h.codes)-1], true
}

// A request that the client gives up stays in memory, unchanged, until the backend is done with it.
func TestCanceledRequestKeepsItsBytes(t *testing.T) {
	leaves(t)
	b, h := newFake(), new(handled)
	held := make(chan proposal, 1)
	b.propose = func(p proposal) { held <- p }
	_, conn := serve(t, b, Options{Hooks: h.hooks()})
	kv := pb.NewKVClient(conn)
	ctx, cancel := context.WithCancel(testContext(t))
	req := &pb.PutRequest{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 100<<10)}
	result := make(chan error, 1)
	go func() {
		_, err := kv.Put(ctx, req)
		result <- err
	}()
	p := <-held
	cancel()
	wantStatus(t, <-result, codes.Canceled, "context canceled")
	// Others that could take over the memory.
	b.propose = nil
	for range 50 {
		other := &pb.PutRequest{Key: []byte("o"), Value: bytes.Repeat([]byte("x"), 100<<10)}
		if _, err := kv.Put(testContext(t), other); err != nil {
			t.Fatal(err)
		}
	}
	wantBytes, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.req, wantBytes) {
		t.Error("the bytes of the canceled request have changed")
	}
	p.done([]byte("late"), nil)
	if c, _ := h.last(); c != codes.Canceled {
		t.Errorf("it was counted as %v", c)
	}
}

// What an error of a context goes out as.
func TestContextErrors(t *testing.T) {
	wantStatus(t, statusOf(context.Canceled), codes.Canceled, "context canceled")
	wantStatus(t, statusOf(context.DeadlineExceeded), codes.DeadlineExceeded,
		"context deadline exceeded")
	wantStatus(t, statusOf(fmt.Errorf("read: %w", context.Canceled)), codes.Canceled,
		"read: context canceled")
}

// Answers and cancellations race; every call is freed once and never mixed up with another.
func TestAnswersRaceWithCancellations(t *testing.T) {
	b := newFake()
	var answering sync.WaitGroup
	b.propose = func(p proposal) {
		answering.Add(1)
		go func() {
			defer answering.Done()
			for range rand.IntN(50) {
				runtime.Gosched()
			}
			var r cairn.PutRequest
			if err := wire.DecodePut(p.req, &r); err != nil {
				t.Error(err)
			}
			kv := wire.AppendKeyValue(nil, &cairn.KeyValue{Key: r.Key, Value: r.Value})
			p.done(wire.AppendPutResponse(nil, &cairn.Header{}, kv), nil)
		}()
	}
	_, conn := serve(t, b, Options{})
	kv := pb.NewKVClient(conn)
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Add(1)
		go func() {
			defer asking.Done()
			for j := range 500 {
				ctx, cancel := context.WithCancel(t.Context())
				if j%2 == 0 {
					go cancel()
				}
				key := fmt.Appendf(nil, "%d/%d", i, j)
				reply, err := kv.Put(ctx, &pb.PutRequest{Key: key})
				switch {
				case err == nil && !bytes.Equal(reply.PrevKv.GetKey(), key):
					t.Errorf("request %q was answered with %q", key, reply.PrevKv.GetKey())
				case err != nil && status.Code(err) != codes.Canceled:
					t.Error(err)
				}
				cancel()
			}
		}()
	}
	asking.Wait()
	answering.Wait()
}

// A range that is longer than what is done at once goes out in pieces; one that breaks is never
// taken for whole.
func TestLongRange(t *testing.T) {
	b := newFake()
	big := wire.AppendKV(nil, wire.RangeKVs, wire.AppendKeyValue(nil,
		&cairn.KeyValue{Value: bytes.Repeat([]byte("0123456789abcdef"), 1<<18)}))
	b.appendRange = func(_ context.Context, dst []byte, _ *cairn.RangeRequest) ([]byte, error) {
		return dst, ErrLong
	}
	var fail error
	b.writeRange = func(
		ctx context.Context, begin func(int) error, write func([]byte) error,
	) error {
		if err := begin(len(big)); err != nil {
			return err
		}
		for rest := big; len(rest) > 0; {
			n := min(len(rest), 100_000)
			if err := write(rest[:n]); err != nil {
				return err
			}
			if rest = rest[n:]; fail != nil && len(rest) < len(big)/2 {
				return fail
			}
		}
		return nil
	}
	h := new(handled)
	_, conn := serve(t, b, Options{Hooks: h.hooks()})
	kv, ctx := pb.NewKVClient(conn), testContext(t)
	req := &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}}
	got, err := kv.Range(ctx, req)
	if err != nil || len(got.Kvs) != 1 || len(got.Kvs[0].Value) != 16<<18 {
		t.Fatalf("%d keys, %v", len(got.GetKvs()), err)
	}
	fail = cairn.ErrDamaged
	if _, err = kv.Range(ctx, req); status.Code(err) != codes.Internal {
		t.Errorf("half a response came as %v", err)
	}
	if c, _ := h.last(); c != codes.DataLoss {
		t.Errorf("it was counted as %v", c)
	}
}

// A thousand requests at once, answered from elsewhere in any order.
func TestThousandAtOnce(t *testing.T) {
	leaves(t)
	b := newFake()
	proposals := make(chan proposal, 1000)
	b.propose = func(p proposal) { proposals <- p }
	_, conn := serve(t, b, Options{})
	kv, ctx := pb.NewKVClient(conn), testContext(t)
	result := make(chan error, 1000)
	for i := range 1000 {
		go func() {
			key := fmt.Appendf(nil, "key%d", i)
			value := bytes.Repeat(key, 1+i%200)
			resp, err := kv.Put(ctx, &pb.PutRequest{Key: key, Value: value})
			if err == nil && !bytes.Equal(resp.PrevKv.GetValue(), value) {
				err = fmt.Errorf("put %q was answered with %q", key, resp.PrevKv.GetKey())
			}
			result <- err
		}()
	}
	// All of them are under way at the same time; the last one is answered first.
	var waiting []proposal
	for range 1000 {
		waiting = append(waiting, <-proposals)
	}
	for i := len(waiting) - 1; i >= 0; i-- {
		var r cairn.PutRequest
		if err := wire.DecodePut(waiting[i].req, &r); err != nil {
			t.Fatal(err)
		}
		kv := wire.AppendKeyValue(nil, &cairn.KeyValue{Key: r.Key, Value: r.Value})
		waiting[i].done(wire.AppendPutResponse(nil, &cairn.Header{}, kv), nil)
	}
	for range 1000 {
		if err := <-result; err != nil {
			t.Error(err)
		}
	}
}

// Large messages, in many frames each, come through whole in both directions.
func TestBigMessages(t *testing.T) {
	b := newFake()
	b.propose = func(p proposal) {
		p.done(wire.AppendKV(nil, wire.PutPrevKV, p.req[:len(p.req):len(p.req)]), nil)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	b.appendRange = func(_ context.Context, dst []byte, _ *cairn.RangeRequest) ([]byte, error) {
		return wire.AppendKV(dst, wire.RangeKVs,
			wire.AppendKeyValue(nil, &cairn.KeyValue{Value: big})), nil
	}
	_, conn := serve(t, b, Options{MaxRequestBytes: 32 << 20})
	kv, ctx := pb.NewKVClient(conn), testContext(t)
	put := &pb.PutRequest{Key: big[:10<<20]} // key and value swapped places in KeyValue
	resp, err := kv.Put(ctx, put)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(resp.PrevKv.GetKey(), put.Key) {
		t.Error("the put's bytes have changed")
	}
	got, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 || !bytes.Equal(got.Kvs[0].Value, big) {
		t.Error("the range's bytes have changed")
	}
}

// A physical compaction waits for the work; a logical one does not.
func TestPhysicalCompaction(t *testing.T) {
	b := newFake()
	asked := make(chan int64, 1)
	var fail error
	b.compacted = func(_ context.Context, rev int64) error {
		asked <- rev
		return fail
	}
	_, conn := serve(t, b, Options{})
	kv, ctx := pb.NewKVClient(conn), testContext(t)
	if _, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: 4}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
		t.Error("a logical compaction waited")
	default:
	}
	resp, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: 5, Physical: true})
	want(t, resp, err, &pb.CompactionResponse{Header: fakeHeader})
	if rev := <-asked; rev != 5 {
		t.Errorf("waited for %d, want 5", rev)
	}
	fail = cairn.ErrStopped
	_, err = kv.Compact(ctx, &pb.CompactionRequest{Revision: 5, Physical: true})
	wantStatus(t, err, codes.Unavailable, "etcdserver: server stopped")
}

// Errors of the backend reach the client from every hot method.
func TestHotErrors(t *testing.T) {
	b := newFake()
	b.propose = func(p proposal) { p.done(nil, cairn.ErrNoSpace) }
	b.barrier = func(done func([]byte, error)) { done(nil, cairn.ErrLeaderChanged) }
	b.appendRange = func(_ context.Context, dst []byte, _ *cairn.RangeRequest) ([]byte, error) {
		return dst, cairn.ErrFutureRev
	}
	b.streamRange = func(_ context.Context, send func([]byte) error) error {
		return errors.Join(send(nil), cairn.ErrCompacted)
	}
	_, conn := serve(t, b, Options{})
	kv, ctx, key := pb.NewKVClient(conn), testContext(t), []byte("k")
	_, err := kv.Put(ctx, &pb.PutRequest{Key: key})
	wantStatus(t, err, codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded")
	_, err = kv.Range(ctx, &pb.RangeRequest{Key: key})
	wantStatus(t, err, codes.Unavailable, "etcdserver: leader changed")
	_, err = kv.Range(ctx, &pb.RangeRequest{Key: key, Serializable: true})
	wantStatus(t, err, codes.OutOfRange,
		"etcdserver: mvcc: required revision is a future revision")
	wantStatus(t, drain(kv.RangeStream(ctx, &pb.RangeRequest{Key: key})), codes.Unavailable,
		"etcdserver: leader changed")
	wantStatus(t, drain(kv.RangeStream(ctx, &pb.RangeRequest{Key: key, Serializable: true})),
		codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted")
	_, err = pb.NewMaintenanceClient(conn).Alarm(ctx, &pb.AlarmRequest{Action: 9})
	wantStatus(t, err, codes.InvalidArgument, "cairn: unknown alarm action 9")
}

// The pieces of a streamed range arrive one by one and merge into the answer.
func TestRangeStream(t *testing.T) {
	b := newFake()
	piece := func(key string) []byte {
		kv := wire.AppendKeyValue(nil, &cairn.KeyValue{Key: []byte(key)})
		return wire.AppendKV(nil, wire.RangeKVs, kv)
	}
	buf := make([]byte, 0, 64) // pieces share memory, as a backend may do it
	b.streamRange = func(_ context.Context, send func([]byte) error) error {
		h := b.Header()
		for _, p := range [][]byte{piece("a"), piece("b"),
			wire.AppendVarint(wire.AppendHeader(nil, &h), wire.RangeCount, 2)} {
			buf = append(buf[:0], p...)
			if err := send(buf); err != nil {
				return err
			}
		}
		return nil
	}
	_, conn := serve(t, b, Options{})
	s, err := pb.NewKVClient(conn).RangeStream(testContext(t), &pb.RangeRequest{Key: []byte("a")})
	if err != nil {
		t.Fatal(err)
	}
	got, n := new(pb.RangeResponse), 0
	for ; ; n++ {
		m, err := s.Recv()
		if err != nil {
			break
		}
		proto.Merge(got, m.RangeResponse)
	}
	if n != 3 || len(got.Kvs) != 2 || got.Count != 2 || got.Header.GetRevision() != 7 {
		t.Errorf("%d pieces: %v", n, got)
	}
}
