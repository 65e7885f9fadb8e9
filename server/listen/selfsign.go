package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/vfs"
)

// year is that of certificates, as etcd counts.
const year = 365 * 24 * time.Hour

// serialBits is the size of a certificate's random serial number.
const serialBits = 128

// selfSign returns the certificate of --auto-tls or --peer-auto-tls in dir; it is made if it is not
// there yet. One that is there is taken as it is: it may have expired.
func selfSign(
	files vfs.FS, clk clock.Clock, log *slog.Logger, dir string, hosts []string, years uint,
) (pair, error) {
	p := pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	_, certErr := files.Stat(p.cert)
	_, keyErr := files.Stat(p.key)
	if certErr == nil && keyErr == nil {
		return p, nil
	}
	now := clk.Now()
	until := now.Add(time.Duration(years) * year)
	log.Warn("automatically generate certificates",
		slog.Time("certificate-validity-bound-not-after", until))
	cert, key, err := newCertificate(hosts, now, until)
	if err == nil {
		err = writePair(files, dir, p, cert, key)
	}
	if err != nil {
		return pair{}, fmt.Errorf("make a certificate in %s: %w; let the user that runs the "+
			"server write there, or give certificates by flags", dir, err)
	}
	log.Info("created cert file", slog.String("path", p.cert))
	log.Info("created key file", slog.String("path", p.key))
	return p, nil
}

// newCertificate makes a certificate for the hosts that signs itself; both are PEM.
func newCertificate(hosts []string, from, until time.Time) (cert, key []byte, err error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, nil, err
	}
	c := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"cairn"}},
		NotBefore:    from,
		NotAfter:     until,
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature |
			x509.KeyUsageCRLSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else if h != "" {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), nil
}

// writePair writes the files so that both are there only if they belong together.
func writePair(files vfs.FS, dir string, p pair, cert, key []byte) error {
	if err := files.MkdirAll(dir); err != nil {
		return err
	}
	err := files.Remove(p.cert) // of a key that is gone
	if err == nil {
		err = files.SyncDir(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeDurable(files, dir, p.key, key); err != nil {
		return err
	}
	return writeDurable(files, dir, p.cert, cert)
}

// writeDurable makes a file, whole.
func writeDurable(files vfs.FS, dir, name string, text []byte) error {
	f, err := files.Create(name + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := files.Rename(name+".tmp", name); err != nil {
		return err
	}
	return files.SyncDir(dir)
}
