package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"
)

// maxSelfSignedYears keeps the end of a certificate's validity within the years that one can hold.
const maxSelfSignedYears = 200

// ErrMissingMetricsTLS says that a metrics URL is https and no certificate was given.
var ErrMissingMetricsTLS = errors.New("client TLS key/cert (--cert-file, --key-file) must be " +
	"provided for metrics secure url")

// Versions returns the oldest and the newest TLS version; 0 is Go's choice.
func (t *TLS) Versions() (oldest, newest uint16, err error) {
	if oldest, err = tlsVersion(t.MinVersion); err != nil {
		return 0, 0, err
	}
	if newest, err = tlsVersion(t.MaxVersion); err != nil {
		return 0, 0, err
	}
	return oldest, newest, nil
}

func tlsVersion(s string) (uint16, error) {
	switch s {
	case "":
		return 0, nil
	case "TLS1.2":
		return tls.VersionTLS12, nil
	case "TLS1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("unexpected TLS version %q (must be one of: TLS1.2, TLS1.3)", s)
}

// CipherIDs returns the numbers of the cipher suites.
func (t *TLS) CipherIDs() ([]uint16, error) {
	known := map[string]uint16{
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	for _, c := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known[c.Name] = c.ID
	}
	var out []uint16
	for _, name := range t.CipherSuites {
		id, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("unexpected TLS cipher suite %q", name)
		}
		out = append(out, id)
	}
	return out, nil
}

func (t *TLS) validate() error {
	oldest, newest, err := t.Versions()
	if err != nil {
		return err
	}
	if newest != 0 && oldest > newest {
		return fmt.Errorf("min version (%s) is greater than max version (%s)",
			t.MinVersion, t.MaxVersion)
	}
	if oldest == tls.VersionTLS13 && len(t.CipherSuites) > 0 {
		return errors.New("cipher suites cannot be configured when only TLS1.3 is enabled")
	}
	_, err = t.CipherIDs()
	return err
}

// validateClientTLS demands a certificate where a URL needs one.
func (c *Config) validateClientTLS() error {
	t := &c.ClientTLS
	for _, urls := range []URLs{c.ListenClientURLs, c.ListenClientHTTPURLs} {
		for _, u := range urls {
			if secure(&u) && !t.Secure() {
				return fmt.Errorf("TLS key/cert (--cert-file, --key-file) must be provided for "+
					"client url %s with HTTPS scheme", u.String())
			}
		}
	}
	for _, u := range c.ListenMetricsURLs {
		if secure(&u) && !t.Secure() {
			return ErrMissingMetricsTLS
		}
	}
	return c.validateFiles(t)
}

// validatePeerTLS is the same for the URLs of peers.
func (c *Config) validatePeerTLS() error {
	for _, u := range c.ListenPeerURLs {
		if secure(&u) && !c.PeerTLS.Secure() {
			return fmt.Errorf("cannot listen on TLS for %s: KeyFile and CertFile are not "+
				"presented (--peer-cert-file, --peer-key-file)", u.Host+u.Path)
		}
	}
	return c.validateFiles(&c.PeerTLS)
}

// validateFiles checks what is given of a certificate, if one is used.
func (c *Config) validateFiles(t *TLS) error {
	switch {
	case !t.Secure():
		return nil
	case t.Auto && c.SelfSignedYears == 0:
		return errors.New("selfSignedCertValidity is invalid,it should be greater than 0 " +
			"(--self-signed-cert-validity)")
	case t.Auto && c.SelfSignedYears > maxSelfSignedYears:
		return fmt.Errorf("--self-signed-cert-validity must not be more than %d years",
			maxSelfSignedYears)
	case t.Auto:
		return nil
	case t.CertFile == "" || t.KeyFile == "":
		return fmt.Errorf("KeyFile and CertFile must both be present[key: %v, cert: %v]",
			t.KeyFile, t.CertFile)
	case (t.ClientCertFile == "") != (t.ClientKeyFile == ""):
		return fmt.Errorf("ClientKeyFile and ClientCertFile must both be present or both absent: "+
			"key: %v, cert: %v]", t.ClientKeyFile, t.ClientCertFile)
	case len(t.AllowedCNs) > 0 && len(t.AllowedHostnames) > 0:
		return fmt.Errorf("AllowedCNs and AllowedHostnames are mutually exclusive (cns=%q, "+
			"hostnames=%q)", t.AllowedCNs, t.AllowedHostnames)
	}
	return nil
}

func secure(u *url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// completeTLS derives the TLS of the peers, and drops what has no meaning beside what is given.
func (p *parser) completeTLS() {
	c := p.cfg
	c.PeerTLS.CipherSuites = c.ClientTLS.CipherSuites
	c.PeerTLS.MinVersion, c.PeerTLS.MaxVersion = c.ClientTLS.MinVersion, c.ClientTLS.MaxVersion
	for _, t := range []struct {
		name string
		*TLS
	}{{"client", &c.ClientTLS}, {"peer", &c.PeerTLS}} {
		if t.Auto && t.given() {
			p.warn(slog.LevelWarn, "ignoring "+t.name+" auto TLS since certs given")
			t.Auto = false
		}
	}
	if c.ConfigFile != "" && c.SelfSignedYears == 0 {
		c.SelfSignedYears = 1
	}
	for _, t := range []struct {
		name string
		d    *time.Duration
	}{{"raft-read-timeout", &c.RaftReadTimeout}, {"raft-write-timeout", &c.RaftWriteTimeout}} {
		if *t.d < minRaftTimeout {
			*t.d = minRaftTimeout
			p.warn(slog.LevelInfo, fmt.Sprintf("%s increased to minimum value: %v", t.name,
				minRaftTimeout))
		}
	}
	p.warnPlain()
}

// warnPlain tells of URLs without TLS although TLS was set up; the texts are etcd's.
func (p *parser) warnPlain() {
	t := &p.cfg.ClientTLS
	for _, u := range append(slices.Clone(p.cfg.ListenClientURLs), p.cfg.ListenClientHTTPURLs...) {
		if u.Scheme != "http" && u.Scheme != "unix" {
			continue
		}
		if t.Secure() {
			p.warn(slog.LevelWarn, "scheme is http or unix while key and cert files are present; "+
				"ignoring key and cert files", slog.String("client-url", u.String()))
		}
		if t.ClientCertAuth {
			p.warn(slog.LevelWarn, "scheme is http or unix while --client-cert-auth is enabled; "+
				"ignoring client cert auth for this URL", slog.String("client-url", u.String()))
		}
	}
	t = &p.cfg.PeerTLS
	for _, u := range p.cfg.ListenPeerURLs {
		if u.Scheme != "http" {
			continue
		}
		if t.Secure() {
			p.warn(slog.LevelWarn, "scheme is HTTP while key and cert files are present; "+
				"ignoring key and cert files", slog.String("peer-url", u.String()))
		}
		if t.ClientCertAuth {
			p.warn(slog.LevelWarn, "scheme is HTTP while --peer-client-cert-auth is enabled; "+
				"ignoring client cert auth for this URL", slog.String("peer-url", u.String()))
		}
	}
}
