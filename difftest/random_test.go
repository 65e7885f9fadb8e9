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
