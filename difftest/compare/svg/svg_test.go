package svg

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata")

var names = [2]string{"etcd", "Cairn"}

var nan = math.NaN()

// drawings are one of each kind, with what could break it: characters that XML does not take,
// values that were not measured, nothing at all.
var drawings = map[string][]byte{
	"pairs": Pairs(`Costs & "more"`, names, []Pair{
		{Label: "put <1>", Values: [2]float64{50, 5}, Texts: [2]string{"50 µs", "5 µs"},
			Note: "10x"},
		{Label: "list", Values: [2]float64{1000, 2000}, Texts: [2]string{"1 ms", "2 ms"},
			Note: "0.5x"},
		{Label: "not measured", Values: [2]float64{nan, -1}, Texts: [2]string{"-", "-"}},
	}),
	"groups": Groups("Latency", "ms", names, []Group{
		{Label: "put", Bars: []Duo{{"p50", [2]float64{1, 0.5}}, {"p99", [2]float64{90, nan}}}},
		{Label: "range", Bars: []Duo{{"p50", [2]float64{0.03, 0}}}},
	}),
	"lines": Lines("Fan-out", "watchers", "µs", names, []float64{100, 1000, 10_000},
		[2][]float64{{7, 4, 3.5}, {5, 1, 0.3}}),
	"nothing": Groups("Nothing", "ms", names, nil),
	"flat":    Lines("Flat", "watchers", "µs", names, []float64{5}, [2][]float64{{1}, {0}}),
}

func TestDrawings(t *testing.T) {
	for name, got := range drawings {
		path := filepath.Join("testdata", name+".svg")
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
			t.Errorf("%s differs from %s (rewrite it by -update)", name, path)
		}
		check(t, name, got)
	}
}

// check reads a drawing: it must be XML, and everything in it must lie within its borders.
func check(t *testing.T, name string, drawing []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(drawing))
	var height float64
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		at := map[string]float64{}
		class := ""
		for _, a := range e.Attr {
			if v, err := strconv.ParseFloat(a.Value, 64); err == nil {
				at[a.Name.Local] = v
			}
			if a.Name.Local == "class" {
				class = a.Value
			}
		}
		if e.Name.Local == "svg" {
			height = at["height"]
			continue
		}
		for _, key := range []string{"x", "x1", "x2", "cx", "y", "y1", "y2", "cy"} {
			limit := float64(Width)
			if strings.Contains(key, "y") {
				limit = height
			}
			if v, ok := at[key]; ok && !(v >= 0 && v <= limit) {
				t.Errorf("%s: %s of %s is %v", name, key, e.Name.Local, v)
			}
		}
		if right := at["x"] + at["width"]; e.Name.Local == "rect" && !(right <= Width) {
			t.Errorf("%s: a bar ends at %v", name, right)
		}
		if e.Name.Local == "text" {
			text, err := d.Token()
			if err != nil {
				t.Fatal(err)
			}
			chars, _ := text.(xml.CharData) // nothing is no CharData
			w := wide(string(chars), textSize)
			left := at["x"]
			switch {
			case strings.Contains(class, "e"):
				left -= w
			case strings.Contains(class, "m"):
				left -= w / 2
			}
			if left < -1 || left+w > Width+w/4 {
				t.Errorf("%s: the text %q reaches from %v to %v", name, text, left, left+w)
			}
		}
	}
}

// TestLengths holds the bars of a pair against their values.
func TestLengths(t *testing.T) {
	drawing := string(Pairs("t", names, []Pair{{Label: "a", Values: [2]float64{80, 20}}}))
	var lengths []float64
	for line := range strings.SplitSeq(drawing, "\n") {
		if strings.Contains(line, `height="14"`) {
			_, rest, _ := strings.Cut(line, `width="`)
			v, _, _ := strings.Cut(rest, `"`)
			n, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatal(err)
			}
			lengths = append(lengths, n)
		}
	}
	if len(lengths) != 2 || math.Abs(lengths[0]-4*lengths[1]) > 0.5 || lengths[0] < Width/2 {
		t.Errorf("bars of 80 and 20 are %v long", lengths)
	}
}

func TestNice(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 0.7: 1, 1: 1, 1.1: 2, 2.2: 2.5, 3: 5, 7: 10,
		0.013: 0.02, 1234: 2000, math.Inf(1): 1} {
		if got := nice(v); math.Abs(got-want) > want*1e-9 {
			t.Errorf("nice(%v) = %v, want %v", v, got, want)
		}
	}
}
