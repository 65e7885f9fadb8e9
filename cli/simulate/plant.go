package simulate

import (
	"errors"
	"fmt"

	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/sim"
)

// allBugs is the value of --plant for one bug after the other.
const allBugs = "all"

// enoughRuns is after how many runs a planted bug counts as not found, unless --runs says.
const enoughRuns = 1000

// plantAll plants each bug in turn and prints how many runs it takes until one fails, as a table.
func plantAll(cfg Config, f flags) error {
	if !mutate.Possible {
		return errors.New("--plant needs a build with -tags mutate")
	}
	limit := f.runs
	if limit == 0 {
		limit = enoughRuns
	}
	fmt.Fprintln(cfg.Stdout, "| bug | what it does | runs | found by |")
	fmt.Fprintln(cfg.Stdout, "|---|---|---|---|")
	missed := 0
	for _, bug := range mutate.All() {
		mutate.Plant(bug)
		runs, found := 0, error(nil)
		for runs < limit && found == nil {
			found = sim.Run(sim.Draw(f.seed+uint64(runs)), nil).Failure
			runs++
		}
		text := "not found"
		if found != nil {
			const enough = 90
			text = oneLine(found.Error())
			text = text[:min(len(text), enough)]
		} else {
			missed++
		}
		fmt.Fprintf(cfg.Stdout, "| %v | %s | %d | %s |\n", bug, bug.Text(), runs, text)
	}
	mutate.Plant(mutate.None)
	if missed > 0 {
		return errFailed
	}
	return nil
}

// oneLine is a text for a table.
func oneLine(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == '\n' || c == '\t' || c == '|' {
			b[i] = ' '
		}
	}
	return string(b)
}
