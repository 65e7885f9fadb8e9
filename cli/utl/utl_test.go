package utl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnkv/cairn/vfs"
)

var update = flag.Bool("update", false, "rewrite testdata")

// fakeDir is a DataDir that takes down what it is asked for.
type fakeDir struct {
	restored *RestoreConfig
	pairs    int // in the key bucket of the snapshot restored
	hashed   []any
	err      error
}

func (d *fakeDir) Restore(_ context.Context, cfg RestoreConfig) error {
	d.restored = &cfg
	err := cfg.Snapshot.ForEach("key", func(k, v []byte) error {
		d.pairs++
		return nil
	})
	return errors.Join(err, d.err)
}

func (d *fakeDir) HashKV(_ context.Context, dir string, rev int64, wait time.Duration) (
	HashKV, error) {
	d.hashed = []any{dir, rev, wait}
	return HashKV{Hash: 1, Revision: 2, CompactRevision: 3}, d.err
}

// runUtl runs one command.
func runUtl(dir DataDir, name string, args ...string) (exit int, stdout, stderr string) {
	var out, errs strings.Builder
	exit = Main(context.Background(), Config{
		Name: name, Args: args, Stdout: &out, Stderr: &errs, FS: vfs.OS(), DataDir: dir,
	})
	return exit, out.String(), errs.String()
}

// sample is a snapshot taken from etcd 3.7.3.
const sample = "testdata/etcd-3.7.3.snap"

func TestRestore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	d := &fakeDir{}
	exit, stdout, stderr := runUtl(d, "etcdutl", "snapshot", "restore", sample,
		"--data-dir", dir, "--wal-dir", dir+"-wal", "--name", "b",
		"--initial-cluster", "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,b=http://10.0.0.3:2380",
		"--initial-advertise-peer-urls", "http://10.0.0.3:2380,http://10.0.0.2:2380",
		"--initial-cluster-token", "tok", "--bump-revision", "1000", "--mark-compacted")
	if exit != 0 || stdout != "" {
		t.Fatalf("exit %d, stdout %q, stderr %s", exit, stdout, stderr)
	}
	got := *d.restored
	if got.DataDir != dir || got.WALDir != dir+"-wal" || got.Name != "b" ||
		strings.Join(got.PeerURLs, " ") != "http://10.0.0.2:2380 http://10.0.0.3:2380" ||
		len(got.InitialCluster) != 2 || got.InitialCluster["a"][0] != "http://10.0.0.1:2380" ||
		got.InitialClusterToken != "tok" || got.RevisionBump != 1000 {
		t.Errorf("restored %+v", got)
	}
	if d.pairs != samplePairs {
		t.Errorf("saw %d records, want %d", d.pairs, samplePairs)
	}
}

func TestRestoreDefaults(t *testing.T) {
	for name, want := range map[string]string{
		"etcdutl": "default.etcd", "cairn utl": "default.cairn",
	} {
		d := &fakeDir{}
		if exit, _, stderr := runUtl(d, name, "snapshot", "restore", sample); exit != 0 {
			t.Fatalf("%s: exit %d, %s", name, exit, stderr)
		}
		got := *d.restored
		if got.DataDir != want || got.WALDir != "" || got.Name != "default" ||
			got.InitialClusterToken != "etcd-cluster" || got.RevisionBump != 0 ||
			got.InitialCluster["default"][0] != "http://localhost:2380" {
			t.Errorf("%s: restored %+v", name, got)
		}
	}
}

// TestRestoreRefuses: what is refused before anything is written. The texts are etcdutl's.
func TestRestoreRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args string
		exit int
		text string
	}{
		{"", 128, "snapshot restore requires exactly one argument"},
		{"a b", 128, "snapshot restore requires exactly one argument"},
		{"S --bump-revision 5", 128, "--mark-compacted required if --revision-bump > 0"},
		{"S --mark-compacted", 128, "--mark-compacted required if --revision-bump > 0"},
		{"S --bump-revision 9223372036854775807 --mark-compacted", 1, "is too large"},
		{"/nonexistent", 1, "open /nonexistent: no such file or directory"},
		{"S --data-dir " + full, 1, `data-dir "` + full + `" not empty or could not be read`},
		{"S --wal-dir " + full, 1, `wal-dir "` + full + `" exists`},
		{"S --name b", 1,
			`couldn't find local name "b" in the initial cluster configuration`},
		{"S --initial-cluster default=bogus", 1, "URL scheme must be http, https, unix, or unixs"},
		{"S --initial-advertise-peer-urls bogus", 1, "URL scheme must be http"},
		{"S --initial-cluster default=http://localhost:2380,b=http://localhost:2380", 1,
			"initial cluster b=http://localhost:2380,default=http://localhost:2380 " +
				"has duplicate url"},
		{"S --initial-cluster default=http://localhost:2381", 1,
			"--initial-cluster has default=http://localhost:2381 but missing from " +
				"--initial-advertise-peer-urls=http://localhost:2380 " +
				`(resolved urls: "http://localhost:2380" != "http://localhost:2381")`},
		{"S --initial-cluster default=http://127.0.0.1:2380,default=http://127.0.0.1:2381", 1,
			"--initial-cluster has default=http://127.0.0.1:2380,default=http://127.0.0.1:2381 " +
				"but missing from --initial-advertise-peer-urls=http://localhost:2380 " +
				`(len(["http://localhost:2380"]) != ` +
				`len(["http://127.0.0.1:2380" "http://127.0.0.1:2381"]))`},
		{"S --initial-advertise-peer-urls http://localhost:2380,http://localhost:2381", 1,
			"--initial-advertise-peer-urls has http://localhost:2381 but missing from " +
				"--initial-cluster=default=http://localhost:2380,default=http://localhost:2381"},
	} {
		d := &fakeDir{}
		args := strings.Fields("snapshot restore " + strings.Replace(tc.args, "S", sample, 1))
		exit, _, stderr := runUtl(d, "etcdutl", args...)
		if exit != tc.exit || !strings.Contains(stderr, tc.text) || d.restored != nil {
			t.Errorf("%s: exit %d, restored %v, stderr %s", tc.args, exit, d.restored, stderr)
		}
	}
}

