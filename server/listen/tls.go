package listen

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/vfs"
)

// maxPEMBytes bounds certificates, keys and lists that are read.
const maxPEMBytes = 16 << 20

// TLS names the files and limits of TLS.
type TLS struct {
	CertFile, KeyFile string // PEM
	TrustedCAFile     string // PEM; if given, clients must show a certificate that it signed
	ClientCertAuth    bool   // the same; without TrustedCAFile the system's roots count
	CRLFile           string // DER or PEM
	AllowedHostnames  []string
	CipherSuites      []uint16
	MinVersion        uint16 // 0 is TLS 1.2
	MaxVersion        uint16 // 0 is the newest
}

// keeper holds what was read of the files. Certificate and key are read anew at each handshake, the
// authorities when their file changed, the revocation list for each connection; if one of the
// first two cannot be read, the last good ones stay.
type keeper struct {
	files TLS
	fs    vfs.FS
	log   *slog.Logger
	base  *tls.Config

	mu      sync.Mutex // guards below
	cert    *tls.Certificate
	roots   *x509.CertPool
	rootsAt fileStamp
}

// fileStamp tells whether a file changed.
type fileStamp struct {
	size int64
	time time.Time
}

// newKeeper reads all files once, so that mistakes are told at the start.
func newKeeper(files TLS, fs vfs.FS, log *slog.Logger) (*keeper, error) {
	if files.CertFile == "" || files.KeyFile == "" {
		return nil, fmt.Errorf("KeyFile and CertFile must both be present[key: %v, cert: %v]",
			files.KeyFile, files.CertFile)
	}
	k := &keeper{files: files, fs: fs, log: log}
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
				for _, proto := range hello.SupportedProtos {
					s.offersHTTP1 = s.offersHTTP1 || proto == protoHTTP1
				}
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
			slog.String("cert-file", k.files.CertFile), slog.String("key-file", k.files.KeyFile),
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

func (k *keeper) loadCert() (*tls.Certificate, error) {
	cert, err := k.read(k.files.CertFile)
	if err != nil {
		return nil, err
	}
	key, err := k.read(k.files.KeyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", k.files.CertFile, k.files.KeyFile, err)
	}
	return &pair, nil
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
	if len(k.files.AllowedHostnames) > 0 && !k.allowed(cs.PeerCertificates) {
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
	for _, name := range k.files.AllowedHostnames {
		if len(chain) > 0 && chain[0].VerifyHostname(name) == nil {
			return true
		}
	}
	return false
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

// TLSFrom takes what the flags say; nil if they name no certificate.
func TLSFrom(c config.TLS) (*TLS, error) {
	if !c.Secure() {
		return nil, nil
	}
	oldest, newest, err := c.Versions()
	if err != nil {
		return nil, err
	}
	ciphers, err := c.CipherIDs()
	if err != nil {
		return nil, err
	}
	return &TLS{
		CertFile: c.CertFile, KeyFile: c.KeyFile, TrustedCAFile: c.TrustedCAFile,
		ClientCertAuth: c.ClientCertAuth, CRLFile: c.CRLFile,
		AllowedHostnames: c.AllowedHostnames, CipherSuites: ciphers,
		MinVersion: oldest, MaxVersion: newest,
	}, nil
}
