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

// Shrink cuts a failing script down: it removes operations, then parts of their requests, as long
// as the two sides still disagree about an operation of the same kind, each time on fresh servers
// under dir. It returns the shortest script found and how that one fails.
func Shrink(ctx context.Context, pair *Pair, script *Script, found *Difference, dir string,
	logf func(string, ...any)) (*Script, *Difference) {
	s := &shrinker{
		pair: pair, dir: dir, kind: found.Op.Kind, config: script.Config,
		deadline: time.Now().Add(shrinkTime), partial: found.Index < len(script.Ops),
	}
	s.ops, s.best = slices.Clone(script.Ops[:min(found.Index+1, len(script.Ops))]), found
	for again := true; again && !s.exhausted(ctx); {
		s.removeOps(ctx)
		again = s.simplify(ctx)
		logf("shrinking: %d operations left after %d runs", len(s.ops), s.runs)
	}
	return &Script{Config: s.config, Ops: s.ops}, s.best
}

// removeOps removes ever smaller stretches of operations until no single one can go.
func (s *shrinker) removeOps(ctx context.Context) {
	for size := max(1, len(s.ops)/2); ; size = max(1, size/2) {
		removed := false
		for from := 0; from < len(s.ops); {
			to := min(from+size, len(s.ops))
			if s.try(ctx, slices.Concat(s.ops[:from], s.ops[to:])) {
				removed = true
			} else {
				from = to
			}
			if s.exhausted(ctx) {
				return
			}
		}
		if size == 1 && !removed {
			return
		}
	}
}

// simplify removes parts of requests, one at a time, and reports whether any could go.
func (s *shrinker) simplify(ctx context.Context) (simplified bool) {
	for i := 0; i < len(s.ops); i++ {
		for k := 0; i < len(s.ops); {
			request, ok := cut(s.ops[i].Request, k)
			if !ok {
				break
			}
			ops := slices.Clone(s.ops)
			ops[i].Request = request
			if s.try(ctx, ops) {
				simplified = true
			} else {
				k++
			}
			if s.exhausted(ctx) {
				return simplified
			}
		}
	}
	return simplified
}

// shrinker runs candidates.
type shrinker struct {
	pair     *Pair
	dir      string
	kind     string // of the operation that must still fail
	config   Config
	partial  bool // the checks at the end are not needed
	ops      []Op // the shortest that fail so far
	best     *Difference
	runs     int
	deadline time.Time
}

// exhausted reports whether the search must end.
func (s *shrinker) exhausted(ctx context.Context) bool {
	return s.runs >= shrinkRuns || time.Now().After(s.deadline) || ctx.Err() != nil
}

// try runs the operations and keeps them if they show a difference of the kind that is looked for.
func (s *shrinker) try(ctx context.Context, ops []Op) bool {
	s.runs++
	dir := filepath.Join(s.dir, fmt.Sprintf("shrink%d", s.runs))
	defer os.RemoveAll(dir)
	_, err := Run(ctx, s.pair, &Script{Config: s.config, Ops: ops, Partial: s.partial}, dir)
	var d *Difference
	if !errors.As(err, &d) || d.Op.Kind != s.kind {
		return false
	}
	s.ops, s.best = ops[:min(d.Index+1, len(ops))], d
	return true
}
