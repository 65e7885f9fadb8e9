package listen

import (
	"crypto/tls"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// TestClientCertificates: none, a good one, a revoked one, one of another authority, one without an
// allowed name.
func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	files := ca.server()
	files.TrustedCAFile = ca.path("ca.pem")
	files.CRLFile = ca.path("crl.der")
	ca.issue("good", "good.example.com")
	bad := ca.issue("revoked", "good.example.com")
	ca.issue("named", "else.example.com")
	ca.revoke()
	files.AllowedHostnames = []string{"other.example.com", "good.example.com"}
	o := options("https://127.0.0.1:0")
	o.TLS = files
	r := start(t, o)
	if err := check(t, r.addr(0), ca.client("revoked")); err != nil {
		t.Errorf("before it is revoked: %v", err)
	}
	ca.revoke(bad) // read for each connection
	foreign := ca.client("")
	other.issue("foreign", "good.example.com")
	foreign.Certificates = other.client("foreign").Certificates
	for _, c := range []struct {
		name string
		conf *tls.Config
		log  string // "" is let in
	}{
		{"good", ca.client("good"), ""},
		{"revoked", ca.client("revoked"), "transport: certificate serial"},
		{"named", ca.client("named"), "client certificate authentication failed"},
		{"none", ca.client(""), "tls: client didn't provide a certificate"},
		{"foreign", foreign, "x509: certificate signed by unknown authority"},
	} {
		err := check(t, r.addr(0), c.conf)
		_, httpErr := get(t, "tcp", r.addr(0), c.conf, true)
		if ok := c.log == ""; (err == nil) != ok || (httpErr == nil) != ok {
			t.Errorf("%s: %v, %v", c.name, err, httpErr)
		}
		if got := r.log.String(); !strings.Contains(got, c.log) || c.log != "" &&
			!strings.Contains(got, "rejected connection on client endpoint") {
			t.Errorf("%s: log %s", c.name, got)
		}
	}
}

// TestReload: a new certificate and new authorities count from the next handshake on; files that
// are broken meanwhile change nothing.
func TestReload(t *testing.T) {
	ca := newAuthority(t)
	files := ca.server()
	files.TrustedCAFile = ca.path("ca.pem")
	ca.issue("client")
	o := options("https://127.0.0.1:0")
	o.TLS = files
	r := start(t, o)
	serial := func(conf *tls.Config) string {
		t.Helper()
		conf.NextProtos = []string{"h2"}
		conn, err := tls.Dial("tcp", r.addr(0), conf)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial(ca.client("client"))
	want := ca.issue("server", "localhost").String()
	if got := serial(ca.client("client")); got != want || got == first {
		t.Errorf("serial %s after %s, want %s", got, first, want)
	}
	ca.write("server.crt", []byte("broken"))
	if got := serial(ca.client("client")); got != want {
		t.Errorf("serial %s with a broken file, want %s", got, want)
	}
	if got := r.log.String(); !strings.Contains(got, "failed to create peer certificate") {
		t.Errorf("log: %s", got)
	}
	other := newAuthority(t)
	other.issue("client")
	text, err := os.ReadFile(other.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca.issue("server", "localhost")
	ca.write("ca.pem", append(text, text...)) // another size: the stamp changes for sure
	conf := ca.client("")
	conf.Certificates = other.client("client").Certificates
	if err := check(t, r.addr(0), conf); err != nil {
		t.Errorf("of the new authority: %v", err)
	}
	if err := check(t, r.addr(0), ca.client("client")); err == nil {
		t.Error("the old authority still counts")
	}
}

func TestVersionsAndCiphers(t *testing.T) {
	ca := newAuthority(t)
	files := ca.server()
	files.MaxVersion = tls.VersionTLS12
	files.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
	o := options("https://127.0.0.1:0")
	o.TLS = files
	r := start(t, o)
	if err := check(t, r.addr(0), ca.client("")); err != nil {
		t.Error(err)
	}
	conf := ca.client("")
	conn, err := tls.Dial("tcp", r.addr(0), conf)
	if err != nil {
		t.Fatal(err)
	}
	state := conn.ConnectionState()
	_ = conn.Close()
	if state.Version != tls.VersionTLS12 || state.CipherSuite != files.CipherSuites[0] {
		t.Errorf("%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	}
	conf.MinVersion = tls.VersionTLS13
	if err := check(t, r.addr(0), conf); err == nil {
		t.Error("TLS 1.3 above the limit")
	}
	files = ca.server()
	files.MinVersion = tls.VersionTLS13
	o.TLS = files
	r = start(t, o)
	conf = ca.client("")
	conf.MaxVersion = tls.VersionTLS12
	if err := check(t, r.addr(0), conf); err == nil {
		t.Error("TLS 1.2 below the limit")
	}
}

// TestBadFiles: what is wrong with the files is told at the start.
func TestBadFiles(t *testing.T) {
	ca := newAuthority(t)
	good := ca.server()
	ca.issue("else")
	ca.write("empty.pem", nil)
	for _, c := range []struct {
		change func(*TLS)
		want   string
	}{
		{func(f *TLS) { f.KeyFile = "" }, "KeyFile and CertFile must both be present"},
		{func(f *TLS) { f.CertFile = ca.path("nowhere") }, "nowhere"},
		{func(f *TLS) { f.KeyFile = ca.path("else.key") }, "private key does not match"},
		{func(f *TLS) { f.TrustedCAFile = ca.path("empty.pem") }, "no certificate in it"},
		{func(f *TLS) { f.TrustedCAFile = ca.path("nowhere") }, "nowhere"},
		{func(f *TLS) { f.CRLFile = ca.path("empty.pem") }, "empty.pem"},
	} {
		files := *good
		c.change(&files)
		_, err := newKeeper(files, vfs.OS(), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", files, err, c.want)
		}
	}
}
