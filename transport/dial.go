package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
)

// address is where a peer URL leads.
type address struct {
	network string // "tcp" or "unix"
	addr    string
	host    string // for the Host header and the TLS handshake
	secure  bool
}

// resolve takes a peer URL apart. A unix URL's host:port is the name of the socket file.
func resolve(peerURL string) (address, error) {
	u, err := url.Parse(peerURL)
	if err != nil {
		return address{}, err
	}
	a := address{network: "tcp", addr: u.Host, host: u.Hostname()}
	switch u.Scheme {
	case "http":
	case "https":
		a.secure = true
	case "unix", "unixs":
		a.network, a.addr, a.secure = "unix", u.Host+u.Path, u.Scheme == "unixs"
	default:
		return address{}, fmt.Errorf("peer URL %q: the scheme must be http, https, unix or unixs",
			peerURL)
	}
	if a.addr == "" {
		return address{}, fmt.Errorf("peer URL %q names no address", peerURL)
	}
	if a.host == "" {
		a.host = "localhost"
	}
	return a, nil
}

// dialSystem is the default of Options.Dial.
func (o Options) dialSystem(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if network == "tcp" {
		d.LocalAddr = o.LocalAddr
	}
	return d.DialContext(ctx, network, address)
}

// dial connects and does the TLS handshake; ctx bounds both.
func (t *Transport) dial(ctx context.Context, a address) (net.Conn, error) {
	if a.secure && t.opts.TLS == nil {
		return nil, fmt.Errorf("%s wants TLS, and no peer certificates are configured "+
			"(--peer-cert-file, --peer-trusted-ca-file)", a.addr)
	}
	conn, err := t.opts.Dial(ctx, a.network, a.addr)
	if err != nil || !a.secure {
		return conn, err
	}
	config, err := t.opts.TLS()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"} // HTTP/2 cannot be upgraded to a stream
	if config.ServerName == "" {
		config.ServerName = a.host
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, fmt.Errorf("TLS handshake with %s: %w", a.addr, err)
	}
	return secured, nil
}