// TestRestoreChecksTheHash: a file without its hash, or with another, is restored only if the user
// says so; a damaged one is not even then.
func TestRestoreChecksTheHash(t *testing.T) {
	whole, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	db := whole[:len(whole)-sha256.Size]
	otherHash := append(bytes.Clone(db), make([]byte, sha256.Size)...)
	cut := whole[:len(db)/2/512*512]
	for _, tc := range []struct {
		name    string
		content []byte
		skip    bool
		text    string
	}{
		{"whole", whole, false, ""},
		{"whole, skipped", whole, true, ""},
		{"no hash", db, false, "snapshot missing hash but --skip-hash-check=false"},
		{"no hash, skipped", db, true, ""},
		{"other hash", otherHash, false, "expected sha256 [0 0 0"},
		{"other hash, skipped", otherHash, true, ""},
		{"cut, skipped", cut, true, "it is cut short"},
	} {
		path := filepath.Join(t.TempDir(), "snap")
		if err := os.WriteFile(path, tc.content, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"snapshot", "restore", path}
		if tc.skip {
			args = append(args, "--skip-hash-check")
		}
		d := &fakeDir{}
		exit, _, stderr := runUtl(d, "etcdutl", args...)
		if ok := tc.text == ""; ok != (exit == 0) || ok != (d.pairs == samplePairs) ||
			!strings.Contains(stderr, tc.text) {
			t.Errorf("%s: exit %d, %d records, %s", tc.name, exit, d.pairs, stderr)
		}
	}
}

func TestRestorePassesErrorsOn(t *testing.T) {
	d := &fakeDir{err: errors.New("no space left")}
	exit, _, stderr := runUtl(d, "etcdutl", "snapshot", "restore", sample)
	if exit != 1 || !strings.Contains(stderr, "Error: no space left") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	exit, _, stderr = runUtl(&fakeDir{}, "etcdutl", "snapshot", "restore", sample,
		"--initial-memory-map-size", "5")
	if exit != 0 || !strings.Contains(stderr, "--initial-memory-map-size has no effect") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}

func TestHashKVOfDirectory(t *testing.T) {
	d := &fakeDir{}
	dir := t.TempDir()
	exit, stdout, stderr := runUtl(d, "etcdutl", "hashkv", dir, "--rev", "7", "--timeout", "3s")
	if exit != 0 || stdout != "1, 2, 3\n" || d.hashed[0] != dir || d.hashed[1] != int64(7) ||
		d.hashed[2] != 3*time.Second {
		t.Errorf("exit %d, %q, %s, asked for %v", exit, stdout, stderr, d.hashed)
	}
}

func TestEtcdsDataDirIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "member", "snap", "db")
	if err := os.WriteFile(db, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"hashkv", dir}, {"defrag", "--data-dir", dir}} {
		exit, _, stderr := runUtl(&fakeDir{}, "etcdutl", args...)
		if exit != 1 || !strings.Contains(stderr, "is a data directory of etcd") ||
			!strings.Contains(stderr, db) {
			t.Errorf("%q: exit %d, %s", args, exit, stderr)
		}
	}
}

func TestDefrag(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		exit int
		text string
	}{
		{[]string{"--data-dir", dir}, 0, "needs no defragmentation"},
		{[]string{"--data-dir", file}, 1, "is not a directory"},
		{[]string{"--data-dir", "/nonexistent"}, 1,
			"Error: Failed to defragment etcd data[/nonexistent] (stat /nonexistent: "},
		{nil, 1, `Error: required flag(s) "data-dir" not set`},
	} {
		args := append([]string{"defrag"}, tc.args...)
		exit, stdout, stderr := runUtl(&fakeDir{}, "etcdutl", args...)
		if exit != tc.exit || stdout != "" || !strings.Contains(stderr, tc.text) {
			t.Errorf("%q: exit %d, %q, %s", tc.args, exit, stdout, stderr)
		}
	}
}

// TestHelp compares the help of every verb with testdata/help.golden.
func TestHelp(t *testing.T) {
	var b strings.Builder
	cfg := Config{
		Name: "cairn utl", Stdout: &b, Stderr: &b, FS: vfs.OS(), DataDir: &fakeDir{},
	}
	var visit func(cmd *cobra.Command, path []string)
	visit = func(cmd *cobra.Command, path []string) {
		b.WriteString("$ cairn utl " + strings.Join(append(path, "--help"), " ") + "\n")
		c := cfg
		c.Args = append(path, "--help")
		if exit := Main(context.Background(), c); exit != 0 {
			t.Errorf("%q: exit %d", c.Args, exit)
		}
		b.WriteString("\n")
		if cmd.Runnable() && !cmd.HasExample() {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			visit(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	visit(New(cfg), nil)
	const path = "testdata/help.golden"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("help differs from %s (rewrite it by -update):\n%s", path, got)
	}
}
