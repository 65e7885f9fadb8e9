package config

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// checkParsed holds what Parse accepted against what the server relies on.
func checkParsed(t *testing.T, c *Config, err error) {
	t.Helper()
	if err != nil {
		if c != nil || err.Error() == "" {
			t.Fatalf("%v with an error %q", c, err)
		}
		return
	}
	if c.HeartbeatMs == 0 || c.ElectionTicks() < minHeartbeats || c.DataDir == "" || c.Name == "" ||
		c.BatchLimit() <= 0 || c.Quota() < 0 || len(c.Log.Outputs) == 0 ||
		c.RequestTimeout() <= 0 || c.SnapshotCount == 0 || c.MaxConcurrentStreams == 0 {
		t.Fatalf("accepted: %+v", c)
	}
	if len(c.ListenClientURLs) > 0 && len(c.AdvertiseClientURLs) == 0 {
		t.Fatalf("clients are not told where: %+v", c)
	}
}

// FuzzFlags: no command line makes Parse panic or accept what the server cannot run with.
func FuzzFlags(f *testing.F) {
	for _, o := range newTable().rows {
		f.Add("--"+o.name+"="+o.def, "ETCD_NAME=a")
		f.Add("-"+o.name+" "+o.example, o.env()+"=x")
	}
	f.Add("--heartbeat-interval=18446744073709551615", "ETCD_ELECTION_TIMEOUT=1")
	f.Fuzz(func(t *testing.T, args, env string) {
		c, _, err := parseOn(vfs.NewMem(), "etcd", strings.Fields(args), strings.Split(env, "\n"))
		checkParsed(t, c, err)
		if exit := (*Exit)(nil); errors.As(err, &exit) && exit.Code != 0 && exit.Stderr == "" {
			t.Fatalf("%q: code %d without a word", args, exit.Code)
		}
	})
}

// FuzzFile is the same for configuration files.
func FuzzFile(f *testing.F) {
	text, err := os.ReadFile("testdata/etcd.conf.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"name": "a", "listen-client-urls": ["http://127.0.0.1:1"]}`)
	f.Add("a: &x [*x]")
	f.Add("name: &x {<<: *x}")
	f.Fuzz(func(t *testing.T, text string) {
		fs := vfs.NewMem()
		file, err := fs.Create("c")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt([]byte(text), 0); err != nil {
			t.Fatal(err)
		}
		c, _, err := parseOn(fs, "etcd", []string{"--config-file=c"}, nil)
		checkParsed(t, c, err)
	})
}
