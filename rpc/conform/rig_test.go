package conform

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// patience is how long a test waits for what must come. It decides nothing but when to give up.
const patience = time.Minute

// connectionTimeout is how long the reference waits for a client to begin; Stop waits so long too.
const connectionTimeout = 5 * time.Second

// options is what a server is made with; zero values are its defaults.
type options struct {
	maxRecv, maxSend            int
	maxStreams                  uint32
	minTime, interval, lastCall time.Duration // of keepalive; lastCall is the timeout
	secure                      bool          // TLS
}

// door is a server.
type door interface {
	grpc.ServiceRegistrar
	Serve(net.Listener) error
	Drain(context.Context) // lets calls end, and refuses new ones
	Stop()
}

// kind is a server's make.
type kind struct {
	name string
	open func(options) door
}

var (
	kinds = []kind{{"reference", openReference}, {"cairn", openCairn}}
	// rawKinds are for services that are plain.
	rawKinds = append(kinds[:len(kinds):len(kinds)], kind{"raw", openRaw})
)

// each runs a test against each kind.
func each(t *testing.T, test func(t *testing.T, k kind)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { test(t, k) })
	}
}

// eachRaw runs it against the product's raw methods too.
func eachRaw(t *testing.T, test func(t *testing.T, k kind)) {
	for _, k := range rawKinds {
		t.Run(k.name, func(t *testing.T) { test(t, k) })
	}
}

// reference is grpc-go's server.
type reference struct{ *grpc.Server }

func openReference(o options) door {
	var opts []grpc.ServerOption
	opts = append(opts, grpc.Creds(shaken{insecure.NewCredentials()}), grpc.WaitForHandlers(true),
		grpc.ConnectionTimeout(connectionTimeout))
	if o.maxRecv > 0 {
		opts = append(opts, grpc.MaxRecvMsgSize(o.maxRecv))
	}
	if o.maxSend > 0 {
		opts = append(opts, grpc.MaxSendMsgSize(o.maxSend))
	}
	if o.maxStreams > 0 {
		opts = append(opts, grpc.MaxConcurrentStreams(o.maxStreams))
	}
	if o.minTime > 0 {
		opts = append(opts, grpc.KeepaliveEnforcementPolicy(
			keepalive.EnforcementPolicy{MinTime: o.minTime}))
	}
	if o.interval > 0 {
		opts = append(opts, grpc.KeepaliveParams(
			keepalive.ServerParameters{Time: o.interval, Timeout: o.lastCall}))
	}
	return reference{grpc.NewServer(opts...)}
}

func (r reference) Drain(ctx context.Context) {
	defer context.AfterFunc(ctx, r.Stop)()
	r.GracefulStop()
}

// service is what calls of conform.Test come to; what is nil answers as if it were not there.
type service struct {
	unary  func(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)
	stream func(grpc.ServerStream) error
	down   func(grpc.ServerStream) error
	// plain says that the handlers are echo, echoStream and down, so that others may do that too.
	plain bool
	count func(int32) // is told of streams that begin (1) and end (-1); nil: nobody is
}

// The methods of conform.Test.
const (
	unaryMethod  = "/conform.Test/Unary"
	streamMethod = "/conform.Test/Stream" // both sides stream
	downMethod   = "/conform.Test/Down"   // the server streams
)

// echo answers a call with what it asks.
func echo(_ context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return in, nil
}

// echoStream answers each message with itself, until the client has said all.
func echoStream(s grpc.ServerStream) error {
	for {
		in := &wrapperspb.BytesValue{}
		switch err := s.RecvMsg(in); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := s.SendMsg(in); err != nil {
			return err
		}
	}
}

var echoes = service{unary: echo, stream: echoStream, down: down, plain: true}

// desc describes conform.Test as protoc's generated code would.
func desc() *grpc.ServiceDesc {
	stream := func(srv any, s grpc.ServerStream) error { return srv.(service).stream(s) }
	down := func(srv any, s grpc.ServerStream) error { return srv.(service).down(s) }
	unary := func(srv any, ctx context.Context, decode func(any) error,
		_ grpc.UnaryServerInterceptor,
	) (any, error) {
		in := &wrapperspb.BytesValue{}
		if err := decode(in); err != nil {
			return nil, err
		}
		return srv.(service).unary(ctx, in)
	}
	return &grpc.ServiceDesc{
		ServiceName: "conform.Test", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Stream", Handler: stream, ServerStreams: true, ClientStreams: true},
			{StreamName: "Down", Handler: down, ServerStreams: true},
		},
	}
}

// rig is a server that serves on loopback.
type rig struct {
	t      *testing.T
	door   door
	addr   string
	client *tls.Config // nil: plain
	ctx    context.Context
	served chan error
}

