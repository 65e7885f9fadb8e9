package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Limits of what one run can be asked for.
const (
	MaxConns   = 10_000
	MaxClients = 1 << 20
)

// Options say what a run does. The zero value of a field is its default, where there is one.
type Options struct {
	// Load is what is sent: Put{...}, Range{...}.
	Load Load

	// Endpoints are what connections are made to, in turn: "host:port", "http://host:port",
	// "https://host:port" or "unix://path". At least one.
	Endpoints []string
	// TLS is for https endpoints; nil trusts what the system trusts. Its NextProtos are replaced.
	TLS *tls.Config
	// User and Password are exchanged for a token that every call carries; no User: none.
	User, Password string
	// DialTimeout bounds making one connection, TLS and HTTP/2 settings included. Default: 5 s.
	DialTimeout time.Duration

	// Conns is how many connections there are, Clients how many clients share them. A client has
	// at most one operation outstanding. Default: 1. Clients that are fewer than connections leave
	// some of these unused.
	Conns, Clients int

	// Total is how many operations are measured; Duration, if not 0, for how long operations are
	// measured instead. Warmup is for how long they are made before, and not measured.
	Total            int64
	Duration, Warmup time.Duration
	// Rate is how many operations are begun in a second at most, of all clients together; 0: as
	// many as there can be. With it, latency counts from when an operation was due, so that it
	// tells what a user sees who does not wait for others.
	Rate float64

	// ServerPIDs are processes of this machine whose processor time is measured (Linux).
	ServerPIDs []int
	// Seed makes keys and choices; 0: one is taken by chance. Result tells it.
	Seed uint64
	// Progress, if not nil, is called several times a second from one goroutine: how many
	// operations are done of how many. With a Duration it is how many milliseconds.
	Progress func(done, total int64)
}

const (
	// DefaultDialTimeout bounds making a connection if nothing else is said.
	DefaultDialTimeout = 5 * time.Second
	// DefaultTotal is how many operations are measured if nothing else is said.
	DefaultTotal = 10_000
)

// complete checks the options and fills in defaults.
func (o *Options) complete() error {
	if o.Load == nil {
		return errors.New("no load was chosen")
	}
	if len(o.Endpoints) == 0 {
		return errors.New("no endpoint was given")
	}
	for _, e := range o.Endpoints {
		if _, err := parseEndpoint(e); err != nil {
			return err
		}
	}
	o.Conns, o.Clients = max(o.Conns, 1), max(o.Clients, 1)
	if o.Conns > MaxConns || o.Clients > MaxClients {
		return fmt.Errorf("%d connections and %d clients: %d and %d are possible", o.Conns,
			o.Clients, MaxConns, MaxClients)
	}
	if o.Total < 0 || o.Duration < 0 || o.Warmup < 0 || o.Rate < 0 {
		return errors.New("total, duration, warm-up and rate must not be negative")
	}
	if o.Duration == 0 && o.Total == 0 {
		o.Total = DefaultTotal
	}
	if o.Duration > 0 {
		o.Total = 0
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = DefaultDialTimeout
	}
	return nil
}

// endpoint is where a connection goes.
type endpoint struct {
	network, address string
	authority        string
	tls              bool
}

// parseEndpoint takes what etcdctl takes.
func parseEndpoint(s string) (endpoint, error) {
	e := endpoint{network: "tcp"}
	rest, plain := strings.CutPrefix(s, "http://")
	if !plain {
		rest, e.tls = strings.CutPrefix(s, "https://")
	}
	if path, unix := strings.CutPrefix(s, "unix://"); unix {
		return endpoint{network: "unix", address: path, authority: "localhost"}, nil
	}
	if strings.Contains(rest, "://") {
		return e, fmt.Errorf("endpoint %q: http, https and unix are possible", s)
	}
	if u, err := url.Parse("http://" + rest); err != nil || u.Path != "" && u.Path != "/" ||
		u.Host == "" {
		return e, fmt.Errorf("endpoint %q is no host and port", s)
	}
	rest = strings.TrimSuffix(rest, "/")
	host, port, err := net.SplitHostPort(rest)
	if err != nil || port == "" {
		return e, fmt.Errorf("endpoint %q is no host and port", s)
	}
	e.address, e.authority = rest, rest
	if host == "" {
		e.authority = "localhost:" + port
	}
	return e, nil
}
