package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// Variables that stand for the arguments of watch.
const (
	watchKeyEnv      = envPrefix + "WATCH_KEY"
	watchRangeEndEnv = envPrefix + "WATCH_RANGE_END"
)

// Errors of the arguments of watch.
var (
	errWatchArgs      = errors.New("bad number of arguments")
	errWatchArgsEnv   = errors.New("bad number of arguments (found conflicting environment key)")
	errWatchNoCommand = errors.New(
		"bad number of arguments (found separator --, but no commands)")
)

// watchOptions are the flags of watch.
type watchOptions struct {
	interactive    bool
	prefix         bool
	rev            int64
	prevKV         bool
	progressNotify bool
}

func (o *watchOptions) register(fs *pflag.FlagSet) {
	fs.BoolVarP(&o.interactive, "interactive", "i", false, "Interactive mode")
	fs.BoolVar(&o.prefix, "prefix", false, "Watch on a prefix if prefix is set")
	fs.Int64Var(&o.rev, "rev", 0, "Revision to start watching")
	fs.BoolVar(&o.prevKV, "prev-kv", false,
		"get the previous key-value pair before the event happens")
	fs.BoolVar(&o.progressNotify, "progress-notify", false,
		"get periodic watch progress notification from server")
}

// watchCommand makes the verb "watch".
func (a *app) watchCommand() *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use: "watch [options] [key or prefix] [range_end] [--] " +
			"[exec-command arg1 arg2 ...]",
		Short: "Watches events stream on keys or prefixes",
		Example: a.example(`  $0 watch foo
  $0 watch --prefix /registry/ --rev=42 --prev-kv
  $0 watch foo -- sh -c 'echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY'`),
		RunE: func(cmd *cobra.Command, args []string) error { return a.watch(cmd, o, args) },
	}
	o.register(cmd.Flags())
	return cmd
}

func (a *app) watch(cmd *cobra.Command, o watchOptions, args []string) error {
	env := watchEnv{
		key:      lookupEnv(a.cfg.Environ, watchKeyEnv),
		rangeEnd: lookupEnv(a.cfg.Environ, watchRangeEndEnv),
	}
	if env.key == "" && env.rangeEnd != "" {
		return terminal.Failf(terminal.ExitBadArgs,
			"%s is empty but got %s=%q", watchKeyEnv, watchRangeEndEnv, env.rangeEnd)
	}
	if o.interactive {
		return a.watchInteractive(cmd, env)
	}
	w, err := env.parse(args, cmd.ArgsLenAtDash())
	if err != nil {
		return terminal.Fail(terminal.ExitBadArgs, err)
	}
	w.options = o
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := w.check(); err != nil {
		return terminal.Fail(terminal.ExitBadArgs, err)
	}
	if err := a.follow(cmd.Context(), w.open(cmd.Context(), c), w.exec); err != nil {
		return err
	}
	return terminal.Failf(terminal.ExitInterrupted, "watch is canceled by the server")
}

// watchEnv is what the environment says about the key to watch.
type watchEnv struct{ key, rangeEnd string }

// watchRequest is one watch to be opened.
type watchRequest struct {
	options watchOptions
	keys    []string // the key, and perhaps the end of the range
	exec    []string // the command for each event, if any
}

// parse splits the arguments into keys and the command behind "--". Dash is the number of arguments
// before the "--", -1 without one, as pflag counts it.
func (e watchEnv) parse(args []string, dash int) (watchRequest, error) {
	w := watchRequest{keys: args}
	if dash >= 0 {
		w.keys, w.exec = args[:dash], args[dash:]
		if len(w.exec) == 0 {
			return w, errWatchNoCommand
		}
	}
	if e.key == "" {
		if dash < 0 && len(w.keys) == 0 {
			return w, errWatchArgs
		}
		return w, nil
	}
	if len(w.keys) > 0 {
		return w, errWatchArgsEnv
	}
	w.keys = []string{e.key}
	if e.rangeEnd != "" {
		w.keys = append(w.keys, e.rangeEnd)
	}
	return w, nil
}

// check refuses a request that names no key, or a range in two ways.
func (w *watchRequest) check() error {
	if len(w.keys) < 1 {
		return errWatchArgs
	}
	if len(w.keys) == 2 && w.options.prefix {
		return errors.New("`range_end` and `--prefix` are mutually exclusive")
	}
	return nil
}

// open starts the watch. It needs a cluster with a leader, and ends without one.
func (w *watchRequest) open(ctx context.Context, c *clientv3.Client) clientv3.WatchChan {
	opts := []clientv3.OpOption{clientv3.WithRev(w.options.rev)}
	if len(w.keys) == 2 {
		opts = append(opts, clientv3.WithRange(w.keys[1]))
	}
	if w.options.prefix {
		opts = append(opts, clientv3.WithPrefix())
	}
	if w.options.prevKV {
		opts = append(opts, clientv3.WithPrevKV())
	}
	if w.options.progressNotify {
		opts = append(opts, clientv3.WithProgressNotify())
	}
	return c.Watch(clientv3.WithRequireLeader(ctx), w.keys[0], opts...)
}

// follow shows what a watch delivers, and runs the command for each event, until the watch ends.
func (a *app) follow(ctx context.Context, ch clientv3.WatchChan, command []string) error {
	for resp := range ch {
		if resp.Canceled {
			a.warn("watch was canceled (%v)", resp.Err())
		}
		p := a.newPrinter()
		if resp.IsProgressNotify() {
			p.printf("progress notify: %d\n", resp.Header.GetRevision())
		}
		if err := a.showWith(p, watchOutput(&resp)); err != nil {
			return err
		}
		if len(command) == 0 {
			continue
		}
		for _, ev := range resp.Events {
			if err := a.runFor(ctx, ev, resp.Header.GetRevision(), command); err != nil {
				a.warn("command %q error (%v)", command, err)
				return terminal.Fail(terminal.ExitError, nil)
			}
		}
	}
	return nil
}

