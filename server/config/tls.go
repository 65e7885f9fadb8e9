package config

import (
	"crypto/tls"
	"errors"
	"fmt"
)

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
			if (u.Scheme == "https" || u.Scheme == "unixs") && !t.Secure() {
				return fmt.Errorf("TLS key/cert (--cert-file, --key-file) must be provided for "+
					"client url %s with HTTPS scheme", u.String())
			}
		}
	}
	for _, u := range c.ListenMetricsURLs {
		if (u.Scheme == "https" || u.Scheme == "unixs") && !t.Secure() {
			return ErrMissingMetricsTLS
		}
	}
	if t.Secure() && (t.CertFile == "" || t.KeyFile == "") {
		return fmt.Errorf("KeyFile and CertFile must both be present[key: %v, cert: %v]",
			t.KeyFile, t.CertFile)
	}
	return nil
}
