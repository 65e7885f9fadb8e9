package difftest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// clusterSeeds is how many seeds TestClusterRandom runs.
	clusterSeeds = 2

	// restlessRuns is how often a script is run whose leader changes unasked.
	restlessRuns = 3
)

// TestRandom is the heart of this module: random operations on both sides, equal answers.
func TestRandom(t *testing.T) {
	t.Parallel()
	pair := chosen(t)
	for i, left := uint64(0), *flagOps; left > 0; i++ {
		seed, n := *flagSeed+i, min(left, *flagPerOps)
		left -= n
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			t.Logf("seed %d, %d operations; once more: go test -run Random -seed %d -ops %d "+
				"-ops-per-seed %d", seed, n, seed, n, n)
			runScript(t, pair, Generate(seed, n), fmt.Sprintf("seed%d", seed))
		})
	}
}

// TestClusterRandom sends random operations to random members of two clusters of three.
func TestClusterRandom(t *testing.T) {
	t.Parallel()
	pair := chosen(t)
	for i := range uint64(clusterSeeds) {
		seed := *flagSeed + i
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			t.Logf("seed %d, %d operations; once more: go test -run ClusterRandom/seed=%d "+
				"-seed %d -cluster-ops %d", seed, *flagCluster, seed, seed, *flagCluster)
			script := GenerateCluster(seed, *flagCluster)
			runScript(t, pair, script, fmt.Sprintf("cluster-seed%d", seed))
		})
	}
}

// TestReplay runs the script of -replay, or all in testdata/scripts.
func TestReplay(t *testing.T) {
	t.Parallel()
	paths := []string{*flagReplay}
	if *flagReplay == "" {
		var err error
		if paths, err = filepath.Glob("testdata/scripts/*.txt"); err != nil || len(paths) == 0 {
			t.Fatalf("no scripts found: %v", err)
		}
	}
	pair := chosen(t)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			script, err := ReadScript(file)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			runScript(t, pair, script, name)
		})
	}
}

// runScript runs a script; one that fails is cut down, printed and written to a file.
func runScript(t *testing.T, pair *Pair, script *Script, name string) {
	t.Helper()
	dir := t.TempDir()
	begin := time.Now()
	stats, err := Run(t.Context(), pair, script, filepath.Join(dir, "run"))
	for n := 1; n < restlessRuns && restless(err); n++ {
		t.Logf("once more, because a leader changed unasked: %v", err)
		stats, err = Run(t.Context(), pair, script, filepath.Join(dir, fmt.Sprintf("run%d", n)))
	}
	t.Logf("%s: %d operations (%d refused, alike), %d watch events (%d responses were fragments), "+
		"%d restarts in %v", name, stats.Ops, stats.Failed, stats.Events, stats.Fragments,
		stats.Restarts,
		time.Since(begin).Round(time.Millisecond))
	var d *Difference
	if !errors.As(err, &d) {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the two sides differ: %v", err)
	save(t, script, name+"-full")
	if *flagShrink {
		script, d = Shrink(t.Context(), pair, script, d, dir, t.Logf)
		t.Errorf("shrunk to %d operations: %v", len(script.Ops), d)
		save(t, script, name)
	}
}

// restless reports whether a run failed in which a leader changed without being asked to.
func restless(err error) bool {
	var d *Difference
	return errors.As(err, &d) && d.Restless
}

// save writes a failing script to a file and prints how to run it again.
func save(t *testing.T, script *Script, name string) {
	t.Helper()
	dir := *flagFails
	if dir == "" {
		dir = os.TempDir()
	}
	path, err := filepath.Abs(filepath.Join(dir, "difftest-"+name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := script.WriteTo(file); err != nil {
		t.Fatal(err)
	}
	t.Logf("once more: go test -run Replay -replay %s", path)
	if len(script.Ops) <= 40 {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("script:\n%s", text)
	}
}
