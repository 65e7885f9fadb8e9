package listen

import (
	"crypto/tls"
	"log/slog"
	"net/url"
	"path/filepath"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/vfs"
)

// ClientTLS is what the flags say about TLS on the client URLs; nil if they name no certificate and
// ask for none. With --auto-tls it is made, if it is not there.
func ClientTLS(c *config.Config, fs vfs.FS, clk clock.Clock, log *slog.Logger) (*TLS, error) {
	urls := append(append([]url.URL{}, c.ListenClientURLs...), c.ListenClientHTTPURLs...)
	return fromFlags(c, c.ClientTLS, filepath.Join(c.DataDir, "fixtures", "client"), urls, fs, clk,
		log)
}

// PeerTLS is the same for the peer URLs.
func PeerTLS(c *config.Config, fs vfs.FS, clk clock.Clock, log *slog.Logger) (*TLS, error) {
	t, err := fromFlags(c, c.PeerTLS, filepath.Join(c.DataDir, "fixtures", "peer"),
		c.ListenPeerURLs, fs, clk, log)
	if t != nil {
		t.CheckAddress = !c.PeerTLS.SkipClientSAN
	}
	return t, err
}

// fromFlags takes one set of flags, and makes a certificate in dir if they ask for it.
func fromFlags(
	c *config.Config, flags config.TLS, dir string, urls []url.URL,
	fs vfs.FS, clk clock.Clock, log *slog.Logger,
) (*TLS, error) {
	if !flags.Secure() {
		return nil, nil
	}
	t, err := translate(flags)
	if err != nil || !flags.Auto {
		return &t, err
	}
	hosts := make([]string, len(urls))
	for i := range urls {
		hosts[i] = urls[i].Hostname()
	}
	made, err := selfSign(fs, clk, log, dir, hosts, c.SelfSignedYears)
	if err != nil {
		return nil, err
	}
	// As etcd does it: what was said about other certificates does not hold for these.
	return &TLS{CertFile: made.cert, KeyFile: made.key, SelfSigned: true,
		CipherSuites: t.CipherSuites, MinVersion: t.MinVersion, MaxVersion: t.MaxVersion}, nil
}

// translate gives the flags' words their meaning.
func translate(c config.TLS) (TLS, error) {
	oldest, newest, err := c.Versions()
	if err != nil {
		return TLS{}, err
	}
	ciphers, err := c.CipherIDs()
	if err != nil {
		return TLS{}, err
	}
	return TLS{
		CertFile: c.CertFile, KeyFile: c.KeyFile,
		ClientCertFile: c.ClientCertFile, ClientKeyFile: c.ClientKeyFile,
		TrustedCAFile: c.TrustedCAFile, ClientCertAuth: c.ClientCertAuth, CRLFile: c.CRLFile,
		AllowedCNs: c.AllowedCNs, AllowedHostnames: c.AllowedHostnames,
		CipherSuites: ciphers, MinVersion: oldest, MaxVersion: newest,
	}, nil
}

// DialTLS returns what gives the configuration of one handshake with the https or unixs URL of
// another member; the files are read anew for each. own is the result of PeerTLS: what was made
// for this member is shown to others, who do not check it, as it does not check theirs. The
// function is safe for concurrent use; who dials sets ServerName.
func DialTLS(
	c *config.Config, own *TLS, fs vfs.FS, log *slog.Logger,
) (func() (*tls.Config, error), error) {
	if own == nil { // others may have TLS, this member shows no certificate
		t, err := translate(c.PeerTLS)
		if err != nil {
			return nil, err
		}
		own = &t
	}
	shown := pair{own.ClientCertFile, own.ClientKeyFile}
	if shown == (pair{}) {
		shown = pair{own.CertFile, own.KeyFile}
	}
	k, err := keep(*own, shown, fs, log)
	if err != nil {
		return nil, err
	}
	return k.dialConfig, nil
}

// dialConfig is the configuration of one handshake of a dialling side.
func (k *keeper) dialConfig() (*tls.Config, error) {
	cert, roots := k.current()
	out := &tls.Config{
		MinVersion: k.base.MinVersion, MaxVersion: k.base.MaxVersion,
		CipherSuites: k.base.CipherSuites, RootCAs: roots, VerifyConnection: k.verify,
		InsecureSkipVerify: k.files.SelfSigned,
	}
	if cert != nil { // shown whatever authorities the other side names, as etcd does
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cert, nil
		}
	}
	return out, nil
}
