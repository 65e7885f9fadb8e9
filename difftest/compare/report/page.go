package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"text/template"

	"github.com/cairnkv/cairn/difftest/compare/costs"
	"github.com/cairnkv/cairn/difftest/compare/svg"
)

// topGroups is how many groups of costs are shown; the rest is one line.
const topGroups = 10

//go:embed page.md.tmpl
var pageText string

// Pictures is the directory of the pictures, beside the page.
const Pictures = "performance"

// Page makes the page and its pictures: names of files, relative to the page's directory, and what
// is in them.
func (r *Run) Page() (map[string][]byte, error) {
	t, err := template.New("page").Funcs(template.FuncMap{
		"digits": digits, "micros": micros,
		"percent": func(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) },
		"gib":     func(n int64) string { return digits(float64(n) / (1 << 30)) },
		"mul":     func(a, b float64) float64 { return a * b },
	}).Parse(pageText)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	if err := t.Execute(&page, r); err != nil {
		return nil, err
	}
	files := map[string][]byte{"performance.md": page.Bytes()}
	for name, picture := range r.pictures() {
		files[Pictures+"/"+name+".svg"] = picture
	}
	return files, nil
}

// Has tells whether there is a picture of this name.
func (r *Run) Has(picture string) bool { return r.pictures()[picture] != nil }

// Row is a line of the page's tables: texts of both servers, and how many times better Cairn is.
type Row struct {
	Title, Figure string
	Texts         [2]string
	Ratio         string
}

// Loads are the cells as lines, one for each figure.
func (r *Run) Loads() []Row {
	var out []Row
	for i := range r.Cells {
		c := &r.Cells[i]
		add := func(figure string, p Pair, text func(float64) string) {
			title := ""
			if figure == "rate" {
				title = c.Title
			}
			out = append(out, Row{title, figure, [2]string{text(p.Values[0]), text(p.Values[1])},
				digits(p.Ratio)})
		}
		add("rate", c.Compare(rate, true), func(v float64) string { return digits(v) + "/s" })
		add("p50", c.Compare(p50, false), micros)
		add("p99", c.Compare(p99, false), micros)
		add("p99.9", c.Compare(p999, false), micros)
		add("server CPU per "+c.Per, c.Compare(cpu, false), micros)
	}
	return out
}

// Figures are the values as lines.
func (r *Run) Figures() []Row {
	var out []Row
	for i := range r.Values {
		v := &r.Values[i]
		p := v.Compare()
		out = append(out, Row{v.Title, "", [2]string{v.text(p.Values[0]), v.text(p.Values[1])},
			digits(p.Ratio)})
	}
	return out
}

// Server is one server's share of a Cost.
type Server struct {
	Name   string
	CPU    float64
	Groups []costs.Group
}

// Servers splits a Cost.
func (c Cost) Servers() []Server {
	var out []Server
	for i, name := range Servers {
		out = append(out, Server{name, c.CPU[i], c.top(i)})
	}
	return out
}

// top returns the largest groups of a server, and one for all others.
func (c Cost) top(server int) []costs.Group {
	groups := c.Groups[server]
	if len(groups) <= topGroups {
		return groups
	}
	rest := costs.Group{Name: "all else"}
	for _, g := range groups[topGroups:] {
		rest.Share += g.Share
	}
	return append(groups[:topGroups:topGroups], rest)
}

// pictures draws everything for which there are figures.
func (r *Run) pictures() map[string][]byte {
	out := map[string][]byte{}
	if rows := r.cpuRows(); len(rows) > 0 {
		out["cpu"] = svg.Pairs("Server CPU per request", Servers, rows)
	}
	if groups := r.latencyGroups(); len(groups) > 0 {
		out["latency"] = svg.Groups("Latency", "ms, logarithmic", Servers, groups)
	}
	if x, y := r.fanOut(); len(x) > 1 {
		out["fanout"] = svg.Lines("Watch fan-out: server CPU per event and watcher",
			"watchers of one key", "µs", Servers, x, y)
	}
	if rows := r.figureRows(); len(rows) > 0 {
		out["store"] = svg.Pairs("A large store", Servers, rows)
	}
	return out
}

func (r *Run) cpuRows() []svg.Pair {
	var rows []svg.Pair
	for i := range r.Cells {
		c := &r.Cells[i]
		p := c.Compare(cpu, false)
		rows = append(rows, svg.Pair{Label: c.Title, Values: p.Values,
			Texts: [2]string{micros(p.Values[0]), micros(p.Values[1])}, Note: times(p.Ratio)})
	}
	return rows
}

func times(ratio float64) string {
	if math.IsNaN(ratio) {
		return ""
	}
	return digits(ratio) + "x"
}

// latencyCells are the loads whose latencies are drawn, with short names.
var latencyCells = []struct{ key, label string }{
	{"put-1", "put, 1 client"}, {"put-100", "put, 100"}, {"put-1000", "put, 1000"},
	{"range-100", "range, 100"}, {"put3-100", "3 members, put, 100"},
}

func (r *Run) latencyGroups() []svg.Group {
	const usPerMs = 1000
	var out []svg.Group
	for _, l := range latencyCells {
		c := r.Cell(l.key)
		if c == nil {
			continue
		}
		g := svg.Group{Label: l.label}
		for _, f := range []struct {
			name   string
			figure func(Measurement) float64
		}{{"p50", p50}, {"p99", p99}, {"p99.9", p999}} {
			v := c.Compare(f.figure, false).Values
			g.Bars = append(g.Bars, svg.Duo{Label: f.name,
				Values: [2]float64{v[0] / usPerMs, v[1] / usPerMs}})
		}
		out = append(out, g)
	}
	return out
}

// WatchPrefix begins the keys of cells with watchers; their number follows.
const WatchPrefix = "watch-"

func (r *Run) fanOut() (x []float64, y [2][]float64) {
	for i := range r.Cells {
		c := &r.Cells[i]
		var watchers float64
		if _, err := fmt.Sscanf(c.Key, WatchPrefix+"%f", &watchers); err != nil {
			continue
		}
		p := c.Compare(cpu, false)
		x = append(x, watchers)
		y[0], y[1] = append(y[0], p.Values[0]), append(y[1], p.Values[1])
	}
	return x, y
}

// storeValues are the values of the picture of the large store.
var storeValues = []string{"memory", "private", "disk", "restart", "restart-killed",
	"pause-compaction", "pause-checkpoint", "pause-backup"}

func (r *Run) figureRows() []svg.Pair {
	var rows []svg.Pair
	for _, key := range storeValues {
		v := r.Value(key)
		if v == nil {
			continue
		}
		p := v.Compare()
		rows = append(rows, svg.Pair{Label: v.Title, Values: p.Values,
			Texts: [2]string{v.text(p.Values[0]), v.text(p.Values[1])}, Note: times(p.Ratio)})
	}
	return rows
}
