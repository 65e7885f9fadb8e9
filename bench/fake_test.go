package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// fake is a server on grpc-go that counts what it is asked and knows one key's watchers.
type fake struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedWatchServer
	etcdserverpb.UnimplementedLeaseServer
	etcdserverpb.UnimplementedAuthServer

	server   *grpc.Server
	address  string
	mu       sync.Mutex // guards all below
	puts     []*etcdserverpb.PutRequest
	ranges   []*etcdserverpb.RangeRequest
	txns     []*etcdserverpb.TxnRequest
	deletes  int
	grants   int
	renewals map[int64]int
	revoked  map[int64]bool
	tokens   map[string]int // of all requests
	rev      int64
	watchers []*fakeWatcher
	busy     int // requests under way
	busiest  int

	refuse func(n int) error // the n-th put, from 1 on
	answer int               // bytes of a value in a range
	locks  *lockFake         // takes transactions, ranges and deletes, if not nil
}

type fakeWatcher struct {
	id     int64
	key    string
	from   int64
	stream chan *etcdserverpb.WatchResponse
}

// newFake starts a server; with TLS if cfg is not nil.
func newFake(t *testing.T, cfg *tls.Config) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{address: l.Addr().String(), renewals: map[int64]int{}, revoked: map[int64]bool{},
		tokens: map[string]int{}}
	var options []grpc.ServerOption
	if cfg != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(cfg)))
		f.address = "https://" + f.address
	}
	f.server = grpc.NewServer(options...)
	etcdserverpb.RegisterKVServer(f.server, f)
	etcdserverpb.RegisterWatchServer(f.server, f)
	etcdserverpb.RegisterLeaseServer(f.server, f)
	etcdserverpb.RegisterAuthServer(f.server, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.server.Serve(l) // ends with Stop
	}()
	t.Cleanup(func() {
		f.server.Stop()
		<-done
	})
	return f
}

// enter counts a request that is under way, and its token.
func (f *fake) enter(ctx context.Context) func() {
	md, _ := metadata.FromIncomingContext(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, token := range md.Get("token") {
		f.tokens[token]++
	}
	f.busy++
	f.busiest = max(f.busiest, f.busy)
	return func() {
		f.mu.Lock()
		f.busy--
		f.mu.Unlock()
	}
}

func (f *fake) header() *etcdserverpb.ResponseHeader {
	return &etcdserverpb.ResponseHeader{Revision: f.rev}
}

func (f *fake) Put(ctx context.Context, r *etcdserverpb.PutRequest) (
	*etcdserverpb.PutResponse, error) {
	defer f.enter(ctx)()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts = append(f.puts, r)
	if f.refuse != nil {
		if err := f.refuse(len(f.puts)); err != nil {
			return nil, err
		}
	}
	f.rev++
	for _, w := range f.watchers {
		if w.key == string(r.Key) {
			w.stream <- f.event(w.id, f.rev, r)
		}
	}
	return &etcdserverpb.PutResponse{Header: f.header()}, nil
}

func (f *fake) event(id, rev int64, r *etcdserverpb.PutRequest) *etcdserverpb.WatchResponse {
	return &etcdserverpb.WatchResponse{Header: f.header(), WatchId: id, Events: []*mvccpb.Event{{
		Kv: &mvccpb.KeyValue{Key: r.Key, Value: r.Value, ModRevision: rev},
	}}}
}

func (f *fake) Range(ctx context.Context, r *etcdserverpb.RangeRequest) (
	*etcdserverpb.RangeResponse, error) {
	defer f.enter(ctx)()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locks != nil {
		return f.locks.get(r), nil
	}
	f.ranges = append(f.ranges, r)
	return &etcdserverpb.RangeResponse{Header: f.header(), Kvs: []*mvccpb.KeyValue{{
		Key: r.Key, Value: make([]byte, f.answer)}}}, nil
}

func (f *fake) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (
	*etcdserverpb.TxnResponse, error) {
	defer f.enter(ctx)()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locks != nil {
		return f.locks.txn(r), nil
	}
	f.txns = append(f.txns, r)
	return &etcdserverpb.TxnResponse{Header: f.header(), Succeeded: true}, nil
}

func (f *fake) DeleteRange(ctx context.Context, r *etcdserverpb.DeleteRangeRequest) (
	*etcdserverpb.DeleteRangeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locks != nil {
		f.locks.drop(string(r.Key))
	}
	f.deletes++
	return &etcdserverpb.DeleteRangeResponse{Header: f.header()}, nil
}

func (f *fake) LeaseGrant(context.Context, *etcdserverpb.LeaseGrantRequest) (
	*etcdserverpb.LeaseGrantResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grants++
	return &etcdserverpb.LeaseGrantResponse{ID: int64(1000 + f.grants), TTL: 100}, nil
}

func (f *fake) LeaseRevoke(_ context.Context, r *etcdserverpb.LeaseRevokeRequest) (
	*etcdserverpb.LeaseRevokeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked[r.ID] = true
	return &etcdserverpb.LeaseRevokeResponse{}, nil
}

func (f *fake) LeaseKeepAlive(s etcdserverpb.Lease_LeaseKeepAliveServer) error {
	for {
		r, err := s.Recv()
		if err != nil {
			return nil // the client has said all
		}
		f.mu.Lock()
		f.renewals[r.ID]++
		f.mu.Unlock()
		if err := s.Send(&etcdserverpb.LeaseKeepAliveResponse{ID: r.ID, TTL: 100}); err != nil {
			return err
		}
	}
}

func (f *fake) Authenticate(_ context.Context, r *etcdserverpb.AuthenticateRequest) (
	*etcdserverpb.AuthenticateResponse, error) {
	return &etcdserverpb.AuthenticateResponse{Token: r.Name + "/" + r.Password}, nil
}

// Watch answers creations, sends the past to those who begin there, and what is put afterwards.
func (f *fake) Watch(s etcdserverpb.Watch_WatchServer) error {
	out := make(chan *etcdserverpb.WatchResponse, 1<<16)
	go func() {
		var next int64
		for {
			r, err := s.Recv()
			if err != nil {
				return
			}
			c := r.GetCreateRequest()
			f.mu.Lock()
			w := &fakeWatcher{id: next, key: string(c.Key), from: c.StartRevision, stream: out}
			next++
			f.watchers = append(f.watchers, w)
			out <- &etcdserverpb.WatchResponse{Header: f.header(), WatchId: w.id, Created: true}
			for i, p := range f.puts {
				if rev := int64(i + 1); w.from > 0 && rev >= w.from && string(p.Key) == w.key {
					out <- f.event(w.id, rev, p)
				}
			}
			if f.locks != nil && f.locks.gone[w.key] >= w.from {
				f.locks.tell(w)
			}
			f.mu.Unlock()
		}
	}()
	for {
		select {
		case r := <-out:
			if err := s.Send(r); err != nil {
				return err
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

// certificate makes what a TLS server for 127.0.0.1 needs, and who trusts it.
func certificate(t *testing.T) (server *tls.Config, trust *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trust = x509.NewCertPool()
	trust.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der},
		PrivateKey: key}}}, trust
}
