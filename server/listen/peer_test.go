package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/transport"
	"github.com/cairnkv/cairn/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// soon polls until ok, or says that it was not within some seconds.
func soon(ok func() bool) bool {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// peerOptions are those of a peer endpoint with TLS.
func peerOptions(files *TLS) Options {
	o := options()
	o.Flag, o.Endpoint, o.TLS = "listen-peer-urls", "peer", files
	o.HTTPURLs = []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	return o
}

// TestPeerCertificates: whom the peer port lets in, by the names in the certificate and by the
// address that the connection comes from.
func TestPeerCertificates(t *testing.T) {
	ca := newAuthority(t)
	ca.issue("good", "localhost")
	ca.issueFor("elsewhere", []net.IP{net.IPv4(10, 1, 2, 3)}, nil)
	ca.issueFor("anywhere", nil, nil)
	ca.issueFor("named", nil, []string{"nowhere.invalid"})
	for _, c := range []struct {
		name   string
		change func(*TLS)
		log    string // "" is let in
	}{
		{"good", func(*TLS) {}, ""},
		{"anywhere", func(*TLS) {}, ""},
		{"elsewhere", func(*TLS) {}, "x509: certificate is valid for 10.1.2.3, not 127.0.0.1"},
		{"elsewhere", func(f *TLS) { f.CheckAddress = false }, ""},
		{"named", func(*TLS) {}, "does not match any of DNSNames"},
		{"good", func(f *TLS) { f.AllowedCNs = []string{"other", "good"} }, ""},
		{"anywhere", func(f *TLS) { f.AllowedCNs = []string{"other", "good"} },
			"client certificate authentication failed"},
	} {
		files := ca.server()
		files.TrustedCAFile, files.CheckAddress = ca.path("ca.pem"), true
		c.change(files)
		o := peerOptions(files)
		o.names = none{}
		r := start(t, o)
		_, err := get(t, "tcp", r.addr(0), ca.client(c.name), false)
		if (err == nil) != (c.log == "") {
			t.Errorf("%s: %v", c.name, err)
		}
		rejected := func() bool {
			got := r.log.String()
			return strings.Contains(got, c.log) &&
				strings.Contains(got, "rejected connection on peer endpoint")
		}
		if c.log != "" && !soon(rejected) { // the server logs when the client has its answer
			t.Errorf("%s: log %s", c.name, r.log.String())
		}
		got := r.log.String()
		if told := strings.Contains(got, "ip-addresses=[10.1.2.3]"); c.log != "" &&
			told != (c.name == "elsewhere") {
			t.Errorf("%s: the certificate's addresses: %s", c.name, got)
		}
	}
}

// none resolves nothing.
type none struct{}

func (none) LookupAddr(context.Context, string) ([]string, error) {
	return nil, errors.New("no such host")
}

func (none) LookupHost(context.Context, string) ([]string, error) {
	return nil, errors.New("no such host")
}

// zone is a resolver with a few names.
type zone struct{ addrs, names map[string][]string }

func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	if z.names[addr] == nil {
		return nil, errors.New("no pointer for " + addr)
	}
	return z.names[addr], nil
}

func (z zone) LookupHost(_ context.Context, host string) ([]string, error) {
	if z.addrs[host] == nil {
		return nil, errors.New("no address of " + host)
	}
	return z.addrs[host], nil
}

