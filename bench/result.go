package bench

import (
	"encoding/json"
	"time"
)

// Result is what a run has measured. Its JSON form is stable: fields are added, never changed.
type Result struct {
	Verb      string   `json:"verb"`
	Endpoints []string `json:"endpoints"`
	Conns     int      `json:"conns"`
	Clients   int      `json:"clients"`
	Seed      uint64   `json:"seed"`

	// Seconds is how long was measured: the time from the first operation (or the end of the
	// warm-up) to the last one that counts.
	Seconds float64 `json:"seconds"`
	// Wanted is Options.Rate, Reached how many operations of clients have ended in a second.
	Wanted  float64 `json:"wanted_rate,omitempty"`
	Reached float64 `json:"reached_rate"`

	// Generator is the processor time of this process while it was measured, Servers that of
	// Options.ServerPIDs in their order.
	Generator float64   `json:"generator_cpu_seconds"`
	Servers   []float64 `json:"server_cpu_seconds,omitempty"`

	// BytesOut and BytesIn are what was sent and received, from the connections' beginning on.
	BytesOut int64 `json:"bytes_out"`
	BytesIn  int64 `json:"bytes_in"`

	// Series are the kinds of operations, the one that matters most first.
	Series []Series `json:"series"`
}

// Series is what was measured of one kind of operation.
type Series struct {
	Name string
	// Seconds is how long such operations were made.
	Seconds float64
	// Errors counts operations that failed, by what the servers said.
	Errors map[string]int64
	// Latency has the operations that did not fail.
	Latency *Histogram
}

// Rate is how many operations that did not fail there were in a second.
func (s *Series) Rate() float64 {
	if s.Seconds <= 0 {
		return 0
	}
	return float64(s.Latency.Count()) / s.Seconds
}

// Failed is how many operations failed.
func (s *Series) Failed() (n int64) {
	for _, count := range s.Errors {
		n += count
	}
	return n
}

// bars is how many bars the histogram has in JSON.
const bars = 20

// seriesJSON is the form of a Series in JSON. Times are microseconds.
type seriesJSON struct {
	Name      string           `json:"name"`
	Seconds   float64          `json:"seconds"`
	Count     uint64           `json:"count"`
	Rate      float64          `json:"rate"`
	Failed    int64            `json:"failed"`
	Errors    map[string]int64 `json:"errors,omitempty"`
	Latency   latencyJSON      `json:"latency_us"`
	Histogram []barJSON        `json:"histogram,omitempty"`
}

type latencyJSON struct {
	Mean      float64 `json:"mean"`
	Deviation float64 `json:"stddev"`
	Min       float64 `json:"min"`
	P50       float64 `json:"p50"`
	P90       float64 `json:"p90"`
	P95       float64 `json:"p95"`
	P99       float64 `json:"p99"`
	P999      float64 `json:"p99.9"`
	Max       float64 `json:"max"`
}

type barJSON struct {
	Upto  float64 `json:"upto_us"`
	Count uint64  `json:"count"`
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (s Series) MarshalJSON() ([]byte, error) {
	h := s.Latency
	out := seriesJSON{
		Name: s.Name, Seconds: s.Seconds, Count: h.Count(), Rate: s.Rate(), Failed: s.Failed(),
		Errors: s.Errors,
		Latency: latencyJSON{us(h.Mean()), us(h.Deviation()), us(h.Min()), us(h.Percentile(0.5)),
			us(h.Percentile(0.9)), us(h.Percentile(0.95)), us(h.Percentile(0.99)),
			us(h.Percentile(0.999)), us(h.Max())},
	}
	for _, b := range h.Bars(bars) {
		out.Histogram = append(out.Histogram, barJSON{us(b.Upto), b.Count})
	}
	return json.Marshal(out)
}
