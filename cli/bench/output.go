package bench

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	load "github.com/cairnkv/cairn/bench"
	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// output returns the function for --write-out.
func (a *app) output() (func(io.Writer, *load.Result) error, error) {
	switch a.flags.writeOut {
	case "human":
		return a.human, nil
	case "json":
		return writeJSON, nil
	case "csv":
		return writeCSV, nil
	}
	return nil, terminal.Failf(terminal.ExitBadFeature,
		"--write-out=%s: human, json and csv are possible", a.flags.writeOut)
}

func writeJSON(w io.Writer, r *load.Result) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

var csvHeader = []string{"verb", "series", "conns", "clients", "seconds", "count", "failed", "rate",
	"mean_us", "stddev_us", "min_us", "p50_us", "p90_us", "p95_us", "p99_us", "p99.9_us", "max_us",
	"generator_cpu_us", "server_cpu_us"}

func writeCSV(w io.Writer, r *load.Result) error {
	out := csv.NewWriter(w)
	rows := [][]string{csvHeader}
	us := func(d time.Duration) string {
		return strconv.FormatFloat(float64(d)/float64(time.Microsecond), 'f', 3, 64)
	}
	for i := range r.Series {
		s := &r.Series[i]
		h := s.Latency
		row := []string{r.Verb, s.Name, strconv.Itoa(r.Conns), strconv.Itoa(r.Clients),
			strconv.FormatFloat(s.Seconds, 'f', 6, 64), strconv.FormatUint(h.Count(), 10),
			strconv.FormatInt(s.Failed(), 10), strconv.FormatFloat(s.Rate(), 'f', 3, 64),
			us(h.Mean()), us(h.Deviation()), us(h.Min())}
		for _, share := range []float64{0.5, 0.9, 0.95, 0.99, 0.999} {
			row = append(row, us(h.Percentile(share)))
		}
		row = append(row, us(h.Max()), us(r.GeneratorPerOperation()))
		if len(r.Servers) > 0 {
			row = append(row, us(r.ServersPerOperation()))
		} else {
			row = append(row, "")
		}
		rows = append(rows, row)
	}
	if err := out.WriteAll(rows); err != nil {
		return err
	}
	return out.Error()
}

const (
	// histogramBars is how many bars are drawn, histogramWidth how long the longest is.
	histogramBars  = 10
	histogramWidth = 40
	// reachedShare is which share of the wanted rate has to be reached.
	reachedShare = 0.95
	// shownErrors is how many kinds of errors are shown.
	shownErrors = 10
)

// human writes the result for people, much as etcd's benchmark does.
func (a *app) human(w io.Writer, r *load.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d connections, %d clients, seed %d\n", r.Verb, r.Conns, r.Clients, r.Seed)
	for i := range r.Series {
		if s := &r.Series[i]; s.Latency.Count() > 0 || s.Failed() > 0 || i == 0 {
			a.series(&b, s)
		}
	}
	b.WriteString("\nCPU:\n")
	fmt.Fprintf(&b, "  Generator:\t%s us per operation.\n", a.us(r.GeneratorPerOperation()))
	if len(r.Servers) > 0 {
		fmt.Fprintf(&b, "  Servers:\t%s us per operation.\n", a.us(r.ServersPerOperation()))
	}
	if r.Reached < reachedShare*r.Wanted {
		fmt.Fprintf(&b, "\n%s operations per second were wanted, %s reached: latencies contain "+
			"the wait.\n", a.number(r.Wanted), a.number(r.Reached))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// series writes one kind of operation.
func (a *app) series(b *strings.Builder, s *load.Series) {
	h := s.Latency
	fmt.Fprintf(b, "\n%s, summary:\n", s.Name)
	fmt.Fprintf(b, "  Total:\t%s s, %d operations.\n", a.number(s.Seconds), h.Count())
	fmt.Fprintf(b, "  Rate:\t\t%s per second.\n", a.number(s.Rate()))
	for _, line := range []struct {
		name  string
		value time.Duration
	}{
		{"Fastest", h.Min()}, {"Average", h.Mean()}, {"Slowest", h.Max()},
		{"Stddev", h.Deviation()},
	} {
		fmt.Fprintf(b, "  %s:\t%s ms.\n", line.name, a.ms(line.value))
	}
	if h.Count() > 0 {
		a.histogram(b, h)
		b.WriteString("\n  Latency distribution:\n")
		for _, share := range []float64{50, 90, 95, 99, 99.9} {
			fmt.Fprintf(b, "    %v%% in %s ms.\n", share, a.ms(h.Percentile(share/100)))
		}
	}
	if kinds := s.ErrorsByCount(); len(kinds) > 0 {
		fmt.Fprintf(b, "\n  Errors: %d\n", s.Failed())
		for i, what := range kinds {
			if i == shownErrors {
				fmt.Fprintf(b, "    and %d other kinds\n", len(kinds)-i)
				break
			}
			fmt.Fprintf(b, "    [%d]\t%s\n", s.Errors[what], what)
		}
	}
}

// histogram draws bars.
func (a *app) histogram(b *strings.Builder, h *load.Histogram) {
	bars := h.Bars(histogramBars)
	var most uint64
	for _, bar := range bars {
		most = max(most, bar.Count)
	}
	b.WriteString("\n  Response time histogram (ms):\n")
	for _, bar := range bars {
		n := int(bar.Count * histogramWidth / most)
		line := fmt.Sprintf("    up to %s [%d]\t|%s", a.ms(bar.Upto), bar.Count,
			strings.Repeat("#", n))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// ms and us are times as text, with few digits or all.
func (a *app) ms(d time.Duration) string {
	return a.number(float64(d) / float64(time.Millisecond))
}

func (a *app) us(d time.Duration) string {
	return a.number(float64(d) / float64(time.Microsecond))
}

// number has four digits that matter, or all with --precise.
func (a *app) number(v float64) string {
	if a.flags.precise {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	switch {
	case v >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}
