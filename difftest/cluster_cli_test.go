package difftest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// startCluster starts a cluster of three that ends with the test. Before that, prepare is called
// for each member, unless it is nil.
func startCluster(t *testing.T, name string, prepare func(*Server)) *Cluster {
	t.Helper()
	c, err := NewCluster(program(t, name), filepath.Join(t.TempDir(), "cluster"), 0,
		Config{Members: clusterMembers, DefaultTiming: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if prepare != nil {
		for _, s := range c.Sides[:clusterMembers] {
			prepare(s.Server)
		}
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestClusterCLI runs the scripts in testdata/cli3 as TestCLI does those in testdata/cli, against
// clusters of three.
func TestClusterCLI(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/cli3/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts found: %v", err)
	}
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		commands, err := ParseCommands(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var want []Outcome
		t.Run("reference", func(t *testing.T) {
			want = runOnCluster(t, *flagRef, []string{program(t, Etcdctl)}, commands)
		})
		for name, face := range faces(t) {
			if name == "cairn as etcdctl" {
				continue // the same program as "cairn ctl", which TestCLI shows
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				compareOutputs(t, commands, want, runOnCluster(t, *flagSut, face, commands))
			})
		}
	}
}

// runOnCluster runs the commands with the program face against a fresh cluster of three, whose
// member 1 leads, and returns what each printed, masked.
func runOnCluster(t *testing.T, server string, face []string, commands []Command) []Outcome {
	t.Helper()
	c := startCluster(t, server, nil)
	shell := &Shell{Program: face, Vars: map[string]string{
		"dir": t.TempDir(), "cluster": fmt.Sprintf("%016x", c.Side(1).clusterID),
	}}
	for i, s := range c.Sides {
		n := i + 1
		shell.Vars[fmt.Sprintf("endpoint%d", n)] = s.Server.Endpoint()
		shell.Vars[fmt.Sprintf("client%d", n)] = s.Server.ClientURL()
		shell.Vars[fmt.Sprintf("peer%d", n)] = s.Server.PeerURL()
		if s.running() {
			shell.Vars[fmt.Sprintf("member%d", n)] = fmt.Sprintf("%016x", s.memberID)
		}
	}
	shell.Vars["endpoint"] = c.Side(1).Server.Endpoint()
	ageCluster(t, c)
	var outcomes []Outcome
	lead := 1
	for _, cmd := range commands {
		if err := c.CatchUp(t.Context(), lead); err != nil {
			t.Fatal(err)
		}
		o, err := shell.Run(t.Context(), cmd)
		if err != nil {
			t.Fatalf("%s: %v", cmd.Text, err)
		}
		outcomes = append(outcomes, Outcome{
			Stdout: sorted(cmd, shell.Mask(cmd, o.Stdout)),
			Stderr: shell.Mask(cmd, Complaint(o.Stderr)), End: o.End,
		})
		if rest, ok := strings.CutPrefix(cmd.Text, "move-leader $member"); ok && o.End == success {
			lead = int(rest[0] - '0')
		}
	}
	return outcomes
}

// success is how a command ends that has nothing to complain about.
const success = "exit status 0"

// ageCluster waits until the membership may be changed and the versions are settled.
func ageCluster(t *testing.T, c *Cluster) {
	t.Helper()
	timer := time.NewTimer(healthyAge)
	defer timer.Stop()
	for _, s := range c.Running() {
		if err := s.awaitVersions(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-timer.C
}

// sorted orders what a command prints in an order that differs from run to run: members by ids, of
// which later ones are random, and endpoints by who answers first.
func sorted(c Command, out string) string {
	lines := strings.SplitAfter(out, "\n")
	switch {
	case slices.Contains(c.Args, "health"), slices.Contains(c.Args, "list") &&
		!strings.Contains(c.Text, "-w="):
		slices.Sort(lines)
	}
	for i, line := range lines {
		if list, ok := strings.CutPrefix(line, `ETCD_INITIAL_CLUSTER="`); ok {
			members := strings.Split(strings.TrimSuffix(list, "\"\n"), ",")
			slices.Sort(members)
			lines[i] = fmt.Sprintf("ETCD_INITIAL_CLUSTER=%q\n", strings.Join(members, ","))
		}
	}
	return strings.Join(lines, "")
}

// TestClusterRestore restores snapshots of both kinds into clusters of three of both kinds, each
// with its own tool, and compares all that can be seen at each member.
func TestClusterRestore(t *testing.T) {
	t.Parallel()
	for _, from := range []string{*flagRef, *flagSut} {
		path := filepath.Join(t.TempDir(), "snapshot.db")
		want := snapshotOf(t, from, path)
		for _, to := range []string{*flagRef, *flagSut} {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				restored := startCluster(t, to, func(s *Server) {
					args := append(utl(t, to), "snapshot", "restore", path,
						"--data-dir="+s.DataDir(), "--name="+s.Name(),
						"--initial-cluster="+s.Initial,
						"--initial-advertise-peer-urls="+s.PeerURL())
					out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).
						CombinedOutput()
					if err != nil {
						t.Fatalf("%v: %v\n%s", args, err, out)
					}
				})
				for _, s := range restored.Running() {
					if d := diffLines("the data of "+s.Server.Name(), want, dump(t, s)); d != "" {
						t.Error(d)
					}
				}
			})
		}
	}
}
