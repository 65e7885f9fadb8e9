package conform

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// attack is what an enemy does.
type attack struct {
	name    string
	options options
	limit   int64  // bytes of memory that it may cost; 0: usual
	greedy  string // why the reference may take more than that; "": it may not
	run     func(*arena)
}

const (
	// usualLimit is far below what each attack would cost if it were let.
	usualLimit = 64 << 20
	// loyal is how many calls of the honest client must succeed after an attack.
	loyal = 20
	// look is how often memory is measured.
	look = 10 * time.Millisecond
)

// arena is a server under attack. Its handlers:
//
//	Unary   echoes
//	Stream  echoes each message
//	Down    answers one message "n m" with n messages of m bytes
//	Stuck   does not end before release is closed, whatever becomes of its caller
type arena struct {
	*rig
	k        kind
	options  options
	release  chan struct{}
	released sync.Once
	now      atomic.Int32 // handlers that run
	most     atomic.Int32 // at once
	calls    atomic.Int64 // of the honest client
}

const stuckMethod = "/conform.Enemy/Stuck"

// defend runs an attack and holds what is asked of every server.
func defend(t *testing.T, k kind, a attack) {
	r := &arena{k: k, options: a.options, release: make(chan struct{})}
	r.rig = startWith(t, k, a.options, r.register)
	t.Cleanup(r.letGo)
	conn := r.dial()
	if _, err := r.call(conn, nil); err != nil {
		t.Fatal(err)
	}
	for range 3 { // what lies in pools, and the collector's idea of how much is usual, goes too
		runtime.GC()
	}
	before, stop := used(), make(chan struct{})
	peak, honest := make(chan int64, 1), make(chan error, 1)
	go func() { peak <- watch(stop) }()
	go func() { honest <- r.honest(conn, stop) }()
	defer func() {
		close(stop)
		cost := <-peak - before
		if err := <-honest; err != nil {
			t.Errorf("the honest client: %v", err)
		}
		if limit := max(a.limit, usualLimit); cost > limit && a.greedy != "" &&
			k.name == "reference" {
			t.Logf("grpc-go %s", a.greedy)
		} else if cost > limit {
			t.Errorf("it cost %d MiB of memory, %d are allowed", cost>>20, limit>>20)
		}
		t.Logf("%d MiB at most, %d honest calls, %d handlers at once", cost>>20, r.calls.Load(),
			r.most.Load())
	}()
	a.run(r)
	r.letGo()
	served := r.calls.Load()
	if !poll(func() bool { return r.calls.Load() >= served+loyal || len(honest) > 0 }) {
		t.Errorf("the honest client made %d calls after the attack", r.calls.Load()-served)
	}
}

// letGo lets the handlers end that are stuck.
func (a *arena) letGo() { a.released.Do(func() { close(a.release) }) }

// used is what the process has of memory in use.
func used() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// watch measures until stop, and returns the most.
func watch(stop chan struct{}) int64 {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	most := used()
	for {
		select {
		case <-ticker.C:
			most = max(most, used())
		case <-stop:
			return most
		}
	}
}

// honest makes calls until stop, one after the other: all must succeed.
func (a *arena) honest(conn *grpc.ClientConn, stop chan struct{}) error {
	stream, err := conn.NewStream(a.ctx, &grpc.StreamDesc{ServerStreams: true,
		ClientStreams: true}, streamMethod)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return stream.CloseSend()
		default:
		}
		value := make([]byte, n%3000)
		if out, err := a.call(conn, value); err != nil || len(out) != len(value) {
			return fmt.Errorf("call %d: %d of %d bytes, %w", n, len(out), len(value), err)
		}
		if err := stream.SendMsg(wrapperspb.Bytes(value)); err != nil {
			return err
		}
		if err := stream.RecvMsg(&wrapperspb.BytesValue{}); err != nil {
			return fmt.Errorf("message %d of the stream: %w", n, err)
		}
		a.calls.Add(1)
	}
}

func (a *arena) register(r grpc.ServiceRegistrar) {
	r.RegisterService(desc(), service{unary: echo, stream: a.counted(echoStream),
		down: a.counted(down), plain: true, count: a.count})
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: "conform.Enemy", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Stuck", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, s grpc.ServerStream) error {
				return a.counted(func(grpc.ServerStream) error {
					<-a.release
					return nil
				})(s)
			}}},
	}, nil)
}

// counted counts the handlers that run.
func (a *arena) counted(h func(grpc.ServerStream) error) func(grpc.ServerStream) error {
	return func(s grpc.ServerStream) error {
		a.count(1)
		defer a.count(-1)
		return h(s)
	}
}

func (a *arena) count(change int32) {
	n := a.now.Add(change)
	for most := a.most.Load(); n > most && !a.most.CompareAndSwap(most, n); {
		most = a.most.Load()
	}
}

func down(s grpc.ServerStream) error {
	in := &wrapperspb.BytesValue{}
	if err := s.RecvMsg(in); err != nil {
		return err
	}
	var n, size int
	if _, err := fmt.Sscan(string(in.Value), &n, &size); err != nil {
		return err
	}
	for range n {
		if err := s.SendMsg(wrapperspb.Bytes(make([]byte, size))); err != nil {
			return err
		}
	}
	return nil
}

// alive demands that the server has ended the connection, or does what is asked of it.
func (a *arena) alive(c *raw.Conn) {
	a.t.Helper()
	c.Ping(false, [8]byte{9})
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	err := c.Await(ctx, func(s *raw.State) bool { return s.LastPong == [8]byte{9} || s.Gone() })
	if errors.Is(err, context.DeadlineExceeded) {
		a.t.Errorf("the server neither closes the connection nor serves it: %v", err)
	}
	c.Look(func(s *raw.State) { a.t.Logf("%v, closed by %v", s, s.Closed) })
}

// gone demands that the server ends the connection, with one of the codes if it says one.
func (a *arena) gone(c *raw.Conn, codes ...http2.ErrCode) {
	a.t.Helper()
	a.wait(c, func(s *raw.State) bool { return s.Closed != nil })
	c.Look(func(s *raw.State) {
		a.t.Logf("%v, closed by %v", s, s.Closed)
		for _, g := range s.GoAways {
			if g.Code != http2.ErrCodeNo && !slices.Contains(codes, g.Code) {
				a.t.Errorf("GOAWAY %v %s, want %v", g.Code, g.Debug, codes)
			}
		}
	})
}

// cut demands that the server ends the connection with a client that does not read.
func (a *arena) cut(c *raw.Conn) {
	a.t.Helper()
	// Only what is sent tells, and it counts as a sign of life: so it is sent seldom.
	rest := a.options.interval + a.options.lastCall + time.Second
	ticker := time.NewTicker(rest)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-ticker.C {
		if c.Frame(0xfe, 0, 0, nil); c.Err() != nil {
			a.t.Logf("closed by %v", c.Err())
			return
		}
	}
	a.t.Error("the server keeps the connection")
}
