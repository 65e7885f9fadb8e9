package conform

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"
)

// certificates returns a server's and a client's side of TLS; each has a certificate that the other
// trusts.
func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	pair, roots := issue(t)
	server = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots,
		ClientAuth: tls.VerifyClientCertIfGiven, NextProtos: []string{http2.NextProtoTLS}}
	client = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots,
		ServerName: "localhost"}
	return server, client
}

// issue makes a certificate for localhost that vouches for itself.
func issue(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1),
		Subject:   pkix.Name{CommonName: "conform"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

// certificateFiles writes a certificate and its key as files.
func certificateFiles(t *testing.T) (cert, key string, client *tls.Config) {
	t.Helper()
	pair, roots := issue(t)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "pem"), filepath.Join(t.TempDir(), "key")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}
}

// secured is a listener whose connections have shaken hands already, as a door gets them.
type secured struct {
	net.Listener
	conf    *tls.Config
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	working sync.WaitGroup
}

func newSecured(l net.Listener, conf *tls.Config) *secured {
	s := &secured{Listener: l, conf: conf, conns: make(chan net.Conn),
		closed: make(chan struct{})}
	s.working.Go(s.run)
	return s
}

func (s *secured) run() {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			return
		}
		s.working.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			hello := tls.Server(conn, s.conf)
			if hello.HandshakeContext(ctx) == nil {
				select {
				case s.conns <- hello:
					return
				case <-s.closed:
				}
			}
			_ = conn.Close()
		})
	}
}

func (s *secured) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *secured) Close() error {
	s.once.Do(func() { close(s.closed) })
	err := s.Listener.Close()
	s.working.Wait()
	return err
}

// shaken are the credentials of a server whose connections have shaken hands already.
type shaken struct {
	credentials.TransportCredentials
}

func (s shaken) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if secured, ok := conn.(*tls.Conn); ok {
		return conn, credentials.TLSInfo{State: secured.ConnectionState(),
			CommonAuthInfo: credentials.CommonAuthInfo{
				SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
	}
	return s.TransportCredentials.ServerHandshake(conn)
}

func (s shaken) Clone() credentials.TransportCredentials { return s }
