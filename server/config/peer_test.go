package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPeerOptions: each option of peers lands in its field; the defaults are etcd's.
func TestPeerOptions(t *testing.T) {
	c := mustParse(t, "--peer-cert-file=c", "--peer-key-file=k", "--peer-client-cert-file=cc",
		"--peer-client-key-file=ck", "--peer-trusted-ca-file=ca", "--peer-client-cert-auth",
		"--peer-crl-file=crl", "--peer-cert-allowed-hostname=a,b",
		"--experimental-peer-skip-client-san-verification=true",
		"--tls-min-version=TLS1.3", "--tls-max-version=TLS1.3", "--self-signed-cert-validity=7",
		"--raft-read-timeout=7s", "--raft-write-timeout=8s", "--strict-reconfig-check=false",
		"--experimental-max-learners=3", "--listen-peer-urls=https://127.0.0.1:1")
	want := TLS{CertFile: "c", KeyFile: "k", ClientCertFile: "cc", ClientKeyFile: "ck",
		TrustedCAFile: "ca", ClientCertAuth: true, CRLFile: "crl",
		AllowedHostnames: []string{"a", "b"}, SkipClientSAN: true, MinVersion: "TLS1.3",
		MaxVersion: "TLS1.3"}
	if !reflect.DeepEqual(c.PeerTLS, want) {
		t.Errorf("%+v, want %+v", c.PeerTLS, want)
	}
	if c.SelfSignedYears != 7 || c.RaftReadTimeout != 7*time.Second || c.StrictReconfig ||
		c.RaftWriteTimeout != 8*time.Second || c.MaxLearners != 3 {
		t.Errorf("%+v", c)
	}
	c = mustParse(t)
	if c.SelfSignedYears != 1 || c.RaftReadTimeout != 5*time.Second || !c.StrictReconfig ||
		c.RaftWriteTimeout != 5*time.Second || c.MaxLearners != 1 || c.PeerTLS.Secure() {
		t.Errorf("defaults: %+v", c)
	}
	c = mustParse(t, "--cipher-suites=TLS_AES_128_GCM_SHA256", "--peer-cert-allowed-cn=x,y")
	if !slices.Equal(c.PeerTLS.CipherSuites, c.ClientTLS.CipherSuites) ||
		!slices.Equal(c.PeerTLS.AllowedCNs, []string{"x", "y"}) {
		t.Errorf("%+v", c.PeerTLS)
	}
}

// TestPeerRefusals: files that do not go together. What no certificate goes with is not looked at.
func TestPeerRefusals(t *testing.T) {
	const peer = "--peer-cert-file=c --peer-key-file=k "
	const both = "ClientKeyFile and ClientCertFile must both be present or both absent: key: , " +
		"cert: x]"
	for _, c := range []refusal{
		{"--peer-cert-file=c", 1, "KeyFile and CertFile must both be present[key: , cert: c]"},
		{"--peer-key-file=k", 1, "KeyFile and CertFile must both be present[key: k, cert: ]"},
		{"--listen-peer-urls=https://127.0.0.1:1", 1, "cannot listen on TLS for 127.0.0.1:1: " +
			"KeyFile and CertFile are not presented"},
		{peer + "--peer-client-cert-file=x", 1, both},
		{"--cert-file=c --key-file=k --client-cert-file=x", 1, both},
		{peer + "--peer-cert-allowed-cn=a --peer-cert-allowed-hostname=b,c", 1,
			`AllowedCNs and AllowedHostnames are mutually exclusive (cns=["a"], ` +
				`hostnames=["b" "c"])`},
		{"--peer-auto-tls --self-signed-cert-validity=0", 1,
			"selfSignedCertValidity is invalid,it should be greater than 0"},
		{"--auto-tls --self-signed-cert-validity=10000", 1, "must not be more than"},
		{"--self-signed-cert-validity=-1", 2, "parse error"},
		{"--raft-read-timeout=x", 2, "parse error"},
		{"--max-learners=x", 2, "parse error"},
	} {
		c.check(t)
	}
	mustParse(t, "--peer-client-cert-file=x", "--self-signed-cert-validity=0")
}

// TestPeerWarnings: what has no meaning beside other options, in etcd's words.
func TestPeerWarnings(t *testing.T) {
	c, ws, err := parse(t, "--data-dir=d", "--peer-auto-tls", "--auto-tls", "--cert-file=c",
		"--key-file=k", "--listen-client-urls=https://127.0.0.1:1",
		"--advertise-client-urls=https://127.0.0.1:1", "--peer-client-cert-auth",
		"--listen-peer-urls=http://127.0.0.1:2,https://127.0.0.1:3,unix://127.0.0.1:4",
		"--raft-read-timeout=1s", "--raft-write-timeout=0")
	want := []string{
		"WARN ignoring client auto TLS since certs given",
		"INFO raft-read-timeout increased to minimum value: 5s",
		"INFO raft-write-timeout increased to minimum value: 5s",
		"WARN scheme is HTTP while key and cert files are present; ignoring key and cert files " +
			"peer-url=http://127.0.0.1:2",
		"WARN scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth " +
			"for this URL peer-url=http://127.0.0.1:2",
	}
	if got := messages(ws); err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v, got\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if c.ClientTLS.Auto || !c.PeerTLS.Auto || c.RaftReadTimeout != 5*time.Second ||
		c.RaftWriteTimeout != 5*time.Second {
		t.Errorf("%+v", c)
	}
	c, _, err = parseOn(withFile(t, "self-signed-cert-validity: 0\npeer-transport-security:\n"+
		"  auto-tls: true\n"), "etcd", []string{"--config-file=conf.yml"}, nil)
	if err != nil || c.SelfSignedYears != 1 {
		t.Errorf("no validity in a file: %v", err)
	}
}

// TestMemberAddr: the address that connections to members come from.
func TestMemberAddr(t *testing.T) {
	const gate = "--feature-gates=SetMemberLocalAddr=true"
	for _, c := range []struct{ urls, want string }{
		{"http://127.0.0.1:1,http://0.0.0.0:1,http://[::1]:1", "<nil>"},
		{"http://example.com:1,http://10.1.2.3:1,http://10.1.2.4:1", "10.1.2.3"},
		{"http://[fd00::7]:1", "fd00::7"},
	} {
		urls := "--initial-advertise-peer-urls=" + c.urls
		if got := mustParse(t, gate, urls).MemberAddr().String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.urls, got, c.want)
		}
		if got := mustParse(t, urls).MemberAddr(); got != nil {
			t.Errorf("%s: %s although the gate is off", c.urls, got)
		}
	}
}
