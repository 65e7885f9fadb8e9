package simulate

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/cairnkv/cairn/sim"
)

// report is one run as a child tells it.
type report struct {
	Seed    uint64
	Shape   string `json:",omitempty"` // of one that failed
	Failure string `json:",omitempty"`
	Stats   sim.Stats
}

// maxReportBytes bounds a line of a child.
const maxReportBytes = 1 << 20

// child runs seeds and reports each.
func child(ctx context.Context, cfg Config, f flags) error {
	out := json.NewEncoder(cfg.Stdout)
	for i := 0; (f.forever || i < f.runs) && ctx.Err() == nil; i++ {
		o, err := f.draw(f.seed + uint64(i)*f.stride)
		if err != nil {
			return err
		}
		r := sim.Run(o, nil)
		line := report{Seed: r.Options.Seed, Stats: r.Stats}
		if r.Failure != nil {
			line.Shape, line.Failure = r.Options.String(), r.Failure.Error()
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// tally is what all children have told.
type tally struct {
	mu     sync.Mutex // guards what follows
	total  sim.Stats
	failed []report
}

// many lets children run seeds, and prints failures and progress.
func many(ctx context.Context, cfg Config, f flags) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	until := "until it is stopped"
	if !f.forever {
		until = fmt.Sprintf("to %d", f.seed+uint64(f.runs)-1)
	}
	fmt.Fprintf(cfg.Stdout, "seeds %d %s, %d at once\n", f.seed, until, f.processes)
	var all tally
	var children sync.WaitGroup
	failures := make(chan error, f.processes)
	for i := range f.processes {
		runs := (f.runs - i + f.processes - 1) / f.processes
		if runs <= 0 && !f.forever {
			continue
		}
		args := []string{"sim", "--child", "--seed", strconv.FormatUint(f.seed+uint64(i), 10),
			"--stride", strconv.Itoa(f.processes), "--runs", strconv.Itoa(runs),
			"--forever=" + strconv.FormatBool(f.forever), "--plant=" + f.plant,
			"--scenario=" + f.scenario}
		children.Go(func() {
			err := all.follow(cfg, f, exec.CommandContext(ctx, self, args...))
			if err != nil && ctx.Err() == nil {
				fmt.Fprintf(cfg.Stderr, "a simulation has ended: %v\n", err)
				failures <- err
			}
		})
	}
	done := make(chan struct{})
	go func() { children.Wait(); close(done) }()
	ticker := time.NewTicker(f.progress)
	defer ticker.Stop()
	for began := time.Now(); ; {
		select {
		case <-ticker.C:
			all.progress(cfg.Stdout, time.Since(began))
			continue
		case <-done:
		}
		return all.end(cfg.Stdout, time.Since(began), failures)
	}
}

// follow takes what a child reports, to its end.
func (t *tally) follow(cfg Config, f flags, cmd *exec.Cmd) error {
	cmd.Stderr = cfg.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxReportBytes)
	for lines.Scan() {
		var r report
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("a child says %.100q: %w", lines.Text(), err)
		}
		t.mu.Lock()
		t.total.Add(&r.Stats)
		if r.Failure != "" {
			t.failed = append(t.failed, r)
			fmt.Fprintf(cfg.Stdout, "FAILED %s\n  %s\n  again: %s %s\n", r.Shape, r.Failure,
				cfg.Name, f.again(r.Seed))
		}
		t.mu.Unlock()
	}
	return cmd.Wait()
}

// again are the flags that repeat a run.
func (f flags) again(seed uint64) string {
	s := fmt.Sprintf("--seed %d", seed)
	if f.scenario != "" {
		s += " --scenario " + f.scenario
	}
	return s
}

// progress is one line.
func (t *tally) progress(w io.Writer, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(w, "%v: %d runs, %v simulated, %d operations checked, %d faults, %d starts, %d "+
		"failed\n", took.Round(time.Second), t.total.Runs, t.total.Simulated.Round(time.Second),
		t.total.Checked, t.total.FaultCount, t.total.Starts, len(t.failed))
}

// end tells what came of all.
func (t *tally) end(w io.Writer, took time.Duration, failures <-chan error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(w, "%v\n%d failed, in %v\n", &t.total, len(t.failed), took.Round(time.Second))
	for _, r := range t.failed {
		fmt.Fprintf(w, "  seed %d: %.200s\n", r.Seed, r.Failure)
	}
	select {
	case err := <-failures:
		return err
	default:
	}
	if len(t.failed) > 0 {
		return errFailed
	}
	return nil
}
