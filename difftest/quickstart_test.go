package difftest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// quickStart marks the block of the README that TestQuickStart types.
const quickStart = "```sh quickstart\n"

// step is a command of the quick start and what the README says that it prints.
type step struct{ command, output string }

// readQuickStart returns the steps in the README of the parent module.
func readQuickStart(t *testing.T) []step {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), quickStart)
	block, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatalf("README.md has no block %q", quickStart)
	}
	var steps []step
	for line := range strings.Lines(block) {
		if comment, ok := strings.CutPrefix(line, "#"); ok && len(steps) > 0 {
			steps[len(steps)-1].output += strings.TrimPrefix(comment, " ")
		} else if strings.TrimSpace(line) != "" {
			steps = append(steps, step{command: strings.TrimSpace(line)})
		}
	}
	if len(steps) == 0 {
		t.Fatal("the quick start of README.md is empty")
	}
	return steps
}

// TestQuickStart types the README's quick start as a new user would, on a fresh server with real
// etcdctl, and with Cairn in etcdctl's place. Real etcd must print the same.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	steps := readQuickStart(t)
	runs := map[string][2]string{
		"etcdctl":              {*flagSut, program(t, Etcdctl)},
		"etcdctl on reference": {*flagRef, program(t, Etcdctl)},
	}
	if *flagSut == Cairn {
		link, err := tools.Link(t.Context(), Etcdctl)
		if err != nil {
			t.Fatal(err)
		}
		runs["cairn as etcdctl"] = [2]string{*flagSut, link}
	}
	for name, run := range runs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			typeQuickStart(t, steps, run[0], run[1])
		})
	}
}

// typeQuickStart runs the steps in a shell that finds the program under the name etcdctl.
func typeQuickStart(t *testing.T, steps []step, server, etcdctl string) {
	t.Helper()
	side := startSide(t, server, Config{DefaultTiming: true})
	bin, work := t.TempDir(), t.TempDir()
	if err := os.Symlink(etcdctl, filepath.Join(bin, "etcdctl")); err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if strings.Contains(s.output, "Server version") {
			if err := side.awaitVersions(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", s.command)
		cmd.Dir = work
		cmd.Env = append(environment(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
			"ETCDCTL_ENDPOINTS="+side.Server.Endpoint())
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v\n%s", s.command, err, stderrOf(err))
		}
		if string(out) != s.output {
			t.Errorf("%s\n--- README:\n%s+++ here:\n%s", s.command, s.output, out)
		}
	}
}
