package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// testTimeout bounds what a test waits for.
const testTimeout = 20 * time.Second

// echoService is what the tests serve, in all the ways there are.
const echoService = "test.Echo"

// newEcho makes a server whose methods give back what they get.
func newEcho(o Options) *Server {
	if o.HTTP == nil {
		o.HTTP = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err == nil {
				fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, b)
			}
		})
	}
	s := New(o)
	s.Unary(echoService, "Now", func(c *Call) { c.Reply(c.Message()) })
	s.Unary(echoService, "Elsewhere", func(c *Call) {
		go c.Reply(c.Message())
	})
	s.Unary(echoService, "Corked", func(c *Call) {
		go func() {
			s.Cork()
			defer s.Uncork()
			c.Reply(c.Message())
		}()
	})
	s.Unary(echoService, "Later", func(c *Call) {
		go c.Later(func(c *Call) { c.Reply(c.Message()) })
	})
	s.Unary(echoService, "Pieces", func(c *Call) { c.Go(inPieces) })
	s.Unary(echoService, "Fail", func(c *Call) {
		c.Fail(status.New(codes.DataLoss, "lost: 100 % ü "+string(c.Message())))
	})
	s.Unary(echoService, "Never", func(c *Call) {})
	s.Stream(echoService, "Stream", openEcho)
	healthpb.RegisterHealthServer(s, health.NewServer())
	return s
}

func inPieces(c *Call) {
	msg := bytes.Clone(c.Message())
	err := c.Begin(len(msg))
	for err == nil && len(msg) > 0 {
		n := min(len(msg), 30_000)
		_, err = c.Write(msg[:n])
		msg = msg[n:]
	}
	c.End(err)
}

// echoStream gives back the messages of a stream; it takes no more than it has sent.
type echoStream struct {
	s       *Stream
	mu      sync.Mutex // guards all below
	out     [][]byte
	refused bool
	half    bool
}

// maxEchoed is how many messages wait to be sent back.
const maxEchoed = 10

func openEcho(s *Stream) (Receiver, error) {
	if s.Header("refuse") != "" {
		return nil, status.Error(codes.PermissionDenied, "refused")
	}
	return &echoStream{s: s}, nil
}

func (e *echoStream) Message(msg []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.out) >= maxEchoed {
		e.refused = true
		return false
	}
	e.out = append(e.out, bytes.Clone(msg))
	e.s.Wake()
	return true
}

func (e *echoStream) HalfClosed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.half = true
	e.s.Wake()
}

func (e *echoStream) Fill(int) (more bool) {
	e.mu.Lock()
	if len(e.out) > 0 {
		e.s.Send(e.out[0])
		e.out = e.out[1:]
	}
	more = len(e.out) > 0
	refused := e.refused
	e.refused = false
	end := e.half && !more && !refused
	e.mu.Unlock()
	if refused {
		e.s.Resume()
	}
	if end {
		e.s.Finish(nil)
	}
	return more
}

func (e *echoStream) Ended() {}

// running is a server on a port of this machine.
type running struct {
	*Server
	addr string
}

func start(t testing.TB, s *Server) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; !errors.Is(err, ErrStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	return &running{s, l.Addr().String()}
}

// rawBytes is a message as it is.
type rawBytes []byte

type rawCodec struct{}

