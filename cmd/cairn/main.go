// Command cairn is the server and its tools in one binary. What it does follows from the name that
// it is called by, or from its first argument:
//
//	cairn, etcd              run a member
//	cairn ctl, etcdctl       talk to a cluster
//	cairn utl, etcdutl       work on backups and data directories
//	cairn playground         a cluster on this machine, to watch and to break
//	cairn sim                clusters simulated from seeds, with faults, and checked
//	cairn bench              load, and what it costs
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cairnkv/cairn/cli/bench"
	"github.com/cairnkv/cairn/cli/ctl"
	"github.com/cairnkv/cairn/cli/playground"
	"github.com/cairnkv/cairn/cli/simulate"
	"github.com/cairnkv/cairn/cli/utl"
	"github.com/cairnkv/cairn/vfs"
)

// verbs are the tools that go by a first argument.
var verbs = []string{"ctl", "utl", "playground", "bench", "sim"}

func main() {
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	args := os.Args[1:]
	verb := name
	if name == "cairn" {
		args = completionLast(args)
		if len(args) > 0 && slices.Contains(verbs, args[0]) {
			verb, name, args = args[0], name+" "+args[0], args[1:]
		}
	}
	switch verb {
	case "ctl", "etcdctl":
		os.Exit(ctl.Main(context.Background(), ctl.Config{
			Name: name, Args: args, Environ: os.Environ(),
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, FS: vfs.OS(),
		}))
	case "utl", "etcdutl":
		os.Exit(utl.Main(context.Background(), utl.Config{
			Name: name, Args: args, Stdout: os.Stdout, Stderr: os.Stderr, FS: vfs.OS(),
			DataDir: dataDir{},
		}))
	case "playground":
		os.Exit(playground.Main(context.Background(), playground.Config{
			Name: name, Args: args, Environ: os.Environ(),
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		}))
	case "sim":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		os.Exit(simulate.Main(ctx, simulate.Config{
			Name: name, Args: args, Stdout: os.Stdout, Stderr: os.Stderr,
		}))
	case "bench":
		os.Exit(bench.Main(context.Background(), bench.Config{
			Name: name, Args: args, Stdout: os.Stdout, Stderr: os.Stderr,
		}))
	default:
		os.Exit(serve(name, args))
	}
}

// completionLast puts the hidden verb by which a shell asks for completions behind the tool that it
// is meant for: the shell calls "cairn __complete ctl ...".
func completionLast(args []string) []string {
	if len(args) < 2 || !strings.HasPrefix(args[0], "__complete") {
		return args
	}
	return append([]string{args[1], args[0]}, args[2:]...)
}
