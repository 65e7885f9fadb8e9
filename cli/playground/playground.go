// Package playground starts a cluster on this machine, shows how it fares, and lets its user break
// it: `cairn playground`.
//
// # Shape
//
// What is shown, and what a key does, is decided by the model: a pure machine that takes events
// (a member has answered, a key was pressed) and returns orders (kill m1). It knows no process, no
// terminal and no clock. The cluster carries orders out, and asks the members how they are. Between
// them stands one loop: the terminal library's (screen.go), or a plain one where there is no
// terminal (plain.go).
//
//	keys, lines ─┐                 ┌─> view, or lines of text
//	             ├─ event ─> model ┤
//	members ─────┘                 └─ order ─> cluster ─> processes, links, membership
//
// Members are processes of this very program. What they say to each other goes through a proxy each
// (package internal/link), where links are cut. Clients reach them without one.
//
// # Ending
//
// The playground ends by its key, a signal, the end of its input or of its terminal; with all its
// processes and, unless it is kept, its directory. On Linux the processes end even when the
// playground itself is killed.
//
// Files are reached through os and not vfs: they are shared with the processes.
package playground

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc/grpclog"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// Config says how the program was called and what it may touch.
type Config struct {
	// Name is the program as the user types it: "cairn playground".
	Name string
	// Args are the arguments behind it.
	Args []string
	// Environ is the environment as "key=value".
	Environ []string

	// A terminal on Stdin and Stdout gets the screen, anything else lines of text.
	Stdin  *os.File
	Stdout *os.File
	Stderr io.Writer
}

// options are the flags.
type options struct {
	count    int // 0: not given
	plain    bool
	load     bool
	keep     string
	basePort int
	length   time.Duration
	program  string
	extra    []string // flags for the members
	environ  []string // for the members
}

const defaultMembers = 3

// Main runs the playground until its user, a signal, its input or ctx ends it, and returns the exit
// status: 0, or 1 if it could not start, or its time (--for) was over before any member led.
func Main(ctx context.Context, cfg Config) int {
	return terminal.Run(ctx, cfg.command(), cfg.Args, cfg.Stderr)
}

func (cfg Config) command() *cobra.Command {
	var o options
	cmd := terminal.Root(cfg.Name, "Start a cluster on this machine, watch it, and break it.")
	cmd.Use += " [members] [flags] [-- flags of the members]"
	cmd.Long = `Start a cluster on this machine, watch it, and break it.

Starts members (1 to 9, by default 3) as processes of their own, with free ports and
data in a temporary directory. On a terminal it shows who leads, how far each member
is, and what happens; keys kill, pause, cut off, add and remove members. Elsewhere,
or with --plain, it writes a line for every change, and reads commands, one a line:
` + "  " + strings.ReplaceAll(commandHelp, ", add", ",\n  add") + `

All processes end with it, and what they wrote is deleted, unless --keep names a
directory: the next playground there goes on with that data.`
	cmd.Example = strings.ReplaceAll(`  $0                     # three members
  $0 5 --load            # five, and a trickle of writes
  $0 --keep ./cluster    # data to come back to
  $0 --plain --for 30s   # in a script: ends with status 1 if no member led
  $0 -- --heartbeat-interval=50 --election-timeout=500`, "$0", cfg.Name)
	f := cmd.Flags()
	f.BoolVar(&o.plain, "plain", false, "write lines of text instead of a screen")
	f.BoolVar(&o.load, "load", false, "begin with the trickle of writes on")
	f.StringVar(&o.keep, "keep", "", "keep the data in this directory, or go on with what is there")
	f.IntVar(&o.basePort, "base-port", 0,
		"ports of the first member are this and the two above, of the others 10 on (0: free ones)")
	f.DurationVar(&o.length, "for", 0, "end by itself after this time, such as 30s (0: do not)")
	f.StringVar(&o.program, "program", "", "another server to start, with etcd's flags")
	_ = f.MarkHidden("program") // the flag is there: it cannot fail
	cmd.SetIn(cfg.Stdin)
	cmd.SetOut(cfg.Stdout)
	cmd.SetErr(cfg.Stderr)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.take(args, cmd.ArgsLenAtDash()); err != nil {
			return err
		}
		return cfg.run(cmd.Context(), o)
	}
	return cmd
}

// take reads the arguments that are not flags; those from dash on are for the members.
func (o *options) take(args []string, dash int) error {
	if dash >= 0 {
		args, o.extra = args[:dash], args[dash:]
	}
	if len(args) > 1 {
		return fmt.Errorf("%q: one number of members is enough", args)
	}
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 || n > maxMembers {
			return fmt.Errorf("%q is no number of members: 1 to %d", args[0], maxMembers)
		}
		o.count = n
	}
	const highest = 65535 - maxMembers*portStep
	if o.basePort < 0 || o.basePort > highest {
		return fmt.Errorf("--base-port=%d: it must be at most %d", o.basePort, highest)
	}
	if o.length < 0 {
		return fmt.Errorf("--for=%v: it must not be negative", o.length)
	}
	return nil
}

// run starts the cluster, shows it, and cleans up.
func (cfg Config) run(ctx context.Context, o options) (err error) {
	// The library's log would write over the screen; what fails is shown by the model.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	ctx, stop := signal.NotifyContext(ctx, endSignals...)
	defer stop()
	defer catchPipe()()
	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
	}
	if o.program == "" {
		if o.program, err = os.Executable(); err != nil {
			return terminal.Fail(terminal.ExitError, err)
		}
	}
	o.environ = cfg.Environ
	h, err := openHome(o.keep)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	p, err := newPlayground(h, o, cfg.texts(h, o))
	if err == nil {
		if cfg.screen(o) {
			err = p.runScreen(ctx, cfg)
		} else {
			err = p.runPlain(ctx, cfg, o)
		}
	}
	if p != nil {
		err = errors.Join(err, p.close())
	}
	if err = errors.Join(err, h.close()); err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !p.model.everLed {
		return terminal.Fail(terminal.ExitError,
			fmt.Errorf("no member led within %v: the time is short, or members ended", o.length))
	}
	return nil
}

// screen says whether there is a terminal to draw on.
func (cfg Config) screen(o options) bool {
	return !o.plain && term.IsTerminal(int(cfg.Stdin.Fd())) && term.IsTerminal(int(cfg.Stdout.Fd()))
}

// texts are the words that depend on where the playground runs.
func (cfg Config) texts(h *home, o options) texts {
	name, _, _ := strings.Cut(cfg.Name, " ")
	t := texts{name: name, program: name, env: h.envPath()}
	self, _ := os.Executable() // examples name it by its path only if the name leads elsewhere
	if found, err := exec.LookPath(name); self != "" && (err != nil || !same(found, self)) {
		t.program, h.program = self, self
	}
	switch {
	case h.kept && len(h.Members) > 0 && o.count != 0 && o.count != len(h.Members):
		t.notes = append(t.notes, fmt.Sprintf("%s holds %s: they are started, not %d", h.dir,
			plural(len(h.Members), "member"), o.count))
	case h.kept && len(h.Members) > 0:
		t.notes = append(t.notes, "the data in "+h.dir+" is used again, and kept")
	case h.kept:
		t.notes = append(t.notes, "data is kept in "+h.dir)
	}
	return t
}

// same says whether two paths are one file.
func same(a, b string) bool {
	a, errA := filepath.EvalSymlinks(a)
	b, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && a == b
}