// TestAddresses: etcd's rules about the address and the names of a certificate.
func TestAddresses(t *testing.T) {
	z := zone{
		addrs: map[string][]string{"a.example.com": {"10.0.0.1", "10.0.0.2"},
			"*.example.com": {"10.0.0.8"}},
		names: map[string][]string{"10.0.0.3": {"c.example.com."}, "10.0.0.4": {"example.com."}},
	}
	ips := []net.IP{net.IPv4(10, 0, 0, 9)}
	for _, c := range []struct {
		host  string
		ips   []net.IP
		names []string
		want  string // "" is let in
	}{
		{"10.0.0.7", nil, nil, ""},
		{"10.0.0.9", ips, nil, ""},
		{"10.0.0.7", ips, nil, "certificate is valid for 10.0.0.9, not 10.0.0.7"},
		{"10.0.0.9", ips, []string{"a.example.com"}, ""},
		{"10.0.0.2", ips, []string{"a.example.com"}, ""},
		{"10.0.0.5", ips, []string{"a.example.com"}, `tls: "10.0.0.5" does not match any of ` +
			`DNSNames ["a.example.com"] (no pointer for 10.0.0.5)`},
		{"10.0.0.3", nil, []string{"c.example.com"}, ""},
		{"10.0.0.3", nil, []string{"x", "*.example.com"}, ""},
		{"10.0.0.4", nil, []string{"*.example.com"}, "does not match any"},
		{"10.0.0.3", nil, []string{"*.com.example"}, "does not match any"},
		{"10.0.0.8", nil, []string{"*.example.com"}, "(no pointer for 10.0.0.8)"},
		{"10.0.0.5", nil, []string{"b.example.com"}, "(no address of b.example.com)"},
	} {
		err := checkSAN(t.Context(), z, &x509.Certificate{IPAddresses: c.ips, DNSNames: c.names},
			c.host)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %v, %v: %v, want %q", c.host, c.ips, c.names, err, c.want)
		}
	}
}

// TestTranslate: what the flags say, and nothing if they name no certificate.
func TestTranslate(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	c := &config.Config{PeerTLS: config.TLS{MinVersion: "TLS1.2", TrustedCAFile: "ca"}}
	if got, err := PeerTLS(c, vfs.NewMem(), clock.Real(), log); got != nil || err != nil {
		t.Errorf("no certificate: %+v, %v", got, err)
	}
	c.PeerTLS = config.TLS{CertFile: "c", KeyFile: "k", ClientCertFile: "cc", ClientKeyFile: "ck",
		TrustedCAFile: "ca", ClientCertAuth: true, CRLFile: "crl", AllowedCNs: []string{"n"},
		AllowedHostnames: []string{"h"}, MinVersion: "TLS1.2", MaxVersion: "TLS1.3",
		CipherSuites: []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}}
	want := &TLS{CertFile: "c", KeyFile: "k", ClientCertFile: "cc", ClientKeyFile: "ck",
		TrustedCAFile: "ca", ClientCertAuth: true, CRLFile: "crl", AllowedCNs: []string{"n"},
		AllowedHostnames: []string{"h"}, CheckAddress: true,
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	got, err := PeerTLS(c, vfs.NewMem(), clock.Real(), log)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	c.ClientTLS, c.PeerTLS.SkipClientSAN, want.CheckAddress = c.PeerTLS, true, false
	for name, read := range map[string]func(*config.Config, vfs.FS, clock.Clock, *slog.Logger) (
		*TLS, error){"client": ClientTLS, "peer": PeerTLS} {
		if got, err := read(c, vfs.NewMem(), clock.Real(), log); err != nil ||
			!reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
	c.PeerTLS.CipherSuites = []string{"ROT13"}
	if _, err := PeerTLS(c, vfs.NewMem(), clock.Real(), log); err == nil {
		t.Error("an unknown cipher suite")
	}
}

// raftPeer is a transport behind a peer endpoint.
type raftPeer struct {
	*transport.Transport
	*running
	got chan uint64
}

// startPeer runs a member with these flags.
func startPeer(t *testing.T, fs vfs.FS, id uint64, flags config.TLS) *raftPeer {
	t.Helper()
	p := &raftPeer{got: make(chan uint64, 100)}
	log := &logBuffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	c := &config.Config{DataDir: t.TempDir(), PeerTLS: flags, SelfSignedYears: 1,
		ListenPeerURLs: config.URLs{{Scheme: "https", Host: "127.0.0.1:0"}}}
	files, err := PeerTLS(c, fs, clock.Real(), logger)
	if err != nil {
		t.Fatal(err)
	}
	dial, err := DialTLS(c, files, fs, logger)
	if err != nil {
		t.Fatal(err)
	}
	p.Transport = transport.New(transport.Options{Cluster: 1, Local: id, Version: "3.7.0",
		TLS: dial, Clock: clock.Real(), Log: logger,
		Deliver: func(_ uint64, messages []*raftpb.Message) { p.got <- messages[0].GetIndex() }})
	t.Cleanup(p.Transport.Close)
	o := peerOptions(files)
	o.FS, o.Log = fs, logger
	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	server := HTTPServer(p.Handler(), 100, logger)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(g.HTTP())
	}()
	g.Start()
	t.Cleanup(func() {
		if err := errors.Join(g.Close(), server.Close()); err != nil &&
			!errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		<-served
	})
	p.running = &running{g, log}
	return p
}

