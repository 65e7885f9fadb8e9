package config

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cairnkv/cairn/vfs"
)

// withFile returns a file system that holds conf.yml.
func withFile(t *testing.T, text string) vfs.FS {
	t.Helper()
	fs := vfs.NewMem()
	f, err := fs.Create("conf.yml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestSampleFile(t *testing.T) {
	text, err := os.ReadFile("testdata/etcd.conf.yml")
	if err != nil {
		t.Fatal(err)
	}
	fs := withFile(t, string(text))
	args := []string{"--config-file=conf.yml", "--name=ignored", "--unsafe-no-fsync"}
	c, ws, err := parseOn(fs, "etcd", args, []string{"ETCD_NAME=x", "ETCD_SNAPSHOT_COUNT=1"})
	if err != nil {
		t.Fatal(err)
	}
	period, _ := c.Retention()
	if c.Name != "infra0" || c.DataDir != "/var/lib/etcd" || c.WALDir != "" ||
		c.SnapshotCount != 5000 || c.ElectionTicks() != 10 || c.Quota() != 8<<30 ||
		c.UnsafeNoFsync || !c.EnablePprof || !c.ReusePort || period != time.Hour ||
		c.KeepAliveInterval != time.Hour || c.ProgressInterval() != 5*time.Minute ||
		c.InitialClusterToken != "etcd-cluster-1" || c.Log.Level != "debug" {
		t.Errorf("%+v", c)
	}
	tls := c.ClientTLS
	if tls.CertFile != "server.crt" || tls.TrustedCAFile != "ca.crt" || !tls.ClientCertAuth ||
		len(tls.CipherSuites) != 2 ||
		!slices.Equal(tls.AllowedHostnames, []string{"a.example.com", "b.example.com"}) {
		t.Errorf("%+v", tls)
	}
	want := TLS{CertFile: "peer.crt", KeyFile: "peer.key", ClientCertFile: "dial.crt",
		ClientKeyFile: "dial.key", TrustedCAFile: "peer-ca.crt", ClientCertAuth: true,
		AllowedCNs: []string{"infra0", "infra1"}, SkipClientSAN: true,
		CipherSuites: tls.CipherSuites, MinVersion: "TLS1.2"}
	if !reflect.DeepEqual(c.PeerTLS, want) || c.SelfSignedYears != 1 || c.StrictReconfig {
		t.Errorf("%+v, want %+v", c.PeerTLS, want)
	}
	got := strings.Join(messages(ws), "\n")
	for _, want := range []string{
		"WARN ignoring peer auto TLS since certs given",
		"WARN --max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
		"WARN scheme is HTTP while key and cert files are present; ignoring key and cert files " +
			"peer-url=http://127.0.0.1:2380",
		"WARN unknown key in the configuration file has no effect key=hearbeat " +
			"nearest=heartbeat-interval",
		"INFO loaded server configuration, other configuration command line flags and " +
			"environment variables will be ignored if provided path=conf.yml",
		"WARN feature gate is accepted and has no effect yet name=PriorityRequest",
	} {
		if strings.Count(got, want) != 1 {
			t.Errorf("want once %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "ETCD_NAME") {
		t.Errorf("the environment counts although there is a file:\n%s", got)
	}
}

// TestFileAlone: flags beside a file are read for their syntax and then forgotten, and the
// advertised URLs keep their default although the listening ones are set, as in etcd.
func TestFileAlone(t *testing.T) {
	fs := withFile(t, "listen-client-urls: http://127.0.0.1:7")
	args := []string{"--config-file=conf.yml", "--memory-mlock", "--max-txn-ops=1"}
	c, ws, err := parseOn(fs, "etcd", args, nil)
	if err != nil || c.MaxTxnOps != 128 ||
		c.AdvertiseClientURLs.String() != "http://localhost:2379" {
		t.Errorf("%+v, %v", c, err)
	}
	if got := strings.Join(messages(ws), "\n"); strings.Contains(got, "memory-mlock") {
		t.Errorf("warnings: %s", got)
	}
	if _, _, err := parseOn(fs, "etcd", append(args, "--nonsense"), nil); err == nil {
		t.Error("an unknown flag beside a file")
	}
}

func TestFileForms(t *testing.T) {
	for name, text := range map[string]string{
		"json":  `{"name": "j", "warning-apply-duration": 200000000}`,
		"yaml":  "name: j\nwarning-apply-duration: 200ms\n",
		"alias": "base: &b j\nname: *b\nwarning-apply-duration: 200ms\n",
	} {
		c, _, err := parseOn(withFile(t, text), "etcd", nil, []string{"ETCD_CONFIG_FILE=conf.yml"})
		if err != nil || c.Name != "j" || c.WarningApply != 200*time.Millisecond ||
			c.AdvertiseClientURLs.String() != "http://localhost:2379" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	c, _, err := parseOn(withFile(t, ""), "etcd", []string{"--config-file=conf.yml"}, nil)
	if err != nil || c.Name != DefaultName {
		t.Errorf("an empty file: %v", err)
	}
}

// TestManyUnknownKeys: a file that is none of ours is not repeated in the log.
func TestManyUnknownKeys(t *testing.T) {
	var text strings.Builder
	for i := range 20000 {
		text.WriteString("key" + strconv.Itoa(i) + ": 1\n")
	}
	args := []string{"--config-file=conf.yml"}
	_, ws, err := parseOn(withFile(t, text.String()), "etcd", args, nil)
	if err != nil || len(ws) > maxUnknownKeys+5 {
		t.Errorf("%d warnings, %v", len(ws), err)
	}
}

func TestBadFiles(t *testing.T) {
	for text, want := range map[string]string{
		"name: [":                    "not YAML or JSON",
		"- name":                     "line 1: want keys and values",
		"\nheartbeat-interval: 1s":   `line 2: heartbeat-interval: invalid value "1s": parse error`,
		"warning-apply-duration: 5x": `"5x" is no duration`,
		"name: &x [*x]":              "want a list of values, not of lists",
		"x: &x " + strings.Repeat("x", 1000) + "\n" +
			"name: [" + strings.Repeat("*x,", 2000) + "]": "the list has more than 1048576 bytes",
		"name: {a: b}": "want a value or a list, not keys",
		"listen-client-urls: 127.0.0.1:2379": `listen-client-urls: invalid value ` +
			`"127.0.0.1:2379"`,
		"initial-cluster-state: old":               `invalid value "old"`,
		"client-transport-security: yes":           "want keys and values",
		"heartbeat-interval: 500":                  "should be at least as 5 times",
		strings.Repeat("# much\n", maxFileBytes/4): "more than the 1048576 that",
	} {
		_, _, err := parseOn(withFile(t, text), "etcd", []string{"--config-file=conf.yml"}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
		if exit := (*Exit)(nil); errors.As(err, &exit) {
			t.Errorf("%.40q ends with code %d", text, exit.Code)
		}
	}
}
