// Package listen lets gRPC and HTTP, with TLS and without, share a port. It binds the addresses of
// the flags, looks at the first bytes of each connection, does the TLS handshake, and hands the
// connection to one of two listeners, which package rpc and an [http.Server] serve.
//
//	first bytes        listening URL     goes to
//	0x16 (TLS)         https, unixs      handshake; by ALPN: h2 -> gRPC, else -> HTTP
//	"PRI" (HTTP/2)     http, unix        gRPC
//	anything else      http, unix        HTTP
//
// What comes by HTTP/2 and is no gRPC (curl, browsers) is told apart request by request, in rpc.
//
// # Bounds
//
// A connection has handshakeTimeout to show what it is. At most maxPending do so at once: beyond
// that the one that has waited longest is closed, so that idle connections keep nobody out. The
// open connections of a group are bounded by the files that the process may open; further ones
// wait in the system's queue.
//
// # Life
//
// Open binds (so that a port in use is told early), Start accepts, Close ends both. Connections
// that were handed over belong to the servers.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/internal/process"
	"github.com/cairnkv/cairn/vfs"
)

// Limits.
const (
	handshakeTimeout = 10 * time.Second // from the connection to the end of the TLS handshake
	maxPending       = 1024             // connections of a group in that time
	keepAlive        = 30 * time.Second // between the probes of an idle connection
	reservedFiles    = 150              // of the process's limit, for everything but connections
	dialTimeout      = time.Second      // to find out whether a socket file is served
)

// Options of a group of addresses.
type Options struct {
	URLs      []url.URL // serve gRPC and HTTP; gRPC alone if HTTPURLs are given
	HTTPURLs  []url.URL // serve HTTP alone
	Flag      string    // names the URLs in errors: "listen-client-urls", "listen-peer-urls"
	Endpoint  string    // names them in log lines: "client", "metrics", "peer"
	TLS       *TLS      // for https and unixs; nil: there are none
	ReusePort bool      // SO_REUSEPORT
	ReuseAddr bool      // SO_REUSEADDR
	MaxConns  int       // 0: what the limit of open files leaves

	FS    vfs.FS
	Clock clock.Clock
	Log   *slog.Logger

	names resolver // nil: the system's
}

// purpose is what an address serves.
type purpose int

const (
	shared purpose = iota
	grpcOnly
	httpOnly
)

// bound is one address.
type bound struct {
	urls    []string // as in the flags
	network string   // "tcp" or "unix"
	addr    string
	plain   bool
	secure  bool
	purpose purpose
	l       net.Listener
}

