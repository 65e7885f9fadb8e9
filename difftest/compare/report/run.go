// Package report holds what a comparison has measured, and makes of it the table on the terminal
// and the page with its pictures. It measures nothing: everything follows from a Run, which is kept
// as JSON beside the page, so that the page can be drawn again.
//
// # Arithmetic
//
// Both servers are measured in turn, in rounds. A figure of one server is the median of its rounds;
// a ratio is the median of the rounds' ratios, so that what slows down the machine for a while
// slows down both sides of a ratio. A ratio says how many times better Cairn is: above 1 it is
// better, whether more (a rate) or less (a time, memory) is better.
package report

import (
	"math"
	"slices"

	"github.com/cairnkv/cairn/difftest/compare/costs"
)

// Servers are what is compared, in this order everywhere.
var Servers = [2]string{"etcd", "Cairn"}

// Run is one comparison.
type Run struct {
	Date    string  `json:"date"` // of the run's beginning, without the time
	Machine Machine `json:"machine"`
	// Etcd and Cairn are versions.
	Etcd    string  `json:"etcd"`
	Cairn   string  `json:"cairn"`
	Rounds  int     `json:"rounds"`
	Minutes float64 `json:"minutes"`
	// Pinned tells whether servers and generator had a processor each.
	Pinned bool `json:"pinned"`
	// Quick is a run with small numbers, good for nothing but trying the program.
	Quick bool `json:"quick,omitempty"`

	// Keys and values of all loads, in bytes.
	KeyBytes   int `json:"key_bytes"`
	ValueBytes int `json:"value_bytes"`
	// BigKeys is how many keys the large store has.
	BigKeys int `json:"big_keys"`

	Cells  []Cell  `json:"cells"`
	Values []Value `json:"values"`
	Costs  []Cost  `json:"costs"`
}

// Machine is what was measured on.
type Machine struct {
	Processors int    `json:"processors"`
	Model      string `json:"model"`
	Memory     int64  `json:"memory_bytes"`
	System     string `json:"system"`     // kernel and its version
	FileSystem string `json:"filesystem"` // of the data directories
	Go         string `json:"go"`
}

// Cell is one load, and what was measured of it in each round.
type Cell struct {
	Key     string           `json:"key"`   // for the code: "put-1000"
	Title   string           `json:"title"` // for people
	Members int              `json:"members"`
	Per     string           `json:"per"` // what one operation is: "put", "event and watcher"
	Rounds  [2][]Measurement `json:"rounds"`
}

// Measurement is a load in one round. Times are microseconds.
type Measurement struct {
	Count     int64   `json:"count"`
	Failed    int64   `json:"failed,omitempty"`
	Rate      float64 `json:"rate"` // per second
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	P999      float64 `json:"p99.9_us"`
	Max       float64 `json:"max_us"`
	CPU       float64 `json:"server_cpu_us"` // of all members, for an operation
	Generator float64 `json:"generator_cpu_us"`
}

// Value is a figure that is no load: memory, a time.
type Value struct {
	Key    string       `json:"key"`
	Title  string       `json:"title"`
	Unit   string       `json:"unit"` // "bytes", "s", "ms", "us"
	Rounds [2][]float64 `json:"rounds"`
}

// Cost is what processor time is spent on under one load.
type Cost struct {
	Load   string           `json:"load"`
	CPU    [2]float64       `json:"server_cpu_us"` // for a request
	Groups [2][]costs.Group `json:"groups"`
}

// Cell returns the cell with a key; nil if it was not measured.
func (r *Run) Cell(key string) *Cell {
	i := slices.IndexFunc(r.Cells, func(c Cell) bool { return c.Key == key })
	if i < 0 {
		return nil
	}
	return &r.Cells[i]
}

// Value returns the value with a key; nil if it was not measured.
func (r *Run) Value(key string) *Value {
	i := slices.IndexFunc(r.Values, func(v Value) bool { return v.Key == key })
	if i < 0 {
		return nil
	}
	return &r.Values[i]
}

// Add adds a measurement of one of the servers to a cell, which it makes if need be.
func (r *Run) Add(like Cell, server int, m Measurement) {
	c := r.Cell(like.Key)
	if c == nil {
		like.Rounds = [2][]Measurement{}
		r.Cells = append(r.Cells, like)
		c = &r.Cells[len(r.Cells)-1]
	}
	c.Rounds[server] = append(c.Rounds[server], m)
}

// AddValue does the same for a value.
func (r *Run) AddValue(like Value, server int, x float64) {
	v := r.Value(like.Key)
	if v == nil {
		like.Rounds = [2][]float64{}
		r.Values = append(r.Values, like)
		v = &r.Values[len(r.Values)-1]
	}
	v.Rounds[server] = append(v.Rounds[server], x)
}

// AddCost adds what one server's processor time is spent on under a load.
func (r *Run) AddCost(load string, server int, cpu float64, groups []costs.Group) {
	i := slices.IndexFunc(r.Costs, func(c Cost) bool { return c.Load == load })
	if i < 0 {
		i = len(r.Costs)
		r.Costs = append(r.Costs, Cost{Load: load})
	}
	r.Costs[i].CPU[server], r.Costs[i].Groups[server] = cpu, groups
}

// Median returns the middle of some numbers, the mean of both if there are two; NaN of none.
func Median(list []float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(list))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Pair is a figure of both servers, and how many times better Cairn's is.
type Pair struct {
	Values [2]float64
	Ratio  float64
}

// compare makes a Pair of the rounds of both. more says that more is better.
func compare(rounds [2][]float64, more bool) Pair {
	p := Pair{Values: [2]float64{Median(rounds[0]), Median(rounds[1])}}
	var ratios []float64
	for i := range min(len(rounds[0]), len(rounds[1])) {
		ratio := rounds[0][i] / rounds[1][i]
		if more {
			ratio = 1 / ratio
		}
		ratios = append(ratios, ratio)
	}
	p.Ratio = Median(ratios)
	return p
}

// Compare returns one figure of a cell.
func (c *Cell) Compare(figure func(Measurement) float64, more bool) Pair {
	var rounds [2][]float64
	for i := range rounds {
		for _, m := range c.Rounds[i] {
			rounds[i] = append(rounds[i], figure(m))
		}
	}
	return compare(rounds, more)
}

// Figures of a cell.
func rate(m Measurement) float64 { return m.Rate }
func p50(m Measurement) float64  { return m.P50 }
func p99(m Measurement) float64  { return m.P99 }
func p999(m Measurement) float64 { return m.P999 }
func cpu(m Measurement) float64  { return m.CPU }

// Compare returns the figure; less is better.
func (v *Value) Compare() Pair { return compare(v.Rounds, false) }
