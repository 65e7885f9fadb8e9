package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn/clock"
)

// Options of a server. Zero values mean grpc-go's defaults.
type Options struct {
	MaxRecvBytes int    // of a message of a client; 0: 4 MiB
	MaxSendBytes int    // of a message to one, of generated services; 0: 2 GiB
	MaxStreams   uint32 // of one connection; 0: no limit but the server's own

	// KeepaliveMinTime is the least time between pings of a client; one that pings more often is
	// sent away. 0: 5 min.
	KeepaliveMinTime time.Duration
	// A client that is silent for KeepaliveInterval is pinged, and given up if it says nothing for
	// KeepaliveTimeout. 0: 2 h and 20 s.
	KeepaliveInterval, KeepaliveTimeout time.Duration

	HTTP http.Handler // of requests that are no gRPC; nil: they are answered with 415

	Clock clock.Clock  // nil: the machine's
	Log   *slog.Logger // nil: nothing is logged
}

func (o Options) filled() Options {
	if o.MaxRecvBytes == 0 {
		o.MaxRecvBytes = 4 << 20
	}
	if o.MaxSendBytes == 0 {
		o.MaxSendBytes = math.MaxInt32
	}
	if o.KeepaliveMinTime == 0 {
		o.KeepaliveMinTime = defaultKeepaliveMinTime
	}
	if o.KeepaliveInterval == 0 {
		o.KeepaliveInterval = defaultKeepaliveInterval
	}
	if o.KeepaliveTimeout == 0 {
		o.KeepaliveTimeout = defaultKeepaliveTimeout
	}
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// method is one registered method; one of raw, open, unary and streaming is set.
type method struct {
	path      string
	raw       func(*Call)
	open      func(*Stream) (Receiver, error)
	unary     *grpc.MethodDesc
	streaming *grpc.StreamDesc
	service   any            // what handlers of generated services are given
	late      *status.Status // of calls whose deadline is over; nil: DeadlineExceeded
}

// Server serves connections. Methods are registered before the first Serve; everything else is safe
// for concurrent use.
type Server struct {
	opts     Options
	methods  map[string]*method // by path
	services map[string]bool
	calls    sync.Pool // of *Call

	mu        sync.Mutex // guards what follows
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	state     serverState
	empty     chan struct{} // closed when the last connection goes, once the server drains

	serving  sync.WaitGroup // connections
	handlers sync.WaitGroup // goroutines of calls

	corks   atomic.Int32
	dirtyMu sync.Mutex // guards dirty and conn.dirty's way to true; taken after conn.mu
	dirty   []*conn    // have something to write when the cork is drawn
}

type serverState uint8

const (
	accepting serverState = iota
	draining
	stopped
)

// ErrStopped is what Serve returns after Drain or Stop.
var ErrStopped = errors.New("rpc: the server has been stopped")

// New makes a server without methods.
func New(o Options) *Server {
	return &Server{
		opts: o.filled(), methods: make(map[string]*method), services: make(map[string]bool),
		conns: make(map[*conn]struct{}), listeners: make(map[net.Listener]struct{}),
	}
}

// RegisterService adds a generated service (grpc.ServiceRegistrar). Methods that are registered
// already, raw ones, stay.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for i := range desc.Methods {
		m := &desc.Methods[i]
		s.add(desc.ServiceName, m.MethodName, &method{unary: m, service: impl})
	}
	for i := range desc.Streams {
		m := &desc.Streams[i]
		s.add(desc.ServiceName, m.StreamName, &method{streaming: m, service: impl})
	}
	s.services[desc.ServiceName] = true
}

// Unary adds a raw unary method.
func (s *Server) Unary(service, name string, handle func(*Call)) {
	s.add(service, name, &method{raw: handle})
}

// Late says what the clients of a raw unary method are told when their deadlines are over, instead
// of DeadlineExceeded: some send a request again that was answered with that.
func (s *Server) Late(service, name string, st *status.Status) {
	s.methods["/"+service+"/"+name].late = st
}

// Stream adds a raw streaming method. open is called at the beginning of each stream, on the
// goroutine that reads the connection; an error refuses it.
func (s *Server) Stream(service, name string, open func(*Stream) (Receiver, error)) {
	s.add(service, name, &method{open: open})
}

func (s *Server) add(service, name string, m *method) {
	m.path = "/" + service + "/" + name
	s.services[service] = true
	if s.methods[m.path] == nil {
		s.methods[m.path] = m
	}
}

