package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Table writes everything that was measured as text.
func (r *Run) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "load\tserver\trate/s\tp50\tp99\tp99.9\tCPU\tgenerator\tfailed\t")
	for i := range r.Cells {
		c := &r.Cells[i]
		for j, server := range Servers {
			var failed int64
			for _, m := range c.Rounds[j] {
				failed += m.Failed
			}
			at := func(f func(Measurement) float64) float64 { return c.Compare(f, false).Values[j] }
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", c.Title, server,
				digits(at(rate)), micros(at(p50)), micros(at(p99)), micros(at(p999)),
				micros(at(cpu)), micros(at(func(m Measurement) float64 { return m.Generator })),
				failed)
		}
		fmt.Fprintf(w, "%s\tx better\t%s\t%s\t%s\t%s\t%s\t\t\t\n", c.Title,
			digits(c.Compare(rate, true).Ratio), digits(c.Compare(p50, false).Ratio),
			digits(c.Compare(p99, false).Ratio), digits(c.Compare(p999, false).Ratio),
			digits(c.Compare(cpu, false).Ratio))
	}
	fmt.Fprintln(w, "\t\t\t\t")
	fmt.Fprintln(w, "figure\tetcd\tCairn\tx better\t")
	for i := range r.Values {
		v := &r.Values[i]
		p := v.Compare()
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", v.Title, v.text(p.Values[0]), v.text(p.Values[1]),
			digits(p.Ratio))
	}
	fmt.Fprintln(w, "\t\t\t\t")
	fmt.Fprintln(w, "promise\tetcd\tCairn\tresult\twanted\tverdict\t")
	for _, b := range r.Budgets() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", b.Title, b.Etcd, b.Cairn, b.Result(),
			b.Limit(), b.Verdict())
	}
	for _, c := range r.Costs {
		fmt.Fprintln(w, "\t\t\t")
		fmt.Fprintf(w, "what a %s costs\tserver\tshare\tCPU\tmost of it in\t\n", c.Load)
		for i, server := range Servers {
			for _, g := range c.top(i) {
				fmt.Fprintf(w, "%s\t%s\t%.0f %%\t%s\t%s\t\n", g.Name, server, 100*g.Share,
					micros(g.Share*c.CPU[i]), g.Most)
			}
		}
	}
	return w.Flush()
}
