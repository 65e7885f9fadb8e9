package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cairnkv/cairn/ops"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/server/listen"
	v3 "github.com/cairnkv/cairn/v3"
	"google.golang.org/grpc/codes"
)

// drainTime is how long calls may go on after the member was asked to stop.
const drainTime = 500 * time.Millisecond

// doors are the member's ports and what serves them. They are bound before the data is opened, so
// that a port in use is told at once, and serve when the member is ready.
type doors struct {
	clients *listen.Group
	metrics *listen.Group // nil: none of their own
	peers   *listen.Group
	door    *v3.Door
	rpc     *rpc.Server
	http    []*http.Server
	// peerHTTP serves the other members, from before clients are served until after.
	peerHTTP *http.Server
	serving  sync.WaitGroup
}

func openDoors(ctx context.Context, s *Server) (_ *doors, err error) {
	tls, err := listen.ClientTLS(s.cfg, s.sys.fs, s.clk, s.logger)
	if err != nil {
		return nil, err
	}
	if !secure(s.cfg.ListenClientURLs, s.cfg.ListenClientHTTPURLs, s.cfg.ListenMetricsURLs) {
		tls = nil // as etcd: files that no URL asks for are not looked at
	}
	options := listen.Options{
		URLs: s.cfg.ListenClientURLs, HTTPURLs: s.cfg.ListenClientHTTPURLs,
		Flag: "listen-client-urls", Endpoint: "client", TLS: tls,
		ReusePort: s.cfg.ReusePort, ReuseAddr: s.cfg.ReuseAddress,
		FS: s.sys.fs, Clock: s.clk, Log: s.logger,
	}
	d := &doors{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.closeListeners())
		}
	}()
	peers := options
	peers.URLs, peers.HTTPURLs = nil, s.cfg.ListenPeerURLs
	peers.Flag, peers.Endpoint = "listen-peer-urls", "peer"
	peers.TLS, err = listen.PeerTLS(s.cfg, s.sys.fs, s.clk, s.logger)
	if err != nil {
		return nil, err
	}
	if !secure(s.cfg.ListenPeerURLs) {
		peers.TLS = nil
	}
	if d.peers, err = listen.Open(ctx, peers); err != nil {
		return nil, err
	}
	if d.clients, err = listen.Open(ctx, options); err != nil {
		return nil, err
	}
	if len(s.cfg.ListenMetricsURLs) == 0 {
		return d, nil
	}
	options.URLs, options.HTTPURLs = nil, s.cfg.ListenMetricsURLs
	options.Flag, options.Endpoint = "listen-metrics-urls", "metrics"
	d.metrics, err = listen.Open(ctx, options)
	return d, err
}

// closeListeners gives the ports free.
func (d *doors) closeListeners() error {
	var errs []error
	for _, g := range []*listen.Group{d.clients, d.metrics, d.peers} {
		if g != nil {
			errs = append(errs, g.Close())
		}
	}
	return errors.Join(errs...)
}

// servePeers begins to accept other members.
func (d *doors) servePeers(s *Server) {
	d.peerHTTP = listen.HTTPServer(s.peerHandler(s.opsOptions()),
		s.cfg.MaxConcurrentStreams, s.logger)
	d.run(s, func() error { return d.peerHTTP.Serve(d.peers.HTTP()) })
	d.peers.Start()
	for _, a := range d.peers.Addrs() {
		s.logger.Info("serving peer traffic", slog.String("address", a.Net.String()),
			slog.String("url", a.URL))
	}
}

// secure says whether some URL asks for TLS.
func secure(lists ...config.URLs) bool {
	for _, urls := range lists {
		for _, u := range urls {
			if u.Scheme == "https" || u.Scheme == "unixs" {
				return true
			}
		}
	}
	return false
}

// serve begins to accept clients.
func (d *doors) serve(s *Server) (err error) {
	d.door = newDoor(s)
	o := s.opsOptions()
	handler := ops.ClientHandler(o, nil)
	d.rpc = newRPC(s, d.door, handler)
	s.corker.Store(d.rpc)
	d.run(s, func() error { return d.rpc.Serve(d.clients.GRPC()) })
	d.serveHTTP(s, d.clients, handler)
	d.clients.Start()
	d.announce(s, d.clients, "client")
	if d.metrics != nil {
		d.serveHTTP(s, d.metrics, ops.MetricsHandler(o))
		d.metrics.Start()
		d.announce(s, d.metrics, "metrics")
	}
	s.every("doors", time.Duration(s.cfg.ElectionTicks())*s.cfg.Heartbeat(),
		func(context.Context, time.Time) { d.door.Tick() })
	return nil
}

// opsOptions are what the doors of operators are made with.
func (s *Server) opsOptions() ops.Options {
	return ops.Options{
		Backend: opsBackend{s}, Metrics: s.metrics, Log: s.logger, Clock: s.clk,
		RequestTimeout: s.cfg.RequestTimeout(), CommandLine: os.Args, Pprof: s.cfg.EnablePprof,
		HostWhitelist: s.cfg.HostWhitelist, CORS: s.cfg.CORS,
	}
}

func (d *doors) serveHTTP(s *Server, g *listen.Group, handler http.Handler) {
	h := listen.HTTPServer(handler, s.cfg.MaxConcurrentStreams, s.logger)
	d.http = append(d.http, h)
	d.run(s, func() error { return h.Serve(g.HTTP()) })
}

