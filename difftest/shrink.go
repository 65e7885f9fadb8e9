package difftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// shrinkRuns and shrinkTime bound the search for a shorter script.
	shrinkRuns = 400
	shrinkTime = 4 * time.Minute
)

// Shrink cuts a failing script down: it removes ever smaller parts as long as the two sides still
// disagree about an operation of the same kind, each time on fresh servers under dir. It returns
// the shortest script found and how that one fails.
func Shrink(ctx context.Context, pair *Pair, script *Script, found *Difference, dir string,
	logf func(string, ...any)) (*Script, *Difference) {
	s := &shrinker{
		pair: pair, dir: dir, kind: found.Op.Kind, config: script.Config,
		deadline: time.Now().Add(shrinkTime),
	}
	ops := slices.Clone(script.Ops[:min(found.Index+1, len(script.Ops))])
	best := found
	for size := max(1, len(ops)/2); ; size = max(1, size/2) {
		removed := false
		for from := 0; from < len(ops); {
			to := min(from+size, len(ops))
			shorter := slices.Concat(ops[:from], ops[to:])
			if d := s.fails(ctx, shorter); d != nil {
				ops, best, removed = shorter, d, true
				ops = ops[:min(d.Index+1, len(ops))]
			} else {
				from = to
			}
			if s.exhausted(ctx) {
				logf("shrinking stopped after %d runs with %d operations left", s.runs, len(ops))
				return &Script{Config: s.config, Ops: ops}, best
			}
		}
		logf("shrinking: %d operations left after %d runs", len(ops), s.runs)
		if size == 1 && !removed {
			return &Script{Config: s.config, Ops: ops}, best
		}
	}
}

// shrinker runs candidates.
type shrinker struct {
	pair     *Pair
	dir      string
	kind     string // of the operation that must still fail
	config   Config
	runs     int
	deadline time.Time
}

// exhausted reports whether the search must end.
func (s *shrinker) exhausted(ctx context.Context) bool {
	return s.runs >= shrinkRuns || time.Now().After(s.deadline) || ctx.Err() != nil
}

// fails runs the operations and returns the difference if it is of the kind that is looked for.
func (s *shrinker) fails(ctx context.Context, ops []Op) *Difference {
	s.runs++
	dir := filepath.Join(s.dir, fmt.Sprintf("shrink%d", s.runs))
	defer os.RemoveAll(dir)
	_, err := Run(ctx, s.pair, &Script{Config: s.config, Ops: ops}, dir)
	var d *Difference
	if errors.As(err, &d) && d.Op.Kind == s.kind {
		return d
	}
	return nil
}