// unknown is the status for a path that is no method's, in grpc-go's words.
func (s *Server) unknown(path string) *status.Status {
	service, name, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if i := strings.LastIndex(strings.TrimPrefix(path, "/"), "/"); ok {
		rest := strings.TrimPrefix(path, "/")
		service, name = rest[:i], rest[i+1:]
	}
	switch {
	case !ok:
		return status.Newf(codes.Unimplemented, "malformed method name: %q", path)
	case s.services[service]:
		return status.Newf(codes.Unimplemented, "unknown method %v for service %v", name, service)
	}
	return status.Newf(codes.Unimplemented, "unknown service %v", service)
}

// Serve accepts connections until the listener fails or the server is stopped: then it returns
// ErrStopped. Connections of TLS must have done their handshake, with "h2" as what was agreed on.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.state != accepting {
		s.mu.Unlock()
		return errors.Join(ErrStopped, l.Close())
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	for {
		nc, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.listeners, l)
			if s.state != accepting {
				return ErrStopped
			}
			return fmt.Errorf("rpc: accept: %w", err)
		}
		s.start(nc)
	}
}

// start serves a connection.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != accepting {
		c.cancel()
		_ = nc.Close() // nobody to tell
		return
	}
	s.conns[c] = struct{}{}
	s.serving.Go(c.writeLoop)
	s.serving.Go(c.serve)
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// Drain accepts nothing more, tells all clients to begin nothing more, and waits until what is
// under way has ended, or for the end of ctx, whose error it returns. Stop has to follow.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	if s.state == accepting {
		s.state = draining
		s.closeListeners()
	}
	empty := make(chan struct{})
	if s.empty = empty; len(s.conns) == 0 {
		s.empty = nil
		close(empty)
	}
	for c := range s.conns {
		c.warn()
	}
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop closes all connections and waits for all handlers that run. Calls that are not answered yet
// may be answered later: nobody is there to take it.
func (s *Server) Stop() {
	s.mu.Lock()
	s.state = stopped
	s.closeListeners()
	for c := range s.conns {
		c.cancel()
		_ = c.nc.Close() // the reader notices
	}
	s.mu.Unlock()
	s.serving.Wait()
	s.handlers.Wait()
}

func (s *Server) closeListeners() {
	for l := range s.listeners {
		_ = l.Close() // Accept tells
	}
}

// Cork lets answers gather until Uncork, so that those of one connection go out together. It is for
// who answers many calls in a row; several may do so at once.
func (s *Server) Cork() { s.corks.Add(1) }

// Uncork has written what has gathered.
func (s *Server) Uncork() {
	if s.corks.Add(-1) > 0 {
		return
	}
	s.dirtyMu.Lock()
	dirty := s.dirty
	s.dirty = nil
	s.dirtyMu.Unlock()
	for i, c := range dirty {
		c.uncorked(len(dirty) == 1)
		dirty[i] = nil
	}
}

// corkedFor puts c on the list of those that wait for Uncork, if there is a cork. c.mu is held.
func (s *Server) corkedFor(c *conn) bool {
	if s.corks.Load() == 0 {
		return false
	}
	s.dirtyMu.Lock()
	defer s.dirtyMu.Unlock()
	if s.corks.Load() == 0 {
		return false
	}
	c.dirty = true
	s.dirty = append(s.dirty, c)
	return true
}

func (s *Server) maxStreams() uint32 {
	if n := s.opts.MaxStreams; n > 0 {
		return min(n, maxStreams)
	}
	return maxStreams
}

// checkLength looks at the length that a message says of itself.
func (s *Server) checkLength(b []byte) *status.Status {
	if n := int64(binary.BigEndian.Uint32(b[1:])); n > int64(s.opts.MaxRecvBytes) {
		return status.Newf(codes.ResourceExhausted,
			"grpc: received message larger than max (%d vs. %d)", n, s.opts.MaxRecvBytes)
	}
	if b[0] > 1 {
		return status.Newf(codes.Internal,
			"grpc: received unexpected payload format %d", b[0])
	}
	return nil
}

// statusOf makes a status of an error as grpc-go does.
func statusOf(err error) *status.Status {
	if err == nil {
		return nil
	}
	if st, ok := status.FromError(err); ok {
		return st
	}
	return status.FromContextError(err)
}
