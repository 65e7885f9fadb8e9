// Package simulate runs simulated clusters (package sim) from the command line: `cairn sim`.
//
//	cairn sim --seed 4711           one run, a line for each event
//	cairn sim --runs 2000           many, with new seeds, on all processors
//	cairn sim --forever             until it is stopped, with a line of progress
//	cairn sim --seed 4711 --shrink  a smaller run that fails alike, as a file for --options
//
// One simulation takes over the process's source of random bytes, so that simulations at once are
// processes: this program starts itself, and the children report each run as a line of JSON.
package simulate

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/sim"
)

// Config says how the program was called.
type Config struct {
	Name   string   // as the user types it: "cairn sim"
	Args   []string // behind it
	Stdout io.Writer
	Stderr io.Writer
}

// errFailed says that a simulation has found something; it was told already.
var errFailed = errors.New("not all is as promised")

// flags are what the user asks for.
type flags struct {
	seed      uint64
	runs      int
	forever   bool
	processes int
	quiet     bool
	shrink    bool
	tries     int
	options   string
	child     bool
	stride    uint64
	progress  time.Duration
	plant     string
	scenario  string
	picture   string
}

// Main runs the verb and returns the exit status: 0, 1 if a run has failed, 2 for a wrong call.
func Main(ctx context.Context, cfg Config) int {
	var f flags
	cmd := &cobra.Command{
		Use:     cfg.Name,
		Short:   "Simulates clusters from seeds, with faults, and checks what was promised",
		Example: examples(cfg.Name),
		Args:    cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), cfg, f)
		},
	}
	set := cmd.Flags()
	set.Uint64Var(&f.seed, "seed", 0, "the (first) seed; 0 is a new one")
	set.IntVar(&f.runs, "runs", 0, "how many seeds; 0 is one, with its events")
	set.BoolVar(&f.forever, "forever", false, "go on until stopped")
	set.IntVar(&f.processes, "processes", runtime.NumCPU(), "how many simulations at once")
	set.BoolVar(&f.quiet, "quiet", false, "do not print the events of a single run")
	set.BoolVar(&f.shrink, "shrink", false, "look for a smaller run that fails alike; print it")
	set.IntVar(&f.tries, "tries", 400, "of --shrink: how many runs at most")
	set.StringVar(&f.options, "options", "", "a file with a run's options, as --shrink prints them")
	set.DurationVar(&f.progress, "progress", 10*time.Second, "time between lines of progress")
	set.StringVar(&f.plant, "plant", "", "a bug to plant, or all, in a build with -tags mutate")
	set.StringVar(&f.scenario, "scenario", "", "the shape of a known bug: etcd-13766, ...")
	set.StringVar(&f.picture, "picture", "", "a file for a picture of a single run (HTML)")
	set.BoolVar(&f.child, "child", false, "report runs as JSON")
	set.Uint64Var(&f.stride, "stride", 1, "of --child: from seed to seed")
	for _, hidden := range []string{"child", "stride"} {
		if err := set.MarkHidden(hidden); err != nil {
			fmt.Fprintln(cfg.Stderr, err)
			return 2
		}
	}
	cmd.SetArgs(cfg.Args)
	cmd.SetOut(cfg.Stdout)
	cmd.SetErr(cfg.Stderr)
	switch err := cmd.ExecuteContext(ctx); {
	case err == nil:
		return 0
	case errors.Is(err, errFailed):
		return 1
	default:
		fmt.Fprintf(cfg.Stderr, "%s: %v\n", cfg.Name, err)
		return 2
	}
}

// examples shows a call for each way to use the verb.
func examples(name string) string {
	var b strings.Builder
	for _, e := range []struct{ flags, text string }{
		{"--seed 4711", "one cluster, a line for each event; equal seeds, equal runs"},
		{"--seed 4711 --quiet --picture FILE", "a picture of it, for a browser"},
		{"--runs 2000", "new seeds, on all processors"},
		{"--forever", "until it is stopped, with a line of progress"},
		{"--seed 4711 --shrink", "look for a smaller run that fails alike"},
		{"--options FILE", "run what --shrink has printed"},
		{"--scenario etcd-20418 --runs 50", "the shape of a known bug"},
	} {
		fmt.Fprintf(&b, "  %s %-35s # %s\n", name, e.flags, e.text)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func run(ctx context.Context, cfg Config, f flags) error {
	if f.seed == 0 {
		var b [4]byte
		if _, err := crand.Read(b[:]); err != nil {
			return err
		}
		f.seed = uint64(binary.LittleEndian.Uint32(b[:]))
	}
	if f.plant != "" && f.plant != allBugs {
		bug, ok := mutate.Named(f.plant)
		if !ok || !mutate.Possible {
			return fmt.Errorf("--plant=%s: no such bug, or not a build with -tags mutate", f.plant)
		}
		mutate.Plant(bug)
	}
	if _, err := f.draw(f.seed); err != nil {
		return err
	}
	switch {
	case f.plant == allBugs:
		return plantAll(cfg, f)
	case f.child:
		return child(ctx, cfg, f)
	case f.runs > 0 || f.forever:
		return many(ctx, cfg, f)
	}
	return single(cfg, f)
}

// draw makes the options of a seed.
func (f flags) draw(seed uint64) (sim.Options, error) {
	o := sim.Draw(seed)
	if f.scenario == "" {
		return o, nil
	}
	var names []string
	for _, s := range sim.Scenarios() {
		names = append(names, s.Name)
		if s.Name == f.scenario {
			o.Scenario = s.Name
			s.Shape(&o)
			return o, nil
		}
	}
	return o, fmt.Errorf("--scenario=%s: there is none of that name; there are %s", f.scenario,
		strings.Join(names, ", "))
}

// single runs one simulation, and shrinks it if that is wanted.
func single(cfg Config, f flags) error {
	o, err := f.draw(f.seed)
	if err != nil {
		return err
	}
	if f.options != "" {
		b, err := os.ReadFile(f.options)
		if err != nil {
			return err
		}
		o = sim.Options{}
		if err := json.Unmarshal(b, &o); err != nil {
			return fmt.Errorf("%s: %w", f.options, err)
		}
	}
	fmt.Fprintln(cfg.Stdout, o)
	log := cfg.Stdout
	if f.quiet || f.shrink {
		log = nil
	}
	r := sim.Run(o, log)
	fmt.Fprintf(cfg.Stdout, "%d events, hash %016x\n%v\n", r.Lines, r.Trace, &r.Stats)
	failed := r.Failure != nil
	if failed {
		fmt.Fprintln(cfg.Stdout, "FAILED", r.Failure)
	} else {
		fmt.Fprintln(cfg.Stdout, "all is as promised")
	}
	if failed && f.shrink {
		r = sim.Shrink(r, f.tries, func(r *sim.Result) {
			fmt.Fprintln(cfg.Stderr, "smaller:", r.Options)
		})
		b, err := json.MarshalIndent(r.Options, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(cfg.Stdout, "%s\n", b)
	}
	if err := f.save(cfg, r.Options); err != nil {
		return err
	}
	if failed {
		return errFailed
	}
	return nil
}

// save draws a run into the file that was asked for. The run is made once more for that: equal
// options, equal runs.
func (f flags) save(cfg Config, o sim.Options) error {
	if f.picture == "" {
		return nil
	}
	r, film := sim.RunFilmed(o, nil)
	var page bytes.Buffer
	if err := draw(&page, r, film); err != nil {
		return err
	}
	if err := os.WriteFile(f.picture, page.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Fprintln(cfg.Stdout, "a picture of the run is in", f.picture)
	return nil
}