// runFor runs the command of a watch for one event, which it finds in its environment.
func (a *app) runFor(ctx context.Context, ev *clientv3.Event, rev int64, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(append([]string(nil), a.cfg.Environ...),
		fmt.Sprintf("ETCD_WATCH_REVISION=%d", rev),
		fmt.Sprintf("ETCD_WATCH_EVENT_TYPE=%q", ev.GetType()),
		fmt.Sprintf("ETCD_WATCH_KEY=%q", ev.GetKv().GetKey()),
		fmt.Sprintf("ETCD_WATCH_VALUE=%q", ev.GetKv().GetValue()))
	cmd.Stdout, cmd.Stderr = a.cfg.Stdout, a.cfg.Stderr
	return cmd.Run()
}

// watchOutput shows one answer of a watch.
func watchOutput(r *clientv3.WatchResponse) output {
	return output{
		simple: func(p *printer) {
			for _, ev := range r.Events {
				p.println(ev.GetType())
				if ev.GetPrevKv() != nil {
					p.kv(ev.GetPrevKv())
				}
				p.kv(ev.GetKv())
			}
		},
		fields: func(p *printer) {
			p.header(r.Header)
			for _, ev := range r.Events {
				p.println(`"Type" :`, ev.GetType())
				if ev.GetPrevKv() != nil {
					p.kvFields("Prev", ev.GetPrevKv())
				}
				p.kvFields("", ev.GetKv())
			}
		},
		json: r,
		proto: &pb.WatchResponse{
			Header:          r.Header,
			Events:          r.Events,
			CompactRevision: r.CompactRevision,
			Canceled:        r.Canceled,
			Created:         r.Created,
		},
	}
}

// maxPendingLines bounds the lines of input that were read and not looked at yet.
const maxPendingLines = 16

// watchInteractive reads lines "watch ..." and "progress" from stdin; each watch is followed in the
// background on the same client. It ends with the input, or with the first watch whose command
// fails.
func (a *app) watchInteractive(cmd *cobra.Command, env watchEnv) error {
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	failed := make(chan error, 1)
	lines := make(chan string, maxPendingLines)
	fail := func(err error) {
		select {
		case failed <- err:
		default: // another one ends the process already
		}
	}
	go func() {
		in := bufio.NewReader(a.cfg.Stdin)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				fail(terminal.Failf(terminal.ExitInvalidInput,
					"error reading watch request line: %w", err))
				return
			}
			select {
			case lines <- strings.TrimSuffix(line, "\n"):
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case err := <-failed:
			return a.drain(ctx, c, env, lines, fail, err)
		case line := <-lines:
			if err := a.watchLine(ctx, c, env, line, fail); err != nil {
				return err
			}
		case <-ctx.Done():
			return terminal.Fail(terminal.ExitInterrupted, ctx.Err())
		}
	}
}

// drain obeys the lines read before the input ended, then returns why it ended.
func (a *app) drain(ctx context.Context, c *clientv3.Client, env watchEnv, lines <-chan string,
	fail func(error), cause error) error {
	for {
		select {
		case line := <-lines:
			if err := a.watchLine(ctx, c, env, line, fail); err != nil {
				return err
			}
		default:
			return cause
		}
	}
}

// watchLine obeys one line of interactive input. Mistakes in it are told on stderr; only what
// etcdctl ends for is an error.
func (a *app) watchLine(ctx context.Context, c *clientv3.Client, env watchEnv, line string,
	fail func(error)) error {
	words, err := splitWords(line)
	if err != nil {
		return err
	}
	if len(words) < 1 {
		a.warn("Invalid command: %s (watch and progress supported)", line)
		return nil
	}
	switch words[0] {
	case "watch":
		return a.watchStart(ctx, c, env, line, words, fail)
	case "progress":
		if err := c.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
			return terminal.Fail(terminal.ExitError, err)
		}
	default:
		a.warn("Invalid command %s (only support watch)", line)
	}
	return nil
}

// watchStart opens the watch of an interactive line and follows it in the background.
func (a *app) watchStart(ctx context.Context, c *clientv3.Client, env watchEnv, line string,
	words []string, fail func(error)) error {
	if len(words) < 2 && env.key == "" {
		a.warn("Invalid command %s (command type or key is not provided)", line)
		return nil
	}
	w, err := env.parseLine(words[1:])
	if err != nil {
		return terminal.Fail(terminal.ExitBadArgs, err)
	}
	if err := w.check(); err != nil {
		a.warn("Invalid command %s (%v)", line, err)
		return nil
	}
	ch := w.open(ctx, c)
	go func() {
		if err := a.follow(ctx, ch, w.exec); err != nil {
			fail(err)
		}
	}()
	return nil
}

// parseLine is parse for the words of an interactive line, flags among them.
func (e watchEnv) parseLine(words []string) (watchRequest, error) {
	var o watchOptions
	fs := pflag.NewFlagSet("watch", pflag.ContinueOnError)
	fs.SetOutput(&strings.Builder{})
	o.register(fs)
	if err := fs.Parse(words); err != nil {
		return watchRequest{}, err
	}
	w, err := e.parse(fs.Args(), fs.ArgsLenAtDash())
	w.options = o
	return w, err
}