func (p *raftPeer) urls() []string { return []string{"https://" + p.addr(0)} }

// reaches says whether a message comes from p to q within the time.
func (p *raftPeer) reaches(
	t *testing.T, q *raftPeer, from, to, index uint64, within time.Duration,
) bool {
	t.Helper()
	p.SetPeers(map[uint64][]string{to: q.urls()})
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); <-ticker.C {
		p.Send([]*raftpb.Message{{From: &from, To: &to, Index: &index,
			Type: raftpb.MsgHeartbeat.Enum()}})
		select {
		case got := <-q.got:
			if got == index {
				return true
			}
		default:
		}
	}
	return false
}

// TestPeers: members that reach each other, and some that do not.
func TestPeers(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for _, a := range []*authority{ca, other} {
		a.issue("member", "localhost")
		a.issue("dial", "localhost")
		a.issueFor("elsewhere", []net.IP{net.IPv4(10, 1, 2, 3)}, nil)
	}
	with := func(a *authority, name string) config.TLS {
		return config.TLS{CertFile: a.path(name + ".crt"), KeyFile: a.path(name + ".key"),
			TrustedCAFile: a.path("ca.pem"), ClientCertAuth: true}
	}
	dialling := with(ca, "member")
	dialling.ClientCertFile, dialling.ClientKeyFile = ca.path("dial.crt"), ca.path("dial.key")
	dialOnly := with(ca, "member")
	dialOnly.AllowedCNs = []string{"dial"}
	memberOnly := with(ca, "member")
	memberOnly.AllowedCNs = []string{"member"}
	const long, short = 10 * time.Second, 500 * time.Millisecond
	for _, c := range []struct {
		name     string
		from, to config.TLS
		ok       bool
	}{
		{"one authority", with(ca, "member"), with(ca, "member"), true},
		{"another authority", with(other, "member"), with(ca, "member"), false},
		{"a server of another address", with(ca, "member"), with(ca, "elsewhere"), false},
		{"a client certificate of its own", dialling, dialOnly, true},
		{"not the one that is allowed", with(ca, "member"), dialOnly, false},
		{"the server's name is not allowed", memberOnly, with(ca, "dial"), false},
		{"made certificates", config.TLS{Auto: true}, config.TLS{Auto: true}, true},
		{"no certificate", config.TLS{TrustedCAFile: ca.path("ca.pem"), Auto: true,
			MinVersion: "TLS1.3"}, with(ca, "member"), false},
	} {
		within := short
		if c.ok {
			within = long
		}
		p, q := startPeer(t, vfs.OS(), 1, c.from), startPeer(t, vfs.OS(), 2, c.to)
		if got := p.reaches(t, q, 1, 2, 5, within); got != c.ok {
			t.Errorf("%s: reached %v\n%s\n%s", c.name, got, p.log, q.log)
		}
	}
}

// TestPeerReload: a member's new certificate and new authorities count from the next handshake on,
// on both sides.
func TestPeerReload(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	ca.issue("p")
	ca.issue("q")
	with := func(name string) config.TLS {
		return config.TLS{CertFile: ca.path(name + ".crt"), KeyFile: ca.path(name + ".key"),
			TrustedCAFile: ca.path("ca.pem")}
	}
	p, q := startPeer(t, vfs.OS(), 1, with("p")), startPeer(t, vfs.OS(), 2, with("q"))
	if !p.reaches(t, q, 1, 2, 5, 10*time.Second) {
		t.Fatalf("not reached:\n%s\n%s", p.log, q.log)
	}
	p.SetPeers(nil)
	ca.cert, ca.key = other.cert, other.key
	ca.issue("p")
	ca.issue("q")
	text, err := config.ReadFile(vfs.OS(), other.path("ca.pem"), maxPEMBytes)
	if err != nil {
		t.Fatal(err)
	}
	ca.write("ca.pem", append(text, text...)) // another size: the stamp changes for sure
	if !p.reaches(t, q, 1, 2, 6, 10*time.Second) {
		t.Fatalf("not reached with new files:\n%s\n%s", p.log, q.log)
	}
}
