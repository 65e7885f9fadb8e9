package conform

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn/e2e"
	"github.com/cairnkv/cairn/e2e/cluster"
	"github.com/cairnkv/cairn/rpc/conform/raw"
)

// root is the product's module, seen from here.
const root = "../.."

// TestProduct uses the product through etcd's client.
func TestProduct(t *testing.T) {
	program, err := e2e.Build(t.Context(), root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T, string){
		"keepalive": productKeepalive, "pings": productPings, "restart": productRestart,
		"lease": productLease, "sizes": productSizes, "tls": productTLS,
		"balancer": productBalancer,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of them wait
			test(t, program)
		})
	}
}

// serve starts a member of its own; change may alter its arguments.
func serve(t *testing.T, program string, change func(string) string, args ...string) *e2e.Server {
	t.Helper()
	s, err := e2e.NewServer(program, t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		var changed []string
		for _, arg := range s.Args() {
			changed = append(changed, change(arg))
		}
		s.SetArgs(changed...)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// client is etcd's client of some endpoints.
func client(t *testing.T, conf clientv3.Config) *clientv3.Client {
	t.Helper()
	conf.DialTimeout, conf.Logger = patience, zap.NewNop()
	c, err := clientv3.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // its context is over
	return c
}

// productKeepalive: a client that pings as often as it may, with a watch open, keeps its
// connection.
func productKeepalive(t *testing.T, program string) {
	s := serve(t, program, nil)
	var dials atomic.Int32
	const often = 10 * time.Second // grpc-go does not ping more often
	c := client(t, clientv3.Config{Endpoints: []string{s.Endpoint()}, DialKeepAliveTime: often,
		DialKeepAliveTimeout: often, PermitWithoutStream: true,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(
			func(ctx context.Context, addr string) (net.Conn, error) {
				dials.Add(1)
				var d net.Dialer
				return d.DialContext(ctx, "tcp", addr)
			})}})
	watch := c.Watch(t.Context(), "k")
	if _, err := c.Put(t.Context(), "k", "1"); err != nil {
		t.Fatal(err)
	}
	<-watch
	// Four pings go by.
	select {
	case r := <-watch:
		t.Errorf("%v", r)
	case <-time.After(4*often + time.Second):
	}
	if _, err := c.Put(t.Context(), "k", "2"); err != nil {
		t.Fatal(err)
	}
	if r := <-watch; r.Err() != nil || len(r.Events) != 1 {
		t.Errorf("%v", r)
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("the client dialled %d times", n)
	}
}

// productPings: one that pings more often is sent away.
func productPings(t *testing.T, program string) {
	s := serve(t, program, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	r := &rig{t: t, addr: s.Endpoint(), ctx: ctx}
	c := r.raw(raw.Config{})
	if n := pingUntil(r, c, 20); n < strikes || n > strikes+1 {
		t.Errorf("gone after %d pings", n)
	}
	tooMany(r, c)
}

// productRestart: a watch goes on over a restart of the server and misses nothing.
func productRestart(t *testing.T, program string) {
	s := serve(t, program, nil)
	c := client(t, clientv3.Config{Endpoints: []string{s.Endpoint()}})
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	watch := c.Watch(ctx, "k", clientv3.WithPrefix())
	put := func(n int) {
		t.Helper()
		var err error
		poll(func() bool { // the connection may not be back yet
			_, err = c.Put(ctx, fmt.Sprintf("k%d", n), "v")
			return status.Code(err) != codes.Unavailable
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		put(2 * n)
		if err := s.Stop(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		put(2*n + 1)
	}
	want := 0
	for want < 6 {
		r, ok := <-watch
		if !ok || r.Err() != nil {
			t.Fatalf("the watch ended at event %d: %v", want, r.Err())
		}
		for _, e := range r.Events {
			// A put whose answer was lost was made twice.
			if got := string(e.Kv.Key); got == fmt.Sprintf("k%d", want) {
				want++
			} else if got != fmt.Sprintf("k%d", want-1) {
				t.Fatalf("event of %s, want k%d", got, want)
			}
		}
	}
}

// productLease: a lease that is kept alive lives, over a restart too.
func productLease(t *testing.T, program string) {
	s := serve(t, program, nil)
	c := client(t, clientv3.Config{Endpoints: []string{s.Endpoint()}})
	const ttl = 5 // seconds
	lease, err := c.Grant(t.Context(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := c.KeepAlive(t.Context(), lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	renewed := func(n int) {
		for range n {
			if r, ok := <-kept; !ok || r.TTL != ttl {
				t.Fatalf("%v, %v", r, ok)
			}
		}
	}
	renewed(2)
	if err := errors.Join(s.Stop(syscall.SIGTERM), s.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	renewed(4)
	if r, err := c.TimeToLive(t.Context(), lease.ID); err != nil || r.TTL <= 0 {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := c.Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	for range kept { // what was under way
	}
}

// productSizes: values up to the limit, an answer of many of them, and those that are too large.
func productSizes(t *testing.T, program string) {
	s := serve(t, program, nil)
	c := client(t, clientv3.Config{Endpoints: []string{s.Endpoint()},
		MaxCallSendMsgSize: 64 << 20, MaxCallRecvMsgSize: 256 << 20})
	large := strings.Repeat("v", 1400<<10)
	const keys = 40
	for n := range keys {
		if _, err := c.Put(t.Context(), fmt.Sprintf("k%02d", n), large); err != nil {
			t.Fatal(err)
		}
	}
	r, err := c.Get(t.Context(), "k", clientv3.WithPrefix())
	if err != nil || len(r.Kvs) != keys {
		t.Fatalf("%d keys, %v", len(r.Kvs), err)
	}
	for _, kv := range r.Kvs {
		if string(kv.Value) != large {
			t.Fatalf("%s has another value", kv.Key)
		}
	}
	_, err = c.Put(t.Context(), "k", large+large[:200<<10])
	if !errors.Is(err, rpctypes.ErrRequestTooLarge) {
		t.Errorf("too large for raft: %v", err)
	}
	_, err = c.Put(t.Context(), "k", large+large)
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("too large for gRPC: %v", err)
	}
	snapshot, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, snapshot)
	if err = errors.Join(err, snapshot.Close()); err != nil || n < keys*int64(len(large)) {
		t.Errorf("a snapshot of %d bytes, %v", n, err)
	}
}

// productTLS: over TLS a client has to show a certificate; plain HTTP on the same port does too.
func productTLS(t *testing.T, program string) {
	cert, key, conf := certificateFiles(t)
	s := serve(t, program, func(arg string) string {
		if strings.Contains(arg, "client-urls=") {
			return strings.Replace(arg, "=http://", "=https://", 1)
		}
		return arg
	}, "--cert-file="+cert, "--key-file="+key, "--trusted-ca-file="+cert, "--client-cert-auth")
	c := client(t, clientv3.Config{Endpoints: []string{"https://" + s.Endpoint()}, TLS: conf})
	watch := c.Watch(t.Context(), "k")
	if _, err := c.Put(t.Context(), "k", strings.Repeat("v", 1<<20)); err != nil {
		t.Fatal(err)
	}
	if r := <-watch; r.Err() != nil || len(r.Events) != 1 {
		t.Errorf("%v", r)
	}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		transport := &http.Transport{TLSClientConfig: conf.Clone(),
			ForceAttemptHTTP2: protocol == "HTTP/2.0"}
		r, err := (&http.Client{Transport: transport}).Get("https://" + s.Endpoint() + "/health")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close() // it was read
		transport.CloseIdleConnections()
		if err != nil || r.Proto != protocol || !strings.Contains(string(body), "true") {
			t.Errorf("%s: %s %s, %v", protocol, r.Proto, body, err)
		}
	}
	nobody := client(t, clientv3.Config{Endpoints: []string{"https://" + s.Endpoint()},
		TLS: &tls.Config{RootCAs: conf.RootCAs}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := nobody.Get(ctx, "k"); err == nil {
		t.Error("a client without a certificate was served")
	}
}

// productBalancer: a client of three members spreads its calls over them, and goes on when one of
// them is gone.
func productBalancer(t *testing.T, program string) {
	group := cluster.New(program, t.TempDir())
	t.Cleanup(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	if err := group.Start(ctx, 3); err != nil {
		t.Fatal(err)
	}
	members := group.Members()
	c := client(t, clientv3.Config{Endpoints: group.Endpoints()})
	handled := func(m *cluster.Member) int { return puts(t, m.Endpoint()) }
	for n := 0; handled(members[0]) == 0 || handled(members[1]) == 0 ||
		handled(members[2]) == 0; n++ {
		if n == 1000 {
			t.Fatal("a thousand calls went past one of three members")
		}
		if _, err := c.Put(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	if err := members[0].Stop(); err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		var err error
		poll(func() bool { // a leader may have to be elected
			_, err = c.Put(ctx, "k", "v")
			return status.Code(err) != codes.Unavailable
		})
		if err != nil {
			t.Fatalf("put %d: %v", n, err)
		}
	}
}

var putsHandled = regexp.MustCompile(
	`grpc_server_handled_total\{grpc_code="OK",grpc_method="Put",[^}]*\} (\d+)`)

// puts is how many Puts a member has answered.
func puts(t *testing.T, endpoint string) int {
	t.Helper()
	r, err := http.Get("http://" + strings.TrimPrefix(endpoint, "http://") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close() // it was read
	if err != nil {
		t.Fatal(err)
	}
	m := putsHandled.FindSubmatch(body)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
