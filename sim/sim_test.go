package sim

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	seedFlag = flag.Uint64("seed", 0, "the first seed of TestSeeds; 0: a new one")
	runsFlag = flag.Int("runs", 15, "how many seeds TestSeeds takes")
	logFlag  = flag.Bool("log", false, "print the event log")
)

// TestSeeds runs new seeds. A failure tells how to see it again.
func TestSeeds(t *testing.T) {
	first := *seedFlag
	if first == 0 {
		first = uint64(rand.Uint32()) << 8
	}
	t.Logf("seeds %d to %d", first, first+uint64(*runsFlag)-1)
	var total Stats
	for i := range *runsFlag {
		var r *Result
		if o := Draw(first + uint64(i)); *logFlag {
			r = Run(o, os.Stdout)
		} else {
			r = Run(o, nil)
		}
		total.Add(&r.Stats)
		if r.Failure != nil {
			t.Errorf("%v\n%v\nagain: cairn sim --seed %d", r.Options, r.Failure, r.Options.Seed)
		}
	}
	t.Log(&total)
}

// TestReplay runs seeds twice: every event must be the same, and other seeds give other events.
func TestReplay(t *testing.T) {
	seen := map[uint64]uint64{}
	for seed := uint64(1); seed <= 6; seed++ {
		o := Draw(seed)
		o.Duration = min(o.Duration, 8*time.Second)
		one := Run(o, nil)
		two, _ := RunFilmed(o, nil) // to look changes nothing
		if one.Trace != two.Trace || one.Lines != two.Lines {
			t.Errorf("seed %d: %d events with hash %x, then %d with %x", seed, one.Lines,
				one.Trace, two.Lines, two.Trace)
		}
		if other, ok := seen[one.Trace]; ok {
			t.Errorf("seeds %d and %d give the same run", seed, other)
		}
		seen[one.Trace] = seed
	}
}

// TestScenarios runs each shape with new seeds.
func TestScenarios(t *testing.T) {
	const each = 1
	first := *seedFlag
	if first == 0 {
		first = uint64(rand.Uint32()) << 8
	}
	for _, sc := range Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			for i := range uint64(each) {
				o := Draw(first + i)
				sc.Shape(&o)
				if r := Run(o, nil); r.Failure != nil {
					t.Errorf("%v\n%v\nagain: cairn sim --scenario %s --seed %d", r.Options,
						r.Failure, sc.Name, o.Seed)
				}
			}
		})
	}
}

// TestKept runs what has failed once.
func TestKept(t *testing.T) {
	files, err := filepath.Glob("testdata/kept/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no kept cases: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".json"), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var o Options
			if err := json.Unmarshal(b, &o); err != nil {
				t.Fatal(err)
			}
			if r := Run(o, nil); r.Failure != nil {
				t.Error(r.Failure)
			}
		})
	}
}
