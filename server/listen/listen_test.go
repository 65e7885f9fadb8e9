package listen

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
)

// TestOnePort: gRPC and HTTP, plain and TLS, HTTP/1 and HTTP/2, all on one port.
func TestOnePort(t *testing.T) {
	ca := newAuthority(t)
	port := freePort(t)
	o := options("http://127.0.0.1:"+port, "https://127.0.0.1:"+port)
	o.TLS = ca.server()
	r := start(t, o)
	if len(r.bound) != 1 || len(r.Addrs()) != 2 || !r.Secure() || !r.Plain() {
		t.Fatalf("bound %+v", r.bound)
	}
	addr, conf := r.addr(0), ca.client("")
	if err := check(t, addr, nil); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	if err := check(t, addr, conf); err != nil {
		t.Errorf("gRPC with TLS: %v", err)
	}
	for want, c := range map[string]struct {
		conf  *tls.Config
		http2 bool
	}{"HTTP/1.1 /version": {nil, false}, "HTTP/2.0 /version": {conf, true}} {
		if got, err := get(t, "tcp", addr, c.conf, c.http2); got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if got, err := get(t, "tcp", addr, conf, false); got != "HTTP/1.1 /version" || err != nil {
		t.Errorf("HTTP/1.1 with TLS: %q, %v", got, err)
	}
	// A gRPC client that offers HTTP/1.1, too, comes through the HTTP server.
	both := ca.client("")
	both.NextProtos = []string{"h2", "http/1.1"}
	if err := check(t, addr, both); err != nil {
		t.Errorf("gRPC over the HTTP server: %v", err)
	}
	if got := r.log.String(); got != "" {
		t.Errorf("log: %s", got)
	}
}

// freePort finds a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestSeveral: several addresses, free ports, unix sockets with and without TLS.
func TestSeveral(t *testing.T) {
	ca := newAuthority(t)
	t.Chdir(t.TempDir())
	o := options("http://127.0.0.1:0", "http://0.0.0.0:0", "http://127.0.0.1:0",
		"unix://localhost:1", "unixs://localhost:2")
	o.TLS = ca.server()
	r := start(t, o)
	for i := range 3 {
		_, port, err := net.SplitHostPort(r.addr(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := check(t, "127.0.0.1:"+port, nil); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := check(t, "unix:localhost:1", nil); err != nil {
		t.Errorf("unix: %v", err)
	}
	conf := ca.client("")
	conf.ServerName = "localhost"
	if err := check(t, "unix:localhost:2", conf); err != nil {
		t.Errorf("unixs: %v", err)
	}
	if got, err := get(t, "unix", "localhost:1", nil, false); got != "HTTP/1.1 /version" {
		t.Errorf("HTTP over unix: %q, %v", got, err)
	}
}

// TestSplit: with URLs for HTTP alone the others serve gRPC alone.
func TestSplit(t *testing.T) {
	ca := newAuthority(t)
	o := options("http://127.0.0.1:0", "https://127.0.0.1:0")
	o.TLS = ca.server()
	o.HTTPURLs = options("http://127.0.0.1:0", "https://127.0.0.1:0").URLs
	r := start(t, o)
	conf := ca.client("")
	for i, c := range []*tls.Config{nil, conf} {
		if err := check(t, r.addr(i), c); err != nil {
			t.Errorf("gRPC %d: %v", i, err)
		}
		if got, err := get(t, "tcp", r.addr(i), c, false); strings.HasPrefix(got, "HTTP/") {
			t.Errorf("HTTP on the gRPC address %d: %q, %v", i, got, err)
		}
		if got, err := get(t, "tcp", r.addr(2+i), c, false); got != "HTTP/1.1 /version" {
			t.Errorf("HTTP %d: %q, %v", i, got, err)
		}
	}
	got, err := get(t, "tcp", r.addr(0), nil, false)
	if !strings.Contains(got, "serves gRPC alone") || err != nil {
		t.Errorf("HTTP on the gRPC address: %q, %v", got, err)
	}
	if got, err := get(t, "tcp", r.addr(3), conf, true); got != "HTTP/2.0 /version" {
		t.Errorf("HTTP/2 on the HTTP address: %q, %v", got, err)
	}
	port := freePort(t)
	o = options("http://127.0.0.1:" + port)
	o.HTTPURLs = o.URLs
	if _, err := Open(t.Context(), o); err == nil ||
		!strings.Contains(err.Error(), "cannot bind both") {
		t.Errorf("both on one: %v", err)
	}
}

// TestInUse: an address that cannot be had is named, with the flag and the way out.
func TestInUse(t *testing.T) {
	r := start(t, options("http://127.0.0.1:0"))
	_, err := Open(t.Context(), options("http://127.0.0.1:0", "http://"+r.addr(0)))
	for _, want := range []string{"http://" + r.addr(0), "--listen-client-urls",
		"address already in use", "stop the process"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v is not EADDRINUSE", err)
	}
	_, err = Open(t.Context(), options("http://192.0.2.1:0"))
	if err == nil || !strings.Contains(err.Error(), "no interface of this machine") {
		t.Errorf("a foreign address: %v", err)
	}
	if _, err := Open(t.Context(), options("https://127.0.0.1:0")); err == nil ||
		!strings.Contains(err.Error(), "TLS key/cert must be provided by flags for client url") {
		t.Errorf("https without a certificate: %v", err)
	}
}

// TestUnixFiles: a socket file that nobody serves is replaced; what is served or is none is not.
func TestUnixFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: "s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, options("unix://s"))
	if err := check(t, "unix:s", nil); err != nil {
		t.Errorf("over a stale file: %v", err)
	}
	if _, err := Open(t.Context(), options("unix://s")); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("over a served file: %v", err)
	}
	if err := os.WriteFile("plain", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), options("unix://plain"))
	if err == nil || !strings.Contains(err.Error(), "plain exists and is no socket") {
		t.Errorf("over a plain file: %v", err)
	}
	path := filepath.Join(t.TempDir(), "abs")
	g, err := Open(t.Context(), options("unix://"+path))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file stays: %v", err)
	}
}

