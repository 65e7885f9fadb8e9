// Compare measures Cairn beside real etcd: rate, latency, processor time, memory, disk, pauses and
// restarts, with the same load and the same flags on this machine, and writes docs/performance.md.
//
//	make compare                   everything, some 20 minutes; writes ../docs
//	go run ./compare -quick        small numbers, a minute or two, the table on stdout
//	go run ./compare -only one     some of it: one, watch, three, five, big, costs; to stdout
//	go run ./compare -redraw FILE  the page from the JSON of an earlier run
//
// Etcd is built from its module, of the version in go.mod; Cairn and the load generator (`cairn
// bench`) from the parent directory. All members run on the first processor, the generator on the
// second, where taskset exists and there are two; other work on the machine spoils the figures,
// processor time least. Data directories are made under -dir, which must be on a real disk: all is
// synced. Progress goes to stderr.
//
// A stage (stages.go, big.go, profiles.go) starts servers, loads them, and adds what it has
// measured to a report.Run; package report does the arithmetic and the page, package svg the
// pictures, package costs reads profiles.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "small numbers, one round, nothing is written")
	flag.StringVar(&o.only, "only", "", "stages to run, with commas between; nothing is written")
	flag.IntVar(&o.rounds, "rounds", 3, "how often both are measured in turn")
	flag.StringVar(&o.out, "out", "", "directory to write the page to, also of a part")
	flag.StringVar(&o.dir, "dir", "", "where data directories are made (default: temporary files)")
	flag.StringVar(&o.redraw, "redraw", "", "JSON of an earlier run: only draw the page, to -out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		stop()
		os.Exit(1)
	}
}
