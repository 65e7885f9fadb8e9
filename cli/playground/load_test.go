package playground

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMeter holds the meter's figures against those of a list of writes, worked out by hand.
func TestMeter(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	m := meter{last: begin}
	if got := m.read(at(900)); got.stalled != 900*time.Millisecond || got.longest != 0 {
		t.Errorf("before the first write: %+v", got)
	}
	m.wrote(at(0), at(1000)) // the start of the cluster is no pause
	m.wrote(at(1080), at(1100))
	m.wrote(at(1100), at(1499)) // just below what is reported
	got := m.read(at(1600))
	want := measured{writes: 3, latency: 473 * time.Millisecond, longest: 399 * time.Millisecond}
	if got.writes != want.writes || got.latency != want.latency || got.longest != want.longest ||
		got.stalled != 0 || len(got.outages) != 0 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := m.read(at(2000)); got.stalled != 501*time.Millisecond ||
		got.longest != got.stalled || got.writes != 0 {
		t.Errorf("in a pause: %+v", got)
	}
	m.wrote(at(1600), at(2499))
	got = m.read(at(2500))
	if !slices.Equal(got.outages, []time.Duration{time.Second}) || got.longest != time.Second {
		t.Errorf("after a pause: %+v", got)
	}
	if got = m.read(at(2600)); len(got.outages) != 0 || got.longest != time.Second {
		t.Errorf("a pause is told once: %+v", got)
	}
}

// TestMetrics reads figures out of the text that a member serves.
func TestMetrics(t *testing.T) {
	text := "# HELP keys_total The keys.\n# TYPE keys_total gauge\nkeys_total 12\n" +
		"watcher_total{kind=\"x\"} 7\nwatcher_total 1.5e+06\nother 3\n"
	got := metrics(strings.NewReader(text), "keys_total", "watcher_total", "none")
	if !slices.Equal(got, []int64{12, 1_500_000, 0}) {
		t.Errorf("got %v", got)
	}
}
