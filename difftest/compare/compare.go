package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cairnkv/cairn/difftest"
	"github.com/cairnkv/cairn/difftest/compare/report"
)

// options are what the flags say.
type options struct {
	quick  bool
	only   string
	rounds int
	out    string
	dir    string
	redraw string
}

// defaultOut is where a whole run writes to, from the directory of this module.
const defaultOut = "../docs"

const (
	keyBytes   = 32
	valueBytes = 256
)

// sizes are how much is done.
type sizes struct {
	seconds  int   // that a load is measured for
	warmup   int   // seconds before
	keys     int   // in a small store
	big      int   // in a large one
	watchers []int // of one key, at once
	events   int   // that are to come about, of each number of watchers
	maxPuts  int   // that lead to them
	rest     int   // seconds in which a server may tidy up before its memory is measured
	profile  int   // seconds of a profile
	pause    int   // seconds in which pauses are looked for
	count    int   // of entries between two checkpoints, when pauses are looked for
}

var (
	whole = sizes{seconds: 4, warmup: 1, keys: 100_000, big: 2_000_000,
		watchers: []int{100, 1000, 10_000}, events: 800_000, maxPuts: 1500, rest: 5,
		profile: 8, pause: 12, count: 2500}
	small = sizes{seconds: 1, warmup: 0, keys: 5000, big: 50_000, watchers: []int{100, 1000},
		events: 20_000, maxPuts: 100, rest: 1, profile: 2, pause: 2, count: 500}
)

// comparison is one run of the program.
type comparison struct {
	options
	sizes
	programs  [2]string // as report.Servers
	generator string    // Cairn's binary
	temp      string
	servers   []string // what is put before a server's command line
	loads     []string // and before the generator's
	report    report.Run
	round     int
	began     time.Time
}

// stage is a part of the comparison: servers that are started, loaded, measured and ended.
type stage struct {
	name   string
	rounds int // at most; 0: as many as there are
	run    func(c *comparison, ctx context.Context, server int, dir string) error
}

var stages = []stage{
	{"one", 0, (*comparison).one},
	{"watch", 0, (*comparison).watch},
	{"three", 0, (*comparison).three},
	{"five", 2, (*comparison).five},
	{"big", 1, (*comparison).large},
	{"costs", 1, (*comparison).profiles},
}

// chosen returns the stages that -only names, all without it.
func (o options) chosen() ([]stage, error) {
	if o.only == "" {
		return stages, nil
	}
	var out []stage
	for name := range strings.SplitSeq(o.only, ",") {
		i := slices.IndexFunc(stages, func(s stage) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-only=%s: there is no stage %q", o.only, name)
		}
		out = append(out, stages[i])
	}
	return out, nil
}

// run does what the flags say.
func (o options) run(ctx context.Context) (err error) {
	if o.redraw != "" {
		return o.drawAgain()
	}
	parts, err := o.chosen()
	if err != nil {
		return err
	}
	c := &comparison{options: o, sizes: whole, began: time.Now()}
	if o.quick {
		c.sizes, c.rounds = small, 1
	} else if o.only == "" && o.out == "" {
		c.out = defaultOut
	}
	if c.temp, err = os.MkdirTemp(o.dir, "compare"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.temp)) }()
	if err := c.prepare(ctx); err != nil {
		return err
	}
	if err := c.measure(ctx, parts); err != nil {
		return err
	}
	c.report.Minutes = time.Since(c.began).Minutes()
	if err := c.report.Table(os.Stdout); err != nil {
		return err
	}
	if c.out == "" {
		return nil
	}
	return write(&c.report, c.out)
}

// prepare builds the programs, pins processes and describes the machine.
func (c *comparison) prepare(ctx context.Context) error {
	module, err := os.Getwd()
	if err != nil {
		return err
	}
	c.progress("building etcd and Cairn")
	tools := difftest.NewToolbox(module, c.temp)
	for i, name := range []string{difftest.Etcd, difftest.Cairn} {
		if c.programs[i], err = tools.Path(ctx, name); err != nil {
			return err
		}
	}
	c.generator = c.programs[1]
	pinned := c.pin(ctx)
	c.report = report.Run{Date: c.began.UTC().Format(time.DateOnly), Machine: machine(c.temp),
		Rounds: c.rounds, Pinned: pinned, Quick: c.quick, KeyBytes: keyBytes,
		ValueBytes: valueBytes, BigKeys: c.big}
	return nil
}

// measure runs the stages in rounds. The order of the servers changes from round to round.
func (c *comparison) measure(ctx context.Context, parts []stage) error {
	for c.round = range c.rounds {
		for _, part := range parts {
			if part.rounds > 0 && c.round >= part.rounds {
				continue
			}
			for i := range report.Servers {
				server := (i + c.round) % len(report.Servers)
				c.progress("round %d of %d: %s, %s", c.round+1, c.rounds, part.name,
					report.Servers[server])
				dir, err := os.MkdirTemp(c.temp, part.name)
				if err != nil {
					return err
				}
				if err := part.run(c, ctx, server, dir); err != nil {
					return fmt.Errorf("%s, %s: %w", part.name, report.Servers[server], err)
				}
				if err := os.RemoveAll(dir); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// progress tells on stderr what is going on, and when.
func (c *comparison) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7s  %s\n", time.Since(c.began).Round(time.Second),
		fmt.Sprintf(format, args...))
}

// jsonName is the file with a run, beside the page.
const jsonName = "performance.json"

// write writes the page, its pictures, and the run.
func write(r *report.Run, dir string) error {
	files, err := r.Page()
	if err != nil {
		return err
	}
	if files[jsonName], err = json.MarshalIndent(r, "", " "); err != nil {
		return err
	}
	files[jsonName] = append(files[jsonName], '\n')
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// drawAgain makes the page of an earlier run.
func (o options) drawAgain() error {
	data, err := os.ReadFile(o.redraw)
	if err != nil {
		return err
	}
	var r report.Run
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("%s: %w", o.redraw, err)
	}
	if o.out == "" {
		o.out = filepath.Dir(o.redraw)
	}
	return write(&r, o.out)
}
