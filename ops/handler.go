package ops

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cairnkv/cairn/clock"
)

// Options of the handlers.
type Options struct {
	Backend        Backend
	Metrics        *Metrics
	Log            *slog.Logger
	Clock          clock.Clock
	RequestTimeout time.Duration // bounds the read of /health
	CommandLine    []string      // for /debug/vars
	Pprof          bool          // serve profiles
	HostWhitelist  []string      // host names of requests without TLS; none or "*" is all
	CORS           []string      // origins; none or "*" is all
}

// ClientHandler serves everything, behind the checks of host and origin. routes are further
// patterns (as of http.ServeMux) with their handlers: the gateway, other APIs.
func ClientHandler(o Options, routes map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	o.addHealth(mux)
	mux.Handle("/metrics", o.Metrics.handler())
	mux.HandleFunc("/version", o.version)
	mux.HandleFunc("/debug/vars", o.vars)
	if o.Pprof {
		addPprof(mux)
	}
	for pattern, h := range routes {
		mux.Handle(pattern, h)
	}
	return &accessControl{next: mux, log: o.Log, hosts: o.HostWhitelist, origins: o.CORS}
}

// MetricsHandler serves /metrics and the health endpoints alone, to anyone.
func MetricsHandler(o Options) http.Handler {
	mux := http.NewServeMux()
	o.addHealth(mux)
	mux.Handle("/metrics", o.Metrics.handler())
	return mux
}

// accessControl guards against DNS rebinding and answers browsers that ask about origins.
type accessControl struct {
	next    http.Handler
	log     *slog.Logger
	hosts   []string
	origins []string
}

// allows says whether a list names s; an empty one, or one with "*", names everything.
func allows(list []string, s string) bool {
	if len(list) == 0 || slices.Contains(list, "*") || slices.Equal(list, []string{""}) {
		return true
	}
	return slices.Contains(list, s)
}

func (a *accessControl) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v3beta/"); ok { // etcd 3.3 and 3.4
		r.URL.Path = "/v3/" + rest
	}
	if host := hostName(r); r.TLS == nil && !allows(a.hosts, host) {
		a.log.Warn("rejecting HTTP request to prevent DNS rebinding attacks",
			slog.String("host", host))
		http.Error(w, misdirected(host), http.StatusMisdirectedRequest)
		return
	}
	if allows(a.origins, "*") {
		addCORS(w, "*")
	} else if origin := r.Header.Get("Origin"); allows(a.origins, origin) {
		addCORS(w, origin)
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	a.next.ServeHTTP(w, r)
}

// hostName is the host of the request without its port.
func hostName(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

func addCORS(w http.ResponseWriter, origin string) {
	w.Header().Add("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
	w.Header().Add("Access-Control-Allow-Origin", origin)
	w.Header().Add("Access-Control-Allow-Headers", "accept, content-type, authorization")
}

// misdirected is etcd's text.
func misdirected(host string) string {
	return fmt.Sprintf(`
etcd received your request, but the Host header was unrecognized.

To fix this, choose one of the following options:
- Enable TLS, then any HTTPS request will be allowed.
- Add the hostname you want to use to the whitelist in settings.
  - e.g. etcd --host-whitelist %q

This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).
`, host)
}

// allowGet answers 405 to everything but GET.
func allowGet(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	w.Header().Set("Allow", http.MethodGet)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}