// run serves until its listener or its server is closed.
func (d *doors) run(s *Server, serve func() error) {
	d.serving.Go(func() {
		err := serve()
		if err != nil && !errors.Is(err, http.ErrServerClosed) &&
			!errors.Is(err, rpc.ErrStopped) && !errors.Is(err, net.ErrClosed) {
			s.fatal(err)
		}
	})
}

// announce logs each address in etcd's words.
func (d *doors) announce(s *Server, g *listen.Group, what string) {
	for _, a := range g.Addrs() {
		msg := "serving " + what + " traffic insecurely; this is strongly discouraged!"
		if strings.HasPrefix(a.URL, "https:") || strings.HasPrefix(a.URL, "unixs:") {
			msg = "serving " + what + " traffic securely"
		}
		s.logger.Info(msg, slog.String("traffic", "grpc+http"),
			slog.String("address", a.Net.String()), slog.String("url", a.URL))
	}
}

// newDoor makes the v3 API of the member.
func newDoor(s *Server) *v3.Door {
	var counters []*ops.RPC // by Method.Index
	var times []outcomes    // the same
	m := s.metrics
	door := v3.New(s.back, v3.Options{
		MaxRequestBytes: int(s.cfg.MaxRequestBytes), MaxTxnOps: int(s.cfg.MaxTxnOps),
		MinLeaseTTL: s.minLeaseTTL(),
		Clock:       s.clk, Log: s.logger,
		Hooks: v3.Hooks{
			Started: func(m *v3.Method) { counters[m.Index].Started() },
			Handled: func(m *v3.Method, code codes.Code, took time.Duration) {
				counters[m.Index].Handled(code, took)
				if m.Kind == v3.Unary {
					times[m.Index].observe(code == codes.OK, took)
				}
				s.noteCall(m, code, took)
			},
			Received:      func(m *v3.Method) { counters[m.Index].Received() },
			Sent:          func(m *v3.Method) { counters[m.Index].Sent() },
			ReceivedBytes: func(n int) { m.ReceivedBytes.Add(float64(n)) },
			SentBytes:     func(n int) { m.SentBytes.Add(float64(n)) },
			ClientRequest: m.ClientRequest,
			StreamFailed: func(direction, api string) {
				m.StreamFailures.WithLabelValues(direction, api).Inc()
			},
		},
	})
	for _, method := range door.Methods() {
		counters = append(counters, m.RPC(method.Service, method.Name, string(method.Kind)))
		var o outcomes // of a stream: none
		if method.Kind == v3.Unary {
			o = newOutcomes(m.Request, method.Name)
		}
		times = append(times, o)
	}
	return door
}

// newRPC makes the server of the clients' HTTP/2: the v3 API, and handler for all else.
func newRPC(s *Server, door *v3.Door, handler http.Handler) *rpc.Server {
	if len(s.cfg.ListenClientHTTPURLs) > 0 {
		handler = nil // it has addresses of its own
	}
	server := rpc.New(rpc.Options{
		MaxRecvBytes: door.MaxRecvBytes(), MaxSendBytes: door.MaxSendBytes(),
		MaxStreams:        s.cfg.MaxConcurrentStreams,
		KeepaliveMinTime:  s.cfg.KeepAliveMinTime,
		KeepaliveInterval: s.cfg.KeepAliveInterval, KeepaliveTimeout: s.cfg.KeepAliveTimeout,
		HTTP: handler, Clock: s.clk, Log: s.logger,
	})
	door.Register(server)
	return server
}

// together holds back what is sent to clients while many of them are answered.
func (s *Server) together(tell func()) {
	if c := s.corker.Load(); c != nil {
		c.Cork()
		defer c.Uncork()
	}
	tell()
}

// noteCall logs a call that took longer than --warning-unary-request-duration.
func (s *Server) noteCall(m *v3.Method, code codes.Code, took time.Duration) {
	if m.Kind == v3.Unary && took > s.cfg.WarningUnaryRequest && s.cfg.WarningUnaryRequest > 0 {
		s.logger.Warn("request stats", slog.String("method", m.FullName()),
			slog.String("code", code.String()), slog.Duration("time spent", took),
			slog.Duration("warning-threshold", s.cfg.WarningUnaryRequest))
	}
}

// stop ends all service: calls may go on for drainTime.
func (d *doors) stop(s *Server) error {
	if d.door != nil {
		d.door.SetServing(false)
	}
	errs := []error{d.clients.Close()}
	if d.metrics != nil {
		errs = append(errs, d.metrics.Close())
	}
	if d.rpc != nil {
		ctx, cancel := context.WithCancel(context.Background())
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_ = d.rpc.Drain(ctx) // what is still under way then is cut off
		}()
		timer := s.clk.NewTimer(drainTime)
		select {
		case <-drained:
		case <-timer.C():
		}
		cancel()
		timer.Stop()
		<-drained
		d.rpc.Stop()
	}
	for _, h := range d.http {
		errs = append(errs, h.Close())
	}
	errs = append(errs, d.peers.Close())
	if d.peerHTTP != nil {
		errs = append(errs, d.peerHTTP.Close())
	}
	d.serving.Wait()
	return errors.Join(errs...)
}
