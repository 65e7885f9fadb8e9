// Package bench is `cairn bench`: the loads of package bench from the command line, under the names
// and with the flags of etcd's own benchmark tool. It works against etcd and Cairn alike.
//
// # Contract
//
// One verb a load. What was measured goes to stdout, as text for people (--write-out=human), or as
// JSON or CSV, whose fields are stable:
//
//	json   one object: bench.Result
//	csv    a line of names, then a line for each kind of operation: bench.Series without its
//	       histogram; times in microseconds
//
// Progress goes to stderr, and only to a terminal. The exit status is 0 if the load was made and at
// least one operation succeeded; operations that failed are counted in the output.
//
// # Shape
//
// A verb's file declares its flags and makes a bench.Load of them; everything else is here.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	load "github.com/cairnkv/cairn/bench"
	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// Config says how the program was called and what it may touch.
type Config struct {
	// Name is the program as the user types it: "cairn bench".
	Name string
	// Args are the arguments behind it.
	Args []string

	Stdout io.Writer
	// Stderr gets errors, and progress if it is a terminal.
	Stderr io.Writer
}

// Main makes one load and returns the process's exit status (see package terminal). It ends early
// when ctx does, or by an interrupt; then what was measured so far is shown.
func Main(ctx context.Context, cfg Config) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	return terminal.Run(ctx, New(cfg), cfg.Args, cfg.Stderr)
}

// app is one run of the program.
type app struct {
	cfg     Config
	flags   flags
	options load.Options
	start   func(context.Context, load.Options) (*load.Result, error) // load.Run
}

// New returns the command tree, for documentation and completion.
func New(cfg Config) *cobra.Command {
	return (&app{cfg: cfg, start: load.Run}).root()
}

// root assembles the command tree.
func (a *app) root() *cobra.Command {
	cfg := a.cfg
	root := terminal.Root(cfg.Name, "Put load on a cluster, and measure it.")
	root.Long = `Put load on a cluster, and measure it: how many operations there are in a second,
and how long they take.

Each client has one operation outstanding and begins the next one when it is
done; clients share connections. --clients tells how many operations are under
way at once, --conns over how many connections. It works against etcd and Cairn.`
	root.SetOut(cfg.Stdout)
	root.SetErr(cfg.Stderr)
	a.register(root)
	root.AddCommand(
		a.putCommand(), a.rangeCommand(), a.listCommand(), a.mixedCommand(),
		a.txnPutCommand(), a.txnMixedCommand(), a.stmCommand(),
		a.watchCommand(), a.watchLatencyCommand(), a.watchGetCommand(),
		a.leaseKeepAliveCommand(), a.mvccCommand(),
		terminal.Completion(cfg.Name, cfg.Stdout, func() *cobra.Command { return New(cfg) }),
	)
	return root
}

// verb completes the command of a load: its example, and what it does. make is called when the
// flags are parsed.
func (a *app) verb(cmd *cobra.Command, make func(args []string) (load.Load, error)) *cobra.Command {
	cmd.Example = strings.ReplaceAll(cmd.Example, "$0", a.cfg.Name)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l, err := make(args)
		if err != nil {
			return terminal.Fail(terminal.ExitBadArgs, err)
		}
		return a.run(cmd.Context(), l)
	}
	return cmd
}

// run makes a load and shows what was measured.
func (a *app) run(ctx context.Context, l load.Load) error {
	show, err := a.output()
	if err != nil {
		return err
	}
	o, err := a.complete(l)
	if err != nil {
		return err
	}
	bar := newBar(a.cfg.Stderr)
	o.Progress = bar.show
	result, err := a.start(ctx, o)
	bar.clear()
	if result != nil {
		if werr := show(a.cfg.Stdout, result); werr != nil {
			return terminal.Fail(terminal.ExitIO, werr)
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return terminal.Fail(terminal.ExitInterrupted, errors.New("interrupted"))
	case err != nil:
		return terminal.Fail(terminal.ExitError, err)
	}
	for i := range result.Series {
		if result.Series[i].Latency.Count() > 0 {
			return nil
		}
	}
	return terminal.Fail(terminal.ExitError, errors.New("no operation succeeded"))
}

// rateFlag declares a flag for Options.Rate.
func (a *app) rateFlag(fs *pflag.FlagSet, name, what string) {
	fs.Float64Var(&a.options.Rate, name, 0, "maximum "+what+" per second (0 is no limit); latency "+
		"then counts from when one was due")
}

// totalFlags declares the flags for how much is measured.
func (a *app) totalFlags(fs *pflag.FlagSet, what string) {
	fs.Int64Var(&a.options.Total, "total", load.DefaultTotal, "total number of "+what)
	fs.DurationVar(&a.options.Duration, "duration", 0,
		"measure for this time instead of a total, such as 30s")
	fs.DurationVar(&a.options.Warmup, "warmup", 0,
		"for how long the load runs before it is measured")
	a.rateFlag(fs, "rate", what)
}

// keyFlags declares the flags for load.Keys.
func keyFlags(fs *pflag.FlagSet, k *load.Keys) {
	fs.IntVar(&k.Size, "key-size", 8, "size of keys in bytes")
	fs.IntVar(&k.Space, "key-space-size", 1, "how many different keys there are")
	fs.BoolVar(&k.Sequential, "sequential-keys", false, "take keys in order instead of by chance")
}

// valueFlag declares the flag for the size of values.
func valueFlag(fs *pflag.FlagSet, size *int) {
	fs.IntVar(size, "val-size", 8, "size of values in bytes")
}

// consistencyFlag declares etcd's flag for how reads are made; the result checks it.
func consistencyFlag(fs *pflag.FlagSet) func() (serializable bool, err error) {
	value := fs.String("consistency", "l", "linearizable (l) or serializable (s) reads")
	return func() (bool, error) {
		switch *value {
		case "l":
			return false, nil
		case "s":
			return true, nil
		}
		return false, fmt.Errorf("--consistency=%s: l and s are possible", *value)
	}
}
