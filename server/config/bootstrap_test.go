package config

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/member"
	"github.com/google/go-cmp/cmp"
)

// TestIDs holds the ids of a one-member cluster against what a real etcd 3.7.3 had with the same
// flags.
func TestIDs(t *testing.T) {
	for _, c := range []struct {
		args         []string
		id, cluster  string
		wantPeerURLs string
	}{
		{[]string{"--initial-advertise-peer-urls", "http://127.0.0.1:23800",
			"--initial-cluster", "default=http://127.0.0.1:23800"},
			"2e1259d415f2a040", "48276a8f75b6a87", "http://127.0.0.1:23800"},
		{[]string{"--name", "m0", "--initial-cluster-token", "tok",
			"--initial-advertise-peer-urls", "http://127.0.0.1:24801,http://127.0.0.1:24800",
			"--initial-cluster", "m0=http://127.0.0.1:24801,m0=http://127.0.0.1:24800"},
			"2c18578d8a6733c5", fmt.Sprintf("%x", uint64(4937433204224091590)),
			"http://127.0.0.1:24800,http://127.0.0.1:24801"},
	} {
		cfg := mustParse(t, c.args...)
		if err := cfg.VerifyBootstrap(); err != nil {
			t.Error(err)
		}
		members, err := cfg.Members()
		if err != nil {
			t.Fatal(err)
		}
		urls := members[cfg.Name].Strings()
		id := member.ID(urls, cfg.InitialClusterToken)
		cluster := member.ClusterID([]uint64{id})
		got := []string{fmt.Sprintf("%x", id), fmt.Sprintf("%x", cluster), strings.Join(urls, ",")}
		if d := cmp.Diff([]string{c.id, c.cluster, c.wantPeerURLs}, got); d != "" {
			t.Error(d)
		}
	}
}

func TestVerifyBootstrap(t *testing.T) {
	hosts := func(_ context.Context, host string) ([]string, error) {
		if host == "one.example.com" {
			return []string{"10.0.0.2", "10.0.0.1"}, nil
		}
		return nil, errors.New("no such host")
	}
	for _, c := range []struct{ args, want string }{
		{"", ""},
		{"--name=a", ""},
		{"--initial-advertise-peer-urls=http://10.0.0.1:1 " +
			"--initial-cluster=default=http://one.example.com:1", ""},
		{"--initial-cluster=a=http://localhost:2380",
			`couldn't find local name "default" in the initial cluster configuration`},
		{"--initial-cluster=default=http://localhost:1", "--initial-cluster has " +
			"default=http://localhost:1 but missing from " +
			"--initial-advertise-peer-urls=http://localhost:2380 (resolved urls: " +
			`"http://localhost:2380" != "http://localhost:1")`},
		{"--initial-advertise-peer-urls=http://localhost:2380,http://localhost:1 " +
			"--initial-cluster=default=http://localhost:2380", "--initial-advertise-peer-urls " +
			"has http://localhost:1 but missing from " +
			"--initial-cluster=default=http://localhost:2380"},
		{"--initial-cluster=default=http://nowhere.example.com:1", "no such host"},
		{"--initial-cluster=default=ftp://a:1", "error setting up initial cluster: URL scheme"},
		{"--initial-cluster=default", "error setting up initial cluster: "},
		{"--initial-cluster=,", "initial cluster unset and no discovery endpoints found"},
		{"--initial-cluster=default=http://localhost:2380,b=http://localhost:2380",
			"has duplicate url"},
		{"--initial-cluster=default=http://localhost:2380,b=http://localhost:2", ""},
	} {
		cfg := mustParse(t, strings.Fields(c.args)...)
		err := cfg.verifyBootstrap(t.Context(), hosts)
		if c.want == "" && err != nil || c.want != "" && (err == nil ||
			!strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

func TestRetention(t *testing.T) {
	for _, c := range []struct{ mode, retention, want string }{
		{"periodic", "0", "0s 0"}, {"periodic", "5", "5h0m0s 0"},
		{"periodic", "5m", "5m0s 0"}, {"revision", "1000", "0s 1000"},
		{"revision", "9999999999", "0s 9999999999"}, {"periodic", "2562048", ""},
		{"revision", "0", "0s 0"}, {"periodic", "-5m", ""}, {"revision", "-1", ""},
	} {
		period, revisions, err := parseRetention(c.mode, c.retention)
		got := fmt.Sprint(period, " ", revisions)
		if c.want == "" && err == nil || c.want != "" && (err != nil || got != c.want) {
			t.Errorf("%v: %s, %v", c, got, err)
		}
		cfg := Config{AutoCompactionMode: c.mode, AutoCompactionRetention: c.retention}
		if p, r := cfg.Retention(); p != period || r != revisions {
			t.Errorf("%v: Retention is %v, %d", c, p, r)
		}
	}
}

func TestGates(t *testing.T) {
	var g Gates
	if g.Enabled("InitialCorruptCheck") || !g.Enabled("LeaseCheckpoint") || g.Enabled("Nope") {
		t.Error("defaults")
	}
	for _, s := range []string{"AllAlpha=true, PriorityRequest=false,", "AllBeta=0"} {
		if err := g.set(s); err != nil {
			t.Fatal(err)
		}
	}
	if !g.Enabled("CompactHashCheck") || g.Enabled("PriorityRequest") ||
		g.Enabled("FastLeaseKeepAlive") {
		t.Errorf("%s: %v", g, g.All())
	}
	if want := "AllAlpha=true,AllBeta=false,PriorityRequest=false"; g.String() != want {
		t.Errorf("%s, want %s", g, want)
	}
}

func TestFields(t *testing.T) {
	names := map[string]string{}
	for _, a := range mustParse(t).Fields(false) {
		names[a.Key] = a.Value.String()
	}
	for key, want := range map[string]string{"snapshot-catchup-entries": "5000",
		"heartbeat-interval": "100ms", "election-timeout": "1s", "etcd-version": "3.7.3",
		"quota-backend-bytes": "2147483648", "initial-cluster": "default=http://localhost:2380",
	} {
		if names[key] != want {
			t.Errorf("%s is %q, want %q", key, names[key], want)
		}
	}
}

func TestNearest(t *testing.T) {
	all := []string{"name", "listen-client-urls", "listen-peer-urls", "data-dir"}
	for in, want := range map[string]string{"nmae": "name", "listen-client-url": all[1],
		"listen": all[1], "datadir": "data-dir", "xyzzy": "", "a": ""} {
		if got := nearest(in, all); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
