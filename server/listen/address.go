package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
)

// resolver finds names and addresses of hosts; *net.Resolver is one.
type resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// checkAddress demands, where TLS.CheckAddress is on, that the certificate of who connects names
// the address from which it does. Clients of a socket file have no address.
func (g *Group) checkAddress(b *bound, conn *tls.Conn) error {
	certs := conn.ConnectionState().PeerCertificates
	if !g.opts.TLS.CheckAddress || b.network != "tcp" || len(certs) == 0 {
		return nil
	}
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(g.ctx, handshakeTimeout)
	defer cancel()
	return checkSAN(ctx, g.opts.names, certs[0], host)
}

// checkSAN is etcd's check (client/pkg/transport, checkCertSAN): host must be one of the addresses
// of the certificate, or one that its names stand for. A certificate without either may come from
// anywhere.
func checkSAN(ctx context.Context, names resolver, cert *x509.Certificate, host string) error {
	if len(cert.IPAddresses) > 0 {
		err := cert.VerifyHostname(host)
		if err == nil {
			return nil
		}
		if len(cert.DNSNames) == 0 {
			return err
		}
	}
	if len(cert.DNSNames) == 0 {
		return nil
	}
	ok, err := namesHost(ctx, names, cert.DNSNames, host)
	if ok {
		return nil
	}
	reason := ""
	if err != nil {
		reason = " (" + err.Error() + ")"
	}
	return fmt.Errorf("tls: %q does not match any of DNSNames %q%s", host, cert.DNSNames, reason)
}

// namesHost says whether one of the names, which may begin with "*.", stands for an address: by its
// reverse lookup, or by the lookup of the names.
func namesHost(ctx context.Context, names resolver, list []string, host string) (bool, error) {
	found, last := names.LookupAddr(ctx, host)
	for _, name := range found {
		name = strings.TrimSuffix(name, ".")
		for _, n := range list {
			if suffix, wild := strings.CutPrefix(n, "*"); n == name ||
				wild && strings.HasPrefix(suffix, ".") && strings.HasSuffix(name, suffix) {
				return true, nil
			}
		}
	}
	for _, n := range list {
		if strings.HasPrefix(n, "*.") {
			continue
		}
		addrs, err := names.LookupHost(ctx, n)
		if err != nil {
			last = err
		} else if slices.Contains(addrs, host) {
			return true, nil
		}
	}
	return false, last
}
