package difftest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// TestCLI runs the scripts in testdata/cli with real etcdctl against the reference, then with real
// etcdctl and with Cairn's, under each of its names, against the other side.
func TestCLI(t *testing.T) {
	t.Parallel()
	for _, name := range []string{*flagRef, *flagSut, Etcdctl} {
		program(t, name)
	}
	scripts, err := filepath.Glob("testdata/cli/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts found: %v", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			commands, err := ParseCommands(bytes.NewReader(text))
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			etcdctl := []string{program(t, Etcdctl)}
			want := runCommands(t, *flagRef, etcdctl, commands)
			for name, face := range faces(t) {
				t.Run(name, func(t *testing.T) {
					compareOutputs(t, commands, want, runCommands(t, *flagSut, face, commands))
				})
			}
		})
	}
}

// faces returns the programs that take etcdctl's place: etcdctl itself and, when Cairn is tested,
// Cairn by both of its names.
func faces(t *testing.T) map[string][]string {
	t.Helper()
	f := map[string][]string{"etcdctl": {program(t, Etcdctl)}}
	if *flagSut == Cairn {
		link, err := tools.Link(t.Context(), Etcdctl)
		if err != nil {
			t.Fatal(err)
		}
		f["cairn ctl"] = []string{program(t, Cairn), "ctl"}
		f["cairn as etcdctl"] = []string{link}
	}
	return f
}

// runCommands runs the commands with the program face against a fresh server and returns what each
// printed, masked.
func runCommands(t *testing.T, server string, face []string, commands []Command) []Outcome {
	t.Helper()
	side := startSide(t, server, Config{})
	shell := newShell(t, side, face)
	var outcomes []Outcome
	for _, c := range commands {
		if slices.Contains(c.Args, "snapshot") {
			if err := side.awaitVersions(t.Context()); err != nil { // they are printed
				t.Fatal(err)
			}
		}
		o, err := shell.Run(t.Context(), c)
		if err != nil {
			t.Fatalf("%s: %v", c.Text, err)
		}
		if slices.Contains(c.Args, "-w=protobuf") && o.End == "exit status 0" {
			o.Stdout = decode(t, side, c, o.Stdout)
		}
		if c.Help {
			o = Outcome{End: o.End}
		}
		outcomes = append(outcomes, Outcome{
			Stdout: shell.Mask(c, o.Stdout), Stderr: shell.Mask(c, Complaint(o.Stderr)), End: o.End,
		})
	}
	return outcomes
}

// newShell returns a Shell for a running server.
func newShell(t *testing.T, side *Side, face []string) *Shell {
	t.Helper()
	dir := t.TempDir()
	return &Shell{Program: face, Vars: map[string]string{
		"endpoint": side.Server.Endpoint(), "client": side.Server.ClientURL(),
		"peer": side.Server.PeerURL(), "member": fmt.Sprintf("%016x", side.memberID),
		"cluster": fmt.Sprintf("%016x", side.clusterID), "dir": dir,
	}}
}

// startSide starts a server that ends with the test.
func startSide(t *testing.T, name string, cfg Config) *Side {
	t.Helper()
	server, err := NewServer(program(t, name), filepath.Join(t.TempDir(), "server"), cfg)
	if err != nil {
		t.Fatal(err)
	}
	side := &Side{Name: name, Server: server}
	t.Cleanup(side.Close)
	if err := side.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return side
}

// decode turns the output of -w=protobuf into text, in normal form.
func decode(t *testing.T, side *Side, c Command, out string) string {
	t.Helper()
	messages := map[string]proto.Message{
		"get": &pb.RangeResponse{}, "put": &pb.PutResponse{}, "del": &pb.DeleteRangeResponse{},
		"txn": &pb.TxnResponse{}, "list": &pb.MemberListResponse{},
	}
	for _, arg := range c.Args {
		m, ok := messages[arg]
		if !ok {
			continue
		}
		if err := proto.Unmarshal([]byte(out), m); err != nil {
			t.Errorf("%s: %v in %q", c.Text, err, out)
			return out
		}
		if err := side.normalize(m); err != nil {
			t.Errorf("%s: %v", c.Text, err)
		}
		return text(m)
	}
	t.Fatalf("%s: no message known", c.Text)
	return ""
}

// compareOutputs compares what commands printed and how they ended.
func compareOutputs(t *testing.T, commands []Command, want, got []Outcome) {
	t.Helper()
	for i, c := range commands {
		if want[i] != got[i] {
			t.Errorf("%s\n%s--- etcdctl with etcd: %s\n%s%s+++ here: %s\n%s%s", c.Text, c.Stdin,
				want[i].End, want[i].Stdout, want[i].Stderr, got[i].End, got[i].Stdout,
				got[i].Stderr)
		}
	}
}