func (rawCodec) Name() string                    { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error)   { return *v.(*rawBytes), nil }
func (rawCodec) Unmarshal(b []byte, v any) error { *v.(*rawBytes) = b; return nil }
func (r *running) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(r.addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.ForceCodec(rawCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// random makes a message of n bytes.
func random(rng *rand.Rand, n int) rawBytes {
	b := make(rawBytes, n)
	for i := range min(n, 1000) {
		b[i] = byte(rng.Uint32())
	}
	for i := 1000; i < n; i *= 2 { // copies of what is before, so that it can be compressed
		copy(b[i:], b[:i])
	}
	return b
}

// Whatever the size and the way of the answer, it is the message that was sent.
func TestEcho(t *testing.T) {
	r := start(t, newEcho(Options{MaxRecvBytes: 8 << 20}))
	ctx := testContext(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for i, method := range []string{"Now", "Elsewhere", "Corked", "Later", "Pieces"} {
		for _, options := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
			conn := r.dial(t)
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			wg.Go(func() {
				for j := range 120 {
					size := rng.IntN(1 << (j % 18))
					if j == 50 {
						size = 5 << 20
					}
					msg, got := random(rng, size), rawBytes(nil)
					err := conn.Invoke(ctx, "/"+echoService+"/"+method, &msg, &got, options...)
					if err != nil || !bytes.Equal(msg, got) {
						t.Errorf("%s: %d bytes became %d: %v", method, len(msg), len(got), err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// Many calls at once on one connection, of all kinds, some given up: none gets another's answer.
func TestManyAtOnce(t *testing.T) {
	r := start(t, newEcho(Options{}))
	conn, ctx := r.dial(t), testContext(t)
	methods := []string{"Now", "Elsewhere", "Corked", "Later", "Pieces", "Never"}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			for j := range 50 {
				msg := rawBytes(bytes.Repeat(fmt.Appendf(nil, "%d/%d ", i, j), 1+i%50))
				method := methods[(i+j)%len(methods)]
				one, cancel := context.WithCancel(ctx)
				if method == "Never" || (i+j)%7 == 0 {
					go cancel()
				}
				var got rawBytes
				err := conn.Invoke(one, "/"+echoService+"/"+method, &msg, &got)
				cancel()
				if err == nil && !bytes.Equal(got, msg) {
					t.Errorf("%s: %.20q was answered with %.20q", method, msg, got)
				} else if err != nil && status.Code(err) != codes.Canceled {
					t.Errorf("%s: %v", method, err)
				}
			}
		})
	}
	wg.Wait()
}

// Errors arrive with their code and text.
func TestFail(t *testing.T) {
	r := start(t, newEcho(Options{MaxRecvBytes: 1000}))
	conn, ctx := r.dial(t), testContext(t)
	small, large, got := rawBytes("x"), make(rawBytes, 1001), rawBytes(nil)
	for _, c := range []struct {
		method string
		msg    *rawBytes
		code   codes.Code
		text   string
	}{
		{"test.Echo/Fail", &small, codes.DataLoss, "lost: 100 % ü x"},
		{"test.Echo/None", &small, codes.Unimplemented,
			"unknown method None for service test.Echo"},
		{"test.None/None", &small, codes.Unimplemented, "unknown service test.None"},
		{"test.Echo/Now", &large, codes.ResourceExhausted,
			"grpc: received message larger than max (1001 vs. 1000)"},
	} {
		err := conn.Invoke(ctx, "/"+c.method, c.msg, &got)
		if s := status.Convert(err); s.Code() != c.code || s.Message() != c.text {
			t.Errorf("%s: %v", c.method, err)
		}
	}
}

// Messages of a raw stream come back in order, also when the receiver refuses some for a while.
func TestStream(t *testing.T) {
	r := start(t, newEcho(Options{}))
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	for _, options := range [][]grpc.CallOption{nil, {grpc.UseCompressor(gzip.Name)}} {
		s, err := r.dial(t).NewStream(testContext(t), desc, "/test.Echo/Stream", options...)
		if err != nil {
			t.Fatal(err)
		}
		const n = 1200
		message := func(i int) rawBytes {
			size := 1 + i%300
			if i%1000 == 500 {
				size = 500_000
			}
			return rawBytes(bytes.Repeat(fmt.Appendf(nil, "%d,", i), size))
		}
		sent := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < n && err == nil; i++ {
				m := message(i)
				err = s.SendMsg(&m)
			}
			sent <- errors.Join(err, s.CloseSend())
		}()
		for i := range n {
			var got rawBytes
			if err := s.RecvMsg(&got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, message(i)) {
				t.Fatalf("message %d has changed", i)
			}
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if err := s.RecvMsg(new(rawBytes)); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
}

// Generated services run on the same server.
func TestGenerated(t *testing.T) {
	r := start(t, newEcho(Options{}))
	conn, err := grpc.NewClient(r.addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, ctx := healthpb.NewHealthClient(conn), testContext(t)
	if resp, err := client.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil ||
		resp.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", resp, err)
	}
	_, err = client.Check(ctx, &healthpb.HealthCheckRequest{Service: "none"})
	if s := status.Convert(err); s.Code() != codes.NotFound || s.Message() != "unknown service" {
		t.Error(err)
	}
	w, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := w.Recv(); err != nil || resp.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", resp, err)
	}
}

// What is no gRPC reaches the HTTP handler, on the same port.
func TestHTTP(t *testing.T) {
	r := start(t, newEcho(Options{}))
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: testTimeout}
	body := bytes.Repeat([]byte("0123456789"), 300_000)
	resp, err := client.Post("http://"+r.addr+"/a/b", "text/plain", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if want := "POST /a/b " + string(body); err != nil || string(got) != want {
		t.Errorf("%d bytes came back, want %d: %v", len(got), len(want), err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if resp, err = client.Head("http://" + r.addr + "/x"); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v, %v", resp, err)
	}
	raw := r.raw(t)
	raw.headers(1, raw.block(":method", "HEAD", ":scheme", "http", ":path", "/", ":authority", "x"),
		true)
	if a := raw.end(1); a.fields[":status"] != "200" || len(a.data) > 0 {
		t.Errorf("HEAD was answered with %v and %d bytes", a.fields, len(a.data))
	}
}

// Drain lets calls end that are under way, and begins none.
func TestDrain(t *testing.T) {
	s := New(Options{})
	began, release := make(chan struct{}), make(chan struct{})
	s.Unary(echoService, "Slow", func(c *Call) {
		close(began)
		go func() {
			<-release
			c.Reply(c.Message())
		}()
	})
	r := start(t, s)
	conn, ctx := r.dial(t), testContext(t)
	result := make(chan error, 1)
	go func() {
		msg, got := rawBytes("x"), rawBytes(nil)
		result <- conn.Invoke(ctx, "/test.Echo/Slow", &msg, &got)
	}()
	<-began
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(ctx) }()
	select {
	case err := <-drained:
		t.Fatalf("drained with a call under way: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-result; err != nil {
		t.Error(err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