// TestReuse: the socket options let two groups share a port.
func TestReuse(t *testing.T) {
	o := options("http://127.0.0.1:0")
	o.ReusePort, o.ReuseAddr = true, true
	r := start(t, o)
	second := options("http://" + r.addr(0))
	second.ReusePort = true
	g, err := Open(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// TestWrongProtocol: plain HTTP on an https URL is answered with 400 and logged, and TLS on an http
// URL is logged and closed.
func TestWrongProtocol(t *testing.T) {
	ca := newAuthority(t)
	o := options("https://127.0.0.1:0")
	o.TLS = ca.server()
	r := start(t, o)
	conn, err := net.Dial("tcp", r.addr(0))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 400 {
		t.Errorf("%v, %v", resp, err)
	}
	if got := r.log.String(); !strings.Contains(got, "rejected connection on client endpoint") {
		t.Errorf("log: %s", got)
	}
	r = start(t, options("http://127.0.0.1:0"))
	if got, err := get(t, "tcp", r.addr(0), ca.client(""), false); err == nil {
		t.Errorf("TLS on a plain URL: %q", got)
	}
	if got := r.log.String(); !strings.Contains(got, "no https URL listens") {
		t.Errorf("log: %s", got)
	}
}

// lateClock makes handshakeTimeout a tenth of a second.
type lateClock struct{ clock.Clock }

func (c lateClock) Now() time.Time {
	return c.Clock.Now().Add(100*time.Millisecond - handshakeTimeout)
}

// TestSilent: a connection that says nothing is closed when its time is over.
func TestSilent(t *testing.T) {
	ca := newAuthority(t)
	port := freePort(t)
	o := options("http://127.0.0.1:"+port, "https://127.0.0.1:"+port)
	o.TLS = ca.server()
	o.Clock = lateClock{clock.Real()}
	r := start(t, o)
	for _, first := range []string{"", "P", "PR", "\x16\x03"} {
		conn, err := net.Dial("tcp", r.addr(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// The server may have closed it already.
		_, _ = io.WriteString(conn, first)
		if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: %d bytes, %v", first, n, err)
		}
		_ = conn.Close()
	}
}

// TestCrowd: silent connections beyond the limit push out the oldest of them, and keep no one out.
func TestCrowd(t *testing.T) {
	r := start(t, options("http://127.0.0.1:0"))
	var first net.Conn
	for i := range maxPending + 50 {
		conn, err := net.Dial("tcp", r.addr(0))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i == 0 {
			first = conn
		}
	}
	if err := first.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the oldest is still open")
	}
	if err := check(t, r.addr(0), nil); err != nil {
		t.Error(err)
	}
	r.pending.mu.Lock()
	defer r.pending.mu.Unlock()
	if n := r.pending.conns.Len(); n > maxPending {
		t.Errorf("%d pending", n)
	}
}

// TestMaxConns: a connection beyond the limit waits until another one ends.
func TestMaxConns(t *testing.T) {
	o := options("http://127.0.0.1:0")
	o.MaxConns = 1
	r := start(t, o)
	var conns []net.Conn
	for range 2 {
		conn, err := net.Dial("tcp", r.addr(0))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	read := func(conn net.Conn, wait time.Duration) error {
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		_, err := http.ReadResponse(bufio.NewReader(conn), nil)
		return err
	}
	if err := read(conns[0], 10*time.Second); err != nil {
		t.Fatalf("the first: %v", err)
	}
	// One slot is the address's own: two connections fit, a third one waits.
	third, err := net.Dial("tcp", r.addr(0))
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := io.WriteString(third, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := read(third, 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("beyond the limit: %v", err)
	}
	_ = conns[0].Close()
	if err := read(third, 10*time.Second); err != nil {
		t.Errorf("after another one ended: %v", err)
	}
}

// TestClose: pending connections are closed, nothing is accepted any more, the port is free.
func TestClose(t *testing.T) {
	g, err := Open(t.Context(), options("http://127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	g.Start()
	addr := g.Addrs()[0].Net.String()
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ready, err := net.Dial("tcp", addr) // waits for a server to accept it
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	if _, err := io.WriteString(ready, "GET"); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for _, l := range []net.Listener{g.GRPC(), g.HTTP()} {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
	}
	for _, conn := range []net.Conn{silent, ready} {
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("still open")
		}
	}
	again, err := Open(t.Context(), options("http://"+addr))
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestMetricsGroup(t *testing.T) {
	o := options()
	u := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	o.HTTPURLs, o.Endpoint, o.Flag = []url.URL{u}, "metrics", "listen-metrics-urls"
	r := start(t, o)
	if got, err := get(t, "tcp", r.addr(0), nil, false); got != "HTTP/1.1 /version" {
		t.Errorf("%q, %v", got, err)
	}
	// HTTP/2 without TLS and without gRPC, as curl --http2-prior-knowledge does.
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr(0)+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "HTTP/2.0 /x" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}