// start serves until the test ends, and then looks for goroutines that are left.
func start(t *testing.T, k kind, o options, s service) *rig {
	t.Helper()
	return startWith(t, k, o, func(r grpc.ServiceRegistrar) { r.RegisterService(desc(), s) })
}

// startWith is start with other services.
func startWith(t *testing.T, k kind, o options, register func(grpc.ServiceRegistrar)) *rig {
	t.Helper()
	before := runtime.NumGoroutine()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	r := &rig{t: t, door: k.open(o), addr: listener.Addr().String(), ctx: ctx,
		served: make(chan error, 1)}
	if o.secure {
		server, client := certificates(t)
		r.client = client
		listener = newSecured(listener, server)
	}
	register(r.door)
	go func() { r.served <- r.door.Serve(listener) }()
	t.Cleanup(func() {
		defer cancel()
		r.stop()
		settled(t, before)
	})
	return r
}

// stop ends the service; it may be called again.
func (r *rig) stop() {
	r.t.Helper()
	r.door.Stop()
	select {
	case err := <-r.served:
		if err != nil && !errors.Is(err, grpc.ErrServerStopped) &&
			!errors.Is(err, rpc.ErrStopped) {
			r.t.Errorf("Serve: %v", err)
		}
		r.served <- err
	case <-time.After(patience):
		r.t.Error("Serve goes on after Stop")
	}
}

// settled waits until no more goroutines run than before.
func settled(t *testing.T, before int) {
	t.Helper()
	if !poll(func() bool { return runtime.NumGoroutine() <= before }) {
		var text strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&text, 1) // a Builder does not fail
		t.Errorf("%d goroutines before, %d after Stop:\n%s", before, runtime.NumGoroutine(),
			text.String())
	}
}

// poll asks until ok says yes, or patience ends.
func poll(ok func() bool) bool {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// dial returns a client of grpc-go.
func (r *rig) dial(opts ...grpc.DialOption) *grpc.ClientConn {
	r.t.Helper()
	creds := insecure.NewCredentials()
	if r.client != nil {
		creds = credentials.NewTLS(r.client)
	}
	conn, err := grpc.NewClient(r.addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds)}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
	return conn
}

// raw returns a client of frames.
func (r *rig) raw(conf raw.Config) *raw.Conn {
	r.t.Helper()
	if r.client != nil {
		conf.TLS = r.client.Clone()
		conf.TLS.NextProtos = []string{http2.NextProtoTLS}
	}
	c, err := raw.Dial(r.ctx, r.addr, conf)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// wait waits for what a raw client must get.
func (r *rig) wait(c *raw.Conn, ok func(*raw.State) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	if err := c.Await(ctx, ok); err != nil {
		r.t.Fatal(err)
	}
}

// stream waits until a stream of a raw client has ended, and returns what came on it.
func (r *rig) stream(c *raw.Conn, id uint32) raw.Stream {
	r.t.Helper()
	r.wait(c, func(s *raw.State) bool { return s.Done(id) })
	var out raw.Stream
	c.Look(func(s *raw.State) { out = *s.Streams[id] })
	return out
}

// within bounds a call by the test's patience.
func (r *rig) within() context.Context {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	r.t.Cleanup(cancel)
	return ctx
}

// call makes a unary call.
func (r *rig) call(conn *grpc.ClientConn, in []byte, opts ...grpc.CallOption) ([]byte, error) {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	out := &wrapperspb.BytesValue{}
	err := conn.Invoke(ctx, unaryMethod, wrapperspb.Bytes(in), out, opts...)
	return out.GetValue(), err
}

// both opens a stream with messages both ways.
func (r *rig) both(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption,
) grpc.ClientStream {
	r.t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		streamMethod, opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// send and recv exchange messages on a stream; the test ends if they cannot.
func (r *rig) send(s grpc.ClientStream, b []byte) {
	r.t.Helper()
	if err := s.SendMsg(wrapperspb.Bytes(b)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) recv(s grpc.ClientStream) []byte {
	r.t.Helper()
	m := &wrapperspb.BytesValue{}
	if err := s.RecvMsg(m); err != nil {
		r.t.Fatal(err)
	}
	return m.GetValue()
}

// end receives the end of a stream: io.EOF or a status.
func end(s grpc.ClientStream) error { return s.RecvMsg(&wrapperspb.BytesValue{}) }

// httpKind is a server that answers "/" over HTTP/2 with some bytes.
type httpKind struct {
	name  string
	known map[string]string // deviations from h2spec
	serve func(t *testing.T, l net.Listener, h http.Handler)
}

var httpKinds = []httpKind{{"reference", deviations, serveNetHTTP}, {"cairn", nil, serveCairn}}

func serveNetHTTP(t *testing.T, l net.Listener, h http.Handler) {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: &protocols, ReadHeaderTimeout: patience,
		HTTP2:    &http.HTTP2Config{MaxReadFrameSize: 16 << 10},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // http.ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
}
