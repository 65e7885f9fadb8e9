package report

import (
	"fmt"
	"math"
)

// Budget is a line of what Cairn promises.
type Budget struct {
	Title string
	Etcd  string // as text, with the unit
	Cairn string
	// Got is what is compared with Must and Goal: how many times better than etcd, or, AtMost, a
	// figure of Cairn's alone that is to be small.
	Got, Must, Goal float64
	AtMost          bool
	Unit            string // of Got: "x", "ms"
}

// Verdicts of a Budget.
const (
	GoalReached = "goal"
	MustReached = "must"
	Missed      = "missed"
)

// Verdict says which of the two is reached.
func (b Budget) Verdict() string {
	better := func(got, want float64) bool { return got >= want }
	if b.AtMost {
		better = func(got, want float64) bool { return got <= want }
	}
	switch {
	case better(b.Got, b.Goal):
		return GoalReached
	case better(b.Got, b.Must):
		return MustReached
	}
	return Missed // also of what is no number
}

// Limit and Result are the columns of a Budget as text.
func (b Budget) Limit() string {
	sign := "at least"
	if b.AtMost {
		sign = "at most"
	}
	return fmt.Sprintf("%s %s%s, goal %s%s", sign, digits(b.Must), b.Unit, digits(b.Goal), b.Unit)
}

// Result is like Limit.
func (b Budget) Result() string { return digits(b.Got) + b.Unit }

// promises are the budgets by the keys of cells and values.
var promises = []struct {
	cell, value string
	must, goal  float64
	absolute    bool // of Cairn's value, in milliseconds
}{
	{cell: "put-1000", must: 5, goal: 10},
	{cell: "range-1000", must: 8, goal: 20},
	{cell: "put3-1000", must: 4, goal: 8},
	{cell: "watch-1000", must: 5, goal: 15},
	{cell: "watch-10000", must: 5, goal: 15},
	{cell: "list", must: 4, goal: 10},
	{value: "memory", must: 1, goal: 2},
	{value: "restart", must: 3, goal: 10},
	{value: "pause-compaction", must: 50, goal: 10, absolute: true},
	{value: "pause-checkpoint", must: 50, goal: 10, absolute: true},
	{value: "pause-backup", must: 50, goal: 10, absolute: true},
}

// Budgets returns the promises that the run has measured.
func (r *Run) Budgets() []Budget {
	var out []Budget
	for _, p := range promises {
		if c := r.Cell(p.cell); c != nil {
			pair := c.Compare(cpu, false)
			out = append(out, Budget{Title: "CPU: " + c.Title, Etcd: micros(pair.Values[0]),
				Cairn: micros(pair.Values[1]), Got: pair.Ratio, Must: p.must, Goal: p.goal,
				Unit: "x"})
		}
		v := r.Value(p.value)
		if v == nil {
			continue
		}
		pair := v.Compare()
		b := Budget{Title: v.Title, Etcd: v.text(pair.Values[0]), Cairn: v.text(pair.Values[1]),
			Got: pair.Ratio, Must: p.must, Goal: p.goal, Unit: "x"}
		if p.absolute {
			b.Got, b.AtMost, b.Unit = pair.Values[1], true, " ms"
		}
		out = append(out, b)
	}
	if b, ok := r.latencyBudget(); ok {
		out = append(out, b)
	}
	return out
}

// latencyBudget compares a single put with a sync of the same disk.
func (r *Run) latencyBudget() (Budget, bool) {
	c, v := r.Cell("put-1"), r.Value("fdatasync")
	if c == nil || v == nil {
		return Budget{}, false
	}
	sync := v.Compare().Values
	pair := c.Compare(p50, false)
	text := func(i int) string {
		return fmt.Sprintf("%s (%sx)", micros(pair.Values[i]), digits(pair.Values[i]/sync[i]))
	}
	return Budget{Title: fmt.Sprintf("Latency: put, 1 client, to %s of fdatasync", micros(sync[1])),
		Etcd: text(0), Cairn: text(1), Got: pair.Values[1] / sync[1], Must: 1.5, Goal: 1.2,
		AtMost: true, Unit: "x"}, true
}

// digits writes a number with about three digits.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// micros writes a time, given in microseconds.
func micros(us float64) string {
	switch {
	case math.IsNaN(us):
		return "-"
	case us >= 1e6:
		return digits(us/1e6) + " s"
	case us >= 1000:
		return digits(us/1000) + " ms"
	}
	return digits(us) + " µs"
}

// text writes a value with its unit.
func (v *Value) text(x float64) string {
	const mib = 1 << 20
	switch {
	case math.IsNaN(x):
		return "-"
	case v.Unit == "bytes":
		return digits(x/mib) + " MiB"
	case v.Unit == "us":
		return micros(x)
	}
	return digits(x) + " " + v.Unit
}
