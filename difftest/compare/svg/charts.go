package svg

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// Pair is a row of Pairs.
type Pair struct {
	Label  string
	Values [2]float64 // of the same unit; negative or not a number: not measured
	Texts  [2]string  // the values as text, with their unit
	Note   string     // at the end of the row: the ratio
}

// Pairs draws rows of two bars. Each row has its own scale: its longer bar has the full length, so
// that rows of different units stand below each other and shares are compared.
func Pairs(title string, names [2]string, rows []Pair) []byte {
	const (
		rowHeight, barHeight = 46, 14
		textSpace            = 96 // behind a bar, for its value
	)
	labels, notes := 0.0, 0.0
	for _, r := range rows {
		labels = max(labels, wide(r.Label, textSize))
		notes = max(notes, wide(r.Note, textSize))
	}
	left := margin + labels + 12
	full := Width - margin - notes - 12 - textSpace - left
	c := &canvas{height: titleSpace + rowHeight*len(rows) + margin}
	c.head(title, names[:])
	for i, r := range rows {
		y := float64(titleSpace + rowHeight*i)
		c.text(left-12, y+barHeight+textSize*0.6, "e", r.Label)
		most := math.Max(valid(r.Values[0]), valid(r.Values[1]))
		for j, v := range r.Values {
			top := y + 4 + float64(j)*(barHeight+2)
			length := 0.0
			if most > 0 {
				length = full * valid(v) / most
			}
			c.rect(left, top, length, barHeight, "s"+strconv.Itoa(j))
			c.text(left+length+6, top+barHeight-3, "d", r.Texts[j])
		}
		c.text(Width-margin, y+barHeight+textSize*0.6, "e", r.Note)
	}
	return c.finish(title)
}

// valid makes a length of a value.
func valid(v float64) float64 {
	if v > 0 && !math.IsInf(v, 1) {
		return v
	}
	return 0
}

// Group is a group of bars in Groups.
type Group struct {
	Label string
	Bars  []Duo
}

// Duo is what both have of one bar.
type Duo struct {
	Label  string
	Values [2]float64
}

// Groups draws groups of pairs of bars, upright, on one logarithmic scale. Values must be positive;
// others have no bar.
func Groups(title, unit string, names [2]string, groups []Group) []byte {
	const plotHeight, barWidth, duoGap, groupGap = 240, 16, 10, 28
	c := &canvas{height: titleSpace + 20 + plotHeight + 52}
	c.head(title, names[:])
	low, high := decades(groups)
	top, bottom := float64(titleSpace+20), float64(titleSpace+20+plotHeight)
	at := func(v float64) float64 {
		return bottom - (math.Log10(v)-low)/(high-low)*plotHeight
	}
	c.text(margin, top-8, "s d", unit)
	left := float64(margin + 44)
	for d := low; d <= high; d++ {
		y := at(math.Pow(10, d))
		c.line(left, y, Width-margin, y, "g")
		c.text(left-6, y+4, "s d e", strconv.FormatFloat(math.Pow(10, d), 'g', -1, 64))
	}
	duos := 0
	for _, g := range groups {
		duos += len(g.Bars)
	}
	used := float64(duos*(2*barWidth+duoGap) + (len(groups)-1)*groupGap)
	scale := min(1, (Width-margin-left-groupGap)/used)
	x := left + groupGap/2
	for _, g := range groups {
		begin := x
		for _, d := range g.Bars {
			for j, v := range d.Values {
				if valid(v) > 0 {
					c.rect(x, at(v), barWidth*scale, bottom-at(v), "s"+strconv.Itoa(j))
				}
				x += barWidth * scale
			}
			c.text(x-barWidth*scale, bottom+14, "s d m", d.Label)
			x += duoGap * scale
		}
		c.text((begin+x-duoGap*scale)/2, bottom+34, "m", g.Label)
		x += groupGap * scale
	}
	return c.finish(title)
}

// decades returns the powers of ten around all values.
func decades(groups []Group) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, g := range groups {
		for _, d := range g.Bars {
			for _, v := range d.Values {
				if valid(v) > 0 {
					low, high = math.Min(low, math.Log10(v)), math.Max(high, math.Log10(v))
				}
			}
		}
	}
	if low > high {
		return 0, 1
	}
	low, high = math.Floor(low), math.Ceil(high)
	if low == high {
		high++
	}
	return low, high
}

// Lines draws two curves through points with the same places on the horizontal, logarithmic axis.
func Lines(title, across, up string, names [2]string, x []float64, y [2][]float64) []byte {
	const plotHeight, steps = 240, 4
	c := &canvas{height: titleSpace + 20 + plotHeight + 52}
	c.head(title, names[:])
	top, bottom := float64(titleSpace+20), float64(titleSpace+20+plotHeight)
	left, right := float64(margin+44), float64(Width-margin-24)
	most := 0.0
	for _, curve := range y {
		for _, v := range curve {
			most = math.Max(most, valid(v))
		}
	}
	step := nice(most / steps)
	most = step * steps
	c.text(margin, top-8, "s d", up)
	for i := range steps + 1 {
		v := step * float64(i)
		at := bottom - v/most*plotHeight
		c.line(left, at, Width-margin, at, "g")
		c.text(left-6, at+4, "s d e", strconv.FormatFloat(v, 'g', 3, 64))
	}
	place := func(v float64) float64 {
		first, last := math.Log10(x[0]), math.Log10(x[len(x)-1])
		if first == last {
			return (left + right) / 2
		}
		return left + 24 + (math.Log10(v)-first)/(last-first)*(right-left-24)
	}
	for i, v := range x {
		c.text(place(v), bottom+16, "s d m", strconv.FormatFloat(v, 'f', -1, 64))
		for j := range y {
			if i < len(y[j]) {
				c.text(place(v), bottom-y[j][i]/most*plotHeight-8, "s m",
					strconv.FormatFloat(y[j][i], 'g', 3, 64))
			}
		}
	}
	c.text((left+right)/2, bottom+36, "d m", across)
	for j := range y {
		var points bytes.Buffer
		for i, v := range y[j] {
			px, py := round(place(x[i])), round(bottom-v/most*plotHeight)
			fmt.Fprintf(&points, "%s,%s ", number(px), number(py))
			fmt.Fprintf(&c.body, `<circle cx="%s" cy="%s" r="4" class="s%d"/>`+"\n", number(px),
				number(py), j)
		}
		fmt.Fprintf(&c.body, `<polyline points="%s" class="l l%d"/>`+"\n",
			bytes.TrimSpace(points.Bytes()), j)
	}
	return c.finish(title)
}

// nice rounds up to 1, 2, 2.5 or 5 times a power of ten.
func nice(v float64) float64 {
	if v <= 0 || math.IsInf(v, 1) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 2.5, 5} {
		if v <= f*power*(1+1e-9) {
			return f * power
		}
	}
	return 10 * power
}
