// Package ctl is the command-line client of Cairn, and of etcd: the verbs, flags, environment,
// outputs and exit statuses of etcdctl 3.7, so that scripts written for it keep working.
//
// # Contract
//
// Everything on stdout is byte for byte what etcdctl 3.7.3 writes for the same answers; what goes
// to stderr says the same in words that may differ. The differences on purpose:
//
//   - help texts show an example for each verb;
//   - `txn` compares leases (etcdctl panics), and refuses an unknown operator instead of panicking;
//   - alarms are written as "memberID:N alarm:NAME" (etcdctl's spaces change from build to build);
//   - `snapshot save` checks the SHA-256 of what it received before it gives the file its name;
//   - a variable of the environment that its flag cannot take is refused (etcdctl ignores it);
//   - `endpoint health` lists endpoints in the order given, not in the order of their answers.
//
// # Shape
//
// One verb a file. A verb parses its arguments, calls go.etcd.io/etcd/client/v3, and describes the
// answer as an [output]: one function for each form that it can be shown in. The caller's whole
// loop is
//
//	os.Exit(ctl.Main(ctx, ctl.Config{Name: "etcdctl", Args: os.Args[1:], Stdin: os.Stdin, ...}))
//
// # Flags and environment
//
// Every global flag --some-flag is also read from ETCDCTL_SOME_FLAG. Giving both is refused, as in
// etcdctl: a variable that is silently shadowed is a variable that somebody believes in.
package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/cairnkv/cairn/cli/internal/terminal"
	"github.com/cairnkv/cairn/vfs"
)

// face is the program whose outputs are reproduced.
const face = "etcdctl"

// Config says how the program was called and what it may touch.
type Config struct {
	// Name is the program as the user types it; usage lines show it: "etcdctl" or "cairn ctl".
	// Under another name than "etcdctl", `version` shows Cairn's own version too.
	Name string
	// Args are the arguments behind the program's name.
	Args []string
	// Environ is the environment as "key=value"; os.Environ() in a process.
	Environ []string

	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// FS is where `snapshot save` writes.
	FS vfs.FS
}

// app is one run of the program: its surroundings and what the global flags say.
type app struct {
	cfg   Config
	flags globalFlags

	// dialOptions and clientLog are for tests, which talk to a server in memory.
	dialOptions []grpc.DialOption
	clientLog   *zap.Logger
}

// Main runs one command and returns the process's exit status (see package terminal). Watches and
// keep-alives run until ctx ends, their stream ends, or the process is killed.
func Main(ctx context.Context, cfg Config) int {
	if err := cfg.valid(); err != nil {
		panic(err) // the calling program is wrong, not its user
	}
	return (&app{cfg: cfg}).run(ctx)
}

func (a *app) run(ctx context.Context) int {
	return terminal.Run(ctx, a.root(), a.cfg.Args, a.cfg.Stderr)
}

// New returns the command tree, for documentation and completion. Config is as for Main.
func New(cfg Config) *cobra.Command {
	if err := cfg.valid(); err != nil {
		panic(err)
	}
	return (&app{cfg: cfg}).root()
}

func (c *Config) valid() error {
	if c.Name == "" || c.Stdin == nil || c.Stdout == nil || c.Stderr == nil || c.FS == nil {
		return errors.New("ctl: Config needs Name, Stdin, Stdout, Stderr and FS")
	}
	return nil
}

// Groups of verbs in the root's help.
const (
	groupKV      = "kv"
	groupCluster = "cluster maintenance"
	groupUtility = "utility"
)

// root assembles the command tree.
func (a *app) root() *cobra.Command {
	root := terminal.Root(a.cfg.Name, "A simple command line client for etcd3.")
	root.SetIn(a.cfg.Stdin)
	root.SetOut(a.cfg.Stdout)
	root.SetErr(a.cfg.Stderr)
	a.flags.register(root)
	root.AddGroup(
		&cobra.Group{ID: groupKV, Title: "Key-value commands"},
		&cobra.Group{ID: groupCluster, Title: "Cluster maintenance commands"},
		&cobra.Group{ID: groupUtility, Title: "Utility commands"},
	)
	a.addGroup(root, groupKV, a.getCommand(), a.putCommand(), a.delCommand(), a.txnCommand(),
		a.compactionCommand(), a.watchCommand(), a.leaseCommand())
	a.addGroup(root, groupCluster, a.alarmCommand(), a.defragCommand(), a.endpointCommand(),
		a.moveLeaderCommand(), a.memberCommand(), a.snapshotCommand())
	a.addGroup(root, groupUtility,
		terminal.Version(a.cfg.Name, face, a.cfg.Stdout),
		terminal.Completion(a.cfg.Name, a.cfg.Stdout, func() *cobra.Command {
			return New(a.cfg)
		}),
		a.optionsCommand(root))
	root.SetHelpCommandGroupID(groupUtility)
	a.hideGlobals(root)
	return root
}

// addGroup adds verbs to the root under a heading of its help.
func (a *app) addGroup(root *cobra.Command, group string, verbs ...*cobra.Command) {
	for _, v := range verbs {
		v.GroupID = group
		root.AddCommand(v)
	}
}

// hideGlobals keeps the global flags out of each verb's help, which names the verb "options"
// instead.
func (a *app) hideGlobals(root *cobra.Command) {
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { f.Hidden = true })
	root.Flags().BoolP("help", "h", false, "help for "+root.Name())
	root.Flags().Lookup("help").Hidden = true
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		fmt.Fprintf(cmd.OutOrStdout(), "Use %q for a list of global command-line options "+
			"(applies to all commands).\n", a.cfg.Name+" options")
	})
}

// example fills the program's name into the text of an example; $0 stands for it.
func (a *app) example(text string) string { return strings.ReplaceAll(text, "$0", a.cfg.Name) }
