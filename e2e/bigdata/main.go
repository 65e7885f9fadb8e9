// Bigdata loads a million keys into a server, overwrites them three times and compacts, and
// measures what a user would feel: how the data directory shrinks by itself, how long the longest
// put took all the while, and how long a restart takes until the first answer.
//
//	go run ./e2e/bigdata                                     Cairn, built from this module
//	go run ./e2e/bigdata -server /path/to/etcd -compare      another server, no demands
//
// It ends with status 1 if the data directory does not fall below the factor within the time.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// options are what the flags say.
type options struct {
	server  string
	dir     string
	keys    int
	value   int
	rounds  int
	clients int
	batch   int
	factor  float64
	wait    time.Duration
	compare bool
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "", "program to start; empty builds Cairn")
	flag.StringVar(&o.dir, "dir", "", "directory for the data; empty takes a temporary one")
	flag.IntVar(&o.keys, "keys", 1_000_000, "keys")
	flag.IntVar(&o.value, "value", 256, "bytes of a value")
	flag.IntVar(&o.rounds, "overwrites", 3, "how often each key is overwritten")
	flag.IntVar(&o.clients, "clients", 8, "clients that load at once")
	flag.IntVar(&o.batch, "batch", 100, "keys put by one transaction of the load")
	flag.Float64Var(&o.factor, "factor", 1.5, "the data directory must fall below this times the "+
		"live data")
	flag.DurationVar(&o.wait, "wait", 3*time.Minute, "how long it may take for that")
	flag.BoolVar(&o.compare, "compare", false, "only measure, demand nothing")
	flag.Parse()
	if err := os.Setenv("ETCD_CLIENT_DEBUG", "fatal"); err != nil { // no logs of etcd's client
		fmt.Fprintln(os.Stderr, "bigdata:", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bigdata:", err)
		stop()
		os.Exit(1)
	}
}
