package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/difftest/compare/costs"
)

var update = flag.Bool("update", false, "rewrite testdata")

// fixture is a run of three rounds with figures that are easy to check.
func fixture() *Run {
	r := &Run{Date: "2026-01-02", Etcd: "3.7.3", Cairn: "0.1.0", Rounds: 3, Minutes: 21.5,
		Pinned: true, KeyBytes: 32, ValueBytes: 256, BigKeys: 2_000_000,
		Machine: Machine{Processors: 2, Model: "Some CPU", Memory: 16 << 30, System: "Linux 6.1",
			FileSystem: "ext4", Go: "go1.26"}}
	cell := func(key, title, per string, etcd, cairn [3]float64) {
		for i := range 3 {
			for server, cpu := range [2]float64{etcd[i], cairn[i]} {
				r.Add(Cell{Key: key, Title: title, Members: 1, Per: per}, server, Measurement{
					Count: 1000, Rate: 1e6 / cpu, P50: 10 * cpu, P99: 30 * cpu, P999: 90 * cpu,
					Max: 100 * cpu, CPU: cpu, Generator: 1.5})
			}
		}
	}
	cell("put-1", "put, 1 client", "put", [3]float64{30, 31, 32}, [3]float64{12, 11, 13})
	cell("put-1000", "put, 1000 clients", "put", [3]float64{50, 60, 55}, [3]float64{5, 5, 10})
	cell("range-1000", "range, 1000 clients", "range", [3]float64{30, 30, 30},
		[3]float64{5, 5, 5})
	cell("watch-100", "watch, 100 watchers", "event", [3]float64{7, 7, 7}, [3]float64{2, 2, 2})
	cell("watch-10000", "watch, 10000 watchers", "event", [3]float64{4, 4, 4},
		[3]float64{0.5, 0.25, 0.2})
	value := func(key, title, unit string, etcd, cairn float64) {
		r.AddValue(Value{Key: key, Title: title, Unit: unit}, 0, etcd)
		r.AddValue(Value{Key: key, Title: title, Unit: unit}, 1, cairn)
	}
	value("fdatasync", "fdatasync", "us", 100, 100)
	value("memory", "memory, large store", "bytes", 2<<30, 1<<30)
	value("restart", "restart of a large store", "s", 8, 3)
	value("pause-backup", "longest put during a backup", "ms", 200, 49)
	value("pause-compaction", "longest put during a compaction", "ms", 200, 51)
	for server := range Servers {
		var groups []costs.Group
		for i := range 14 - 11*server {
			groups = append(groups, costs.Group{Name: strings.Repeat("g", i+1),
				Share: 1 / float64(14-11*server), Most: "f"})
		}
		r.AddCost("put", server, float64(60-50*server), groups)
	}
	return r
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		list []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}} {
		if got := Median(tc.list); got != tc.want {
			t.Errorf("of %v it is %v", tc.list, got)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("nothing has a median")
	}
}

// TestRatios: medians of rounds, and the median of the rounds' ratios, which is another thing.
func TestRatios(t *testing.T) {
	r := fixture()
	p := r.Cell("put-1000").Compare(cpu, false)
	if p.Values != [2]float64{55, 5} || p.Ratio != 10 { // of 10, 12 and 5.5; not 55/5
		t.Errorf("%+v", p)
	}
	if p := r.Cell("put-1000").Compare(rate, true); math.Abs(p.Ratio-10) > 1e-9 {
		t.Errorf("%+v", p)
	}
	if p := r.Value("restart").Compare(); p.Ratio != 8.0/3 {
		t.Errorf("%+v", p)
	}
	// A round of one server that is missing leaves the others.
	c := r.Cell("put-1000")
	c.Rounds[1] = c.Rounds[1][:1]
	if p := c.Compare(cpu, false); p.Ratio != 10 {
		t.Errorf("%+v", p)
	}
}

func TestBudgets(t *testing.T) {
	got := map[string]string{}
	for _, b := range fixture().Budgets() {
		got[b.Title] = b.Result() + " " + b.Verdict()
	}
	want := map[string]string{
		"CPU: put, 1000 clients":                         "10x " + GoalReached,
		"CPU: range, 1000 clients":                       "6x " + Missed,
		"CPU: watch, 10000 watchers":                     "16x " + GoalReached,
		"memory, large store":                            "2x " + GoalReached,
		"restart of a large store":                       "2.67x " + Missed,
		"longest put during a backup":                    "49 ms " + MustReached,
		"longest put during a compaction":                "51 ms " + Missed,
		"Latency: put, 1 client, to 100 µs of fdatasync": "1.20x " + GoalReached,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if v := (Budget{Got: math.NaN(), Must: 1, Goal: 2}).Verdict(); v != Missed {
		t.Errorf("what was not measured is %s", v)
	}
}

func TestTexts(t *testing.T) {
	for us, want := range map[float64]string{0.25: "0.25 µs", 9.876: "9.88 µs", 98.76: "98.8 µs",
		987.6: "988 µs", 1234: "1.23 ms", 2e6: "2 s"} {
		if got := micros(us); got != want {
			t.Errorf("%v us is %q", us, got)
		}
	}
	if micros(math.NaN()) != "-" || digits(math.NaN()) != "-" {
		t.Error("what was not measured has a number")
	}
}

// TestPage compares page, pictures and table with testdata; the run goes through JSON on the way.
func TestPage(t *testing.T) {
	data, err := json.Marshal(fixture())
	if err != nil {
		t.Fatal(err)
	}
	var r Run
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	files, err := r.Page()
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := r.Table(&table); err != nil {
		t.Fatal(err)
	}
	files["table.txt"] = table.Bytes()
	if len(files) != 6 {
		t.Errorf("%d files", len(files))
	}
	for name, got := range files {
		path := filepath.Join("testdata", filepath.Base(name))
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs (rewrite it by -update):\n%s", path, got)
		}
	}
}

// TestPart makes a page of a run that has measured one thing alone, and of one that has nothing.
func TestPart(t *testing.T) {
	r := fixture()
	r.Cells, r.Values, r.Costs = r.Cells[:1], nil, nil
	for _, part := range []*Run{r, {}} {
		files, err := part.Page()
		if err != nil {
			t.Fatal(err)
		}
		page := string(files["performance.md"])
		for name := range files {
			if strings.HasSuffix(name, ".svg") && !strings.Contains(page, "("+name+")") {
				t.Errorf("%s is not on the page", name)
			}
		}
		if strings.Count(page, ".svg)") != len(files)-1 || strings.Contains(page, "NaN") {
			t.Errorf("%d files:\n%s", len(files), page)
		}
		if err := part.Table(&bytes.Buffer{}); err != nil {
			t.Error(err)
		}
	}
}