// Group is a set of bound addresses with one gRPC and one HTTP listener for all of them.
type Group struct {
	opts  Options
	tls   *keeper // nil: no TLS
	bound []*bound
	grpc  *handover
	http  *handover

	slots   chan struct{} // one for each open connection
	pending *pending
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// Addr is one bound address.
type Addr struct {
	URL string // as in the flag
	Net net.Addr
}

// Open binds every address. On an error nothing stays bound; it names the URL, the flag and the
// way out.
func Open(ctx context.Context, o Options) (*Group, error) {
	limit, err := maxConns(o.MaxConns)
	if err != nil {
		return nil, err
	}
	if o.names == nil {
		o.names = net.DefaultResolver
	}
	g := &Group{opts: o, grpc: newHandover(), http: newHandover(), pending: newPending()}
	if o.TLS != nil {
		if g.tls, err = newKeeper(*o.TLS, o.FS, o.Log); err != nil {
			return nil, err
		}
	}
	kind := shared
	if len(o.HTTPURLs) > 0 {
		kind = grpcOnly
	}
	err = errors.Join(g.plan(o.URLs, kind), g.plan(o.HTTPURLs, httpOnly))
	g.slots = make(chan struct{}, limit+len(g.bound)) // each address holds one while it accepts
	for i := 0; i < len(g.bound) && err == nil; i++ {
		err = g.bind(ctx, g.bound[i])
	}
	if err != nil {
		for _, b := range g.bound {
			if b.l != nil {
				err = errors.Join(err, b.l.Close())
			}
		}
		return nil, err
	}
	if len(g.bound) > 0 {
		g.grpc.addr, g.http.addr = g.bound[0].l.Addr(), g.bound[0].l.Addr()
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g, nil
}

// plan sorts URLs by address: a plain and a TLS URL may share one.
func (g *Group) plan(urls []url.URL, kind purpose) error {
	for _, u := range urls {
		secure := u.Scheme == "https" || u.Scheme == "unixs"
		if secure && g.tls == nil {
			return fmt.Errorf("TLS key/cert must be provided by flags for %s url %s (--%s) with "+
				"HTTPS scheme", g.opts.Endpoint, u.String(), g.opts.Flag)
		}
		network, addr := "tcp", u.Host
		if u.Scheme == "unix" || u.Scheme == "unixs" {
			network, addr = "unix", u.Host+u.Path
		}
		i := slices.IndexFunc(g.bound, func(b *bound) bool {
			return b.network == network && b.addr == addr && !(network == "tcp" && u.Port() == "0")
		})
		if i < 0 {
			g.bound = append(g.bound, &bound{network: network, addr: addr, purpose: kind})
			i = len(g.bound) - 1
		}
		b := g.bound[i]
		if b.purpose != kind {
			return fmt.Errorf("cannot bind both --listen-client-urls and "+
				"--listen-client-http-urls on the same url %s", u.String())
		}
		b.urls = append(b.urls, u.String())
		b.plain, b.secure = b.plain || !secure, b.secure || secure
	}
	return nil
}

// bind opens one address.
func (g *Group) bind(ctx context.Context, b *bound) error {
	if b.network == "unix" {
		if err := g.removeStale(ctx, b.addr); err != nil {
			return g.explain(b, err)
		}
	}
	lc := net.ListenConfig{KeepAlive: keepAlive, Control: socketOptions(g.opts)}
	l, err := lc.Listen(ctx, b.network, b.addr)
	if err != nil {
		return g.explain(b, err)
	}
	b.l = l
	return nil
}

// removeStale removes a socket file that nobody serves any more.
func (g *Group) removeStale(ctx context.Context, path string) error {
	info, err := g.opts.FS.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is no socket", path)
	}
	d := net.Dialer{Timeout: dialTimeout}
	if conn, err := d.DialContext(ctx, "unix", path); err == nil {
		return errors.Join(syscall.EADDRINUSE, conn.Close())
	}
	return g.opts.FS.Remove(path)
}

// explain adds what to do about an address that cannot be had.
func (g *Group) explain(b *bound, err error) error {
	remedy := "choose another address"
	switch {
	case errors.Is(err, syscall.EADDRINUSE) || isAddrInUse(err):
		remedy = "stop the process that has the address, or choose another one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		remedy = "the address belongs to no interface of this machine; choose one that does"
	case errors.Is(err, syscall.EACCES):
		remedy = "the user may not bind it (ports below 1024 are for privileged users); choose " +
			"another one"
	}
	return fmt.Errorf("cannot listen on %s (--%s): %w; %s", b.urls[0], g.opts.Flag, err, remedy)
}

// Start begins to accept connections.
func (g *Group) Start() {
	for _, b := range g.bound {
		g.workers.Go(func() { g.acceptLoop(b) })
	}
}

// GRPC is the listener of HTTP/2 connections, after the TLS handshake.
func (g *Group) GRPC() net.Listener { return g.grpc }

// HTTP is the listener of HTTP connections: *tls.Conn after the handshake, or plain ones.
func (g *Group) HTTP() net.Listener { return g.http }

// Addrs lists the bound addresses, with the ports that the system chose for :0.
func (g *Group) Addrs() []Addr {
	var out []Addr
	for _, b := range g.bound {
		for _, u := range b.urls {
			out = append(out, Addr{u, b.l.Addr()})
		}
	}
	return out
}

// Secure says whether some address takes TLS, Plain whether some takes connections without.
func (g *Group) Secure() bool {
	return slices.ContainsFunc(g.bound, func(b *bound) bool { return b.secure })
}

// Plain is the other half of Secure.
func (g *Group) Plain() bool {
	return slices.ContainsFunc(g.bound, func(b *bound) bool { return b.plain })
}

// Close stops to accept, closes what is in the handshake, and waits for the group's goroutines.
func (g *Group) Close() error {
	g.cancel()
	var all error
	for _, b := range g.bound {
		all = errors.Join(all, ignoreClosed(b.l.Close()))
	}
	g.pending.close()
	all = errors.Join(all, g.grpc.Close(), g.http.Close())
	g.workers.Wait()
	return all
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// maxConns is how many connections a group may have open.
func maxConns(asked int) (int, error) {
	limit := process.FileLimit()
	if limit == 0 { // unknown
		limit = defaultMaxConns + reservedFiles
	}
	if limit <= reservedFiles {
		return 0, fmt.Errorf("the process may open %d files; more than %d are needed: raise the "+
			"limit (ulimit -n)", limit, reservedFiles)
	}
	room := min(int(limit-reservedFiles), defaultMaxConns)
	if asked > 0 {
		return min(asked, room), nil
	}
	return room, nil
}

// defaultMaxConns bounds the connections of a group where the system has no limit.
const defaultMaxConns = 1 << 20
