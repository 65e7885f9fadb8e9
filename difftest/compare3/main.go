// Compare3 measures clusters of three members, real etcd's and Cairn's in turn, with the same
// settings on this machine: what a request costs in processor time, and how long it takes.
//
//	go run ./compare3                        all cells, less than three minutes
//	go run ./compare3 -seconds 10 -rounds 5  the same with less noise
//	go run ./compare3 -profile DIR           besides, CPU profiles of Cairn's members
//
// All members run on one processor and the load on another, where taskset exists and there are two.
// Files are synced as always. The load is etcd's own client, one connection to each member, and
// requests are spread over all of them. Member 1 leads. Of the figures only ratios and processor
// time mean something on a machine that others use, too.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"time"

	"github.com/cairnkv/cairn/difftest"
)

// options are what the flags say.
type options struct {
	seconds float64
	rounds  int
	profile string
	prefix  []string // pins servers
}

func main() {
	var o options
	flag.Float64Var(&o.seconds, "seconds", 2, "how long each cell is measured in each round")
	flag.IntVar(&o.rounds, "rounds", 3, "how often both are measured in turn")
	flag.StringVar(&o.profile, "profile", "", "directory for CPU profiles of Cairn's members")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o.prefix = pin(ctx)
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "compare3:", err)
		stop()
		os.Exit(1)
	}
}

// pin moves this process to the second processor and returns what moves a server to the first.
func pin(ctx context.Context) []string {
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		fmt.Println("no taskset, or one processor: servers and load share all there are")
		return nil
	}
	cmd := exec.CommandContext(ctx, taskset, "-acp", "1", strconv.Itoa(os.Getpid()))
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Printf("not pinned: %v: %s", err, out)
		return nil
	}
	runtime.GOMAXPROCS(1)
	return []string{taskset, "-c", "0"}
}

// run measures both kinds in turn and prints the table.
func run(ctx context.Context, o options) error {
	temp, err := os.MkdirTemp("", "compare3")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	module, err := os.Getwd()
	if err != nil {
		return err
	}
	tools := difftest.NewToolbox(module, temp)
	programs := []string{difftest.Etcd, difftest.Cairn}
	results := make([]*result, len(programs))
	for i, name := range programs {
		if _, err := tools.Path(ctx, name); err != nil {
			return err
		}
		results[i] = newResult()
	}
	began := time.Now()
	for round := range o.rounds {
		for i, name := range programs {
			path, err := tools.Path(ctx, name)
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp(temp, name)
			if err != nil {
				return err
			}
			err = measure(ctx, o, path, dir, name == difftest.Cairn && round == 0, results[i])
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d rounds, %v s a cell, %v\n", o.rounds, o.seconds,
		time.Since(began).Round(time.Second))
	return report(os.Stdout, programs, results)
}
