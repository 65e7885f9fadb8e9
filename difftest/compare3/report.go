package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// report prints the table: a line for each cell and kind of server, and the ratio of the first to
// the second kind below.
func report(out io.Writer, names []string, results []*result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "load\tserver\trate/s\tp50 ms\tp99 ms\tp99.9 ms\tCPU us/req\tof the leader\t")
	for _, c := range cells {
		var all [][]float64
		for i, r := range results {
			row := r.cells[c.name].row()
			all = append(all, row)
			fmt.Fprintf(w, "%s\t%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.1f\t%.1f\t\n", c.name, names[i],
				row[0], row[1], row[2], row[3], row[4], row[5])
		}
		fmt.Fprintf(w, "%s\t%s/%s", c.name, names[0], names[1])
		for i := range all[0] {
			fmt.Fprintf(w, "\t%.2f", all[0][i]/all[1][i])
		}
		fmt.Fprintln(w, "\t")
	}
	const mib = 1 << 20
	fmt.Fprintln(w, "at the end\tserver\tRSS MiB\tdisk MiB\tleaders lost\t")
	for i, r := range results {
		fmt.Fprintf(w, "all members\t%s\t%d\t%d\t%d\t\n", names[i], r.rss/mib, r.disk/mib, r.change)
	}
	a, b := results[0], results[1]
	fmt.Fprintf(w, "all members\t%s/%s\t%.2f\t%.2f\t\t\n", names[0], names[1],
		float64(a.rss)/float64(b.rss), float64(a.disk)/float64(b.disk))
	return w.Flush()
}

// row returns the columns of a cell: rate, three percentiles in milliseconds, and processor time of
// all members and of the leader in microseconds a request.
func (f *figures) row() []float64 {
	slices.Sort(f.took)
	n := float64(len(f.took))
	return []float64{
		n / f.seconds, f.percentile(0.5), f.percentile(0.99), f.percentile(0.999),
		float64(f.cpu) / float64(time.Microsecond) / n,
		float64(f.leaderCPU) / float64(time.Microsecond) / n,
	}
}

// percentile returns how long a share of the requests took at most, in milliseconds.
func (f *figures) percentile(share float64) float64 {
	if len(f.took) == 0 {
		return 0
	}
	return float64(f.took[int(share*float64(len(f.took)-1))]) / float64(time.Millisecond)
}
