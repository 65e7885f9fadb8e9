package listen

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/vfs"
)

// maxPEMBytes bounds certificates, keys and lists that are read.
const maxPEMBytes = 16 << 20

// TLS names the files and limits of TLS.
type TLS struct {
	CertFile, KeyFile             string // PEM
	ClientCertFile, ClientKeyFile string // PEM; shown when dialling, "" is the pair above
	TrustedCAFile                 string // PEM; clients must show a certificate that it signed
	ClientCertAuth                bool   // the same; without TrustedCAFile the system's roots count
	CRLFile                       string // DER or PEM
	AllowedCNs                    []string
	AllowedHostnames              []string
	CheckAddress                  bool // a client's address must be one that its certificate names
	SelfSigned                    bool // it was made here: what is dialled is not checked
	CipherSuites                  []uint16
	MinVersion                    uint16 // 0 is TLS 1.2
	MaxVersion                    uint16 // 0 is the newest
}

// keeper holds what was read of the files. Certificate and key are read anew at each handshake, the
// authorities when their file changed, the revocation list for each connection; if one of the
// first two cannot be read, the last good ones stay.
type keeper struct {
	files TLS
	shown pair // of files, what this side shows
	fs    vfs.FS
	log   *slog.Logger
	base  *tls.Config

	mu      sync.Mutex // guards below
	cert    *tls.Certificate
	roots   *x509.CertPool
	rootsAt fileStamp
}

// pair is a certificate and its key.
type pair struct{ cert, key string }

// fileStamp tells whether a file changed.
type fileStamp struct {
	size int64
	time time.Time
}

// newKeeper is the keeper of a listener.
func newKeeper(files TLS, fs vfs.FS, log *slog.Logger) (*keeper, error) {
	if files.CertFile == "" || files.KeyFile == "" {
		return nil, fmt.Errorf("KeyFile and CertFile must both be present[key: %v, cert: %v]",
			files.KeyFile, files.CertFile)
	}
	return keep(files, pair{files.CertFile, files.KeyFile}, fs, log)
}

// keep reads all files once, so that mistakes are told at the start.
func keep(files TLS, shown pair, fs vfs.FS, log *slog.Logger) (*keeper, error) {
	k := &keeper{files: files, shown: shown, fs: fs, log: log}
	var err error
	if k.cert, err = k.loadCert(); err != nil {
		return nil, err
	}
	if k.roots, err = k.loadRoots(); err != nil {
		return nil, err
	}
	if files.CRLFile != "" {
		if _, err := k.revoked(); err != nil {
			return nil, err
		}
	}
	k.base = &tls.Config{
		MinVersion: max(files.MinVersion, tls.VersionTLS12), MaxVersion: files.MaxVersion,
		CipherSuites:     files.CipherSuites,
		NextProtos:       []string{protoHTTP2, protoHTTP1},
		VerifyConnection: k.verify,
	}
	if files.TrustedCAFile != "" || files.ClientCertAuth {
		k.base.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return k, nil
}

// config is the configuration of one handshake.
func (k *keeper) config() *tls.Config {
	return &tls.Config{
		NextProtos: k.base.NextProtos,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if s, ok := hello.Conn.(*sniffed); ok {
				s.serverName = hello.ServerName
			}
			c := k.base.Clone()
			cert, roots := k.current()
			c.Certificates, c.ClientCAs = []tls.Certificate{*cert}, roots
			return c, nil
		},
	}
}

// current reads the files again.
func (k *keeper) current() (*tls.Certificate, *x509.CertPool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cert, err := k.loadCert(); err == nil {
		k.cert = cert
	} else {
		k.log.Warn("failed to create peer certificate; using the last one",
			slog.String("cert-file", k.shown.cert), slog.String("key-file", k.shown.key),
			slog.Any("error", err))
	}
	if roots, err := k.loadRoots(); err == nil {
		k.roots = roots
	} else {
		k.log.Warn("failed to read the trusted certificates; using the last ones",
			slog.String("trusted-ca-file", k.files.TrustedCAFile), slog.Any("error", err))
	}
	return k.cert, k.roots
}

// loadCert returns nil if this side shows none.
func (k *keeper) loadCert() (*tls.Certificate, error) {
	if k.shown == (pair{}) {
		return nil, nil
	}
	text, err := k.read(k.shown.cert)
	if err != nil {
		return nil, err
	}
	key, err := k.read(k.shown.key)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(text, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", k.shown.cert, k.shown.key, err)
	}
	return &cert, nil
}

// loadRoots returns the pool that it has if the file did not change.
func (k *keeper) loadRoots() (*x509.CertPool, error) {
	if k.files.TrustedCAFile == "" {
		return nil, nil
	}
	info, err := k.fs.Stat(k.files.TrustedCAFile)
	if err != nil {
		return nil, err
	}
	at := fileStamp{info.Size(), info.ModTime()}
	if k.roots != nil && at == k.rootsAt {
		return k.roots, nil
	}
	text, err := k.read(k.files.TrustedCAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in it (PEM)", k.files.TrustedCAFile)
	}
	k.rootsAt = at
	return roots, nil
}

// verify checks what Go does not: allowed names and the revocation list. It runs for resumed
// sessions, too.
func (k *keeper) verify(cs tls.ConnectionState) error {
	named := len(k.files.AllowedHostnames) > 0 || len(k.files.AllowedCNs) > 0
	if named && !k.allowed(cs.PeerCertificates) {
		return errors.New("client certificate authentication failed")
	}
	if k.files.CRLFile == "" || len(cs.PeerCertificates) == 0 {
		return nil
	}
	revoked, err := k.revoked()
	if err != nil {
		return err
	}
	for _, c := range cs.PeerCertificates {
		if serial := string(c.SerialNumber.Bytes()); revoked[serial] {
			return fmt.Errorf("transport: certificate serial %x revoked", serial)
		}
	}
	return nil
}

func (k *keeper) allowed(chain []*x509.Certificate) bool {
	if len(chain) == 0 {
		return false
	}
	for _, name := range k.files.AllowedHostnames {
		if chain[0].VerifyHostname(name) == nil {
			return true
		}
	}
	return slices.Contains(k.files.AllowedCNs, chain[0].Subject.CommonName)
}

// revoked reads the serial numbers of the revocation list.
func (k *keeper) revoked() (map[string]bool, error) {
	text, err := k.read(k.files.CRLFile)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		text = block.Bytes
	}
	list, err := x509.ParseRevocationList(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.files.CRLFile, err)
	}
	out := make(map[string]bool, len(list.RevokedCertificateEntries))
	for _, e := range list.RevokedCertificateEntries {
		out[string(e.SerialNumber.Bytes())] = true
	}
	return out, nil
}

// read returns a file's content.
func (k *keeper) read(name string) ([]byte, error) {
	return config.ReadFile(k.fs, name, maxPEMBytes)
}
