package listen

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/vfs"
)

// authority signs certificates and writes them as files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), next: 1}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.key = key
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name string, text []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes name.crt and name.key for the host names and 127.0.0.1; the serial is returned.
func (a *authority) issue(name string, hosts ...string) *big.Int {
	a.t.Helper()
	return a.issueFor(name, []net.IP{net.IPv4(127, 0, 0, 1)}, hosts)
}

// issueFor is issue for other addresses.
func (a *authority) issueFor(name string, ips []net.IP, hosts []string) *big.Int {
	a.t.Helper()
	a.next++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: hosts, IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	a.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return c.SerialNumber
}

// revoke writes crl.der with the serials.
func (a *authority) revoke(serials ...*big.Int) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(),
		NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("crl.der", der)
}

// server is the files of the server "server".
func (a *authority) server() *TLS {
	a.issue("server", "localhost")
	return &TLS{CertFile: a.path("server.crt"), KeyFile: a.path("server.key")}
}

// client is a client's configuration; name is "" for one without a certificate.
func (a *authority) client(name string) *tls.Config {
	a.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	c := &tls.Config{RootCAs: roots}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(a.path(name+".crt"), a.path(name+".key"))
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// logBuffer is a log that goroutines write and a test reads.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// running is a group that is served by a gRPC and an HTTP server.
type running struct {
	*Group
	log *logBuffer
}

// healthServer tells how the caller came: the status is SERVING, a trailer would be too much.
type healthServer struct {
	*health.Server
	mu       sync.Mutex
	lastAuth string
}

func (h *healthServer) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (
	*healthpb.HealthCheckResponse, error,
) {
	p, _ := peer.FromContext(ctx)
	h.mu.Lock()
	h.lastAuth = p.AuthInfo.AuthType()
	h.mu.Unlock()
	return h.Server.Check(ctx, r)
}

func options(urls ...string) Options {
	log := &logBuffer{}
	o := Options{Flag: "listen-client-urls", Endpoint: "client", FS: vfs.OS(),
		Clock: clock.Real(), Log: slog.New(slog.NewTextHandler(log, nil))}
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		o.URLs = append(o.URLs, *u)
	}
	return o
}

// start opens a group and serves it until the test ends.
func start(t *testing.T, o Options) *running {
	t.Helper()
	log := &logBuffer{}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.URL.Path)
	})
	gs := rpc.New(rpc.Options{HTTP: handler})
	healthpb.RegisterHealthServer(gs, &healthServer{Server: health.NewServer()})
	hs := HTTPServer(handler, 100, o.Log)
	g.Start()
	var wg sync.WaitGroup
	wg.Go(func() { _ = gs.Serve(g.GRPC()) })
	wg.Go(func() { _ = hs.Serve(g.HTTP()) })
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		gs.Stop()
		if err := hs.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		wg.Wait()
	})
	return &running{g, log}
}

// addr is the address of the i-th URL.
func (r *running) addr(i int) string { return r.Addrs()[i].Net.String() }

// get asks over HTTP and returns the body. conf is nil for plain; http1 keeps from HTTP/2.
func get(t *testing.T, network, addr string, conf *tls.Config, http2 bool) (string, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		}}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if conf != nil {
		scheme = "https"
	}
	client := http.Client{Transport: transport, Timeout: 10 * time.Second}
	resp, err := client.Get(scheme + "://localhost/version")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// check asks the gRPC health service.
func check(t *testing.T, target string, conf *tls.Config) error {
	t.Helper()
	creds := insecure.NewCredentials()
	if conf != nil {
		creds = credentials.NewTLS(conf)
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}
