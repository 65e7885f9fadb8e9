package simulate

import (
	"fmt"
	"html"
	"io"
	"strings"
	"time"

	"github.com/cairnkv/cairn/sim"
)

// Measures of the picture, in pixels.
const (
	left, right          = 44, 14
	wide                 = 1400 // of the part that shows time
	lane, gap            = 30, 12
	marksHigh, loadsHigh = 26, 46
	loadEvery            = 250 * time.Millisecond // a bar of requests
	narrow               = 26                     // what is narrower has no text
	nameWide             = 56                     // of a phase
)

// states are the names and classes of what members look like.
var states = map[sim.State]struct{ class, name string }{
	sim.Down:      {"down", "no process"},
	sim.Starting:  {"start", "starting"},
	sim.Paused:    {"pause", "paused"},
	sim.Searching: {"search", "knows no leader"},
	sim.Learning:  {"learn", "learner"},
	sim.Following: {"follow", "follower"},
	sim.Leading:   {"lead", "leader"},
}

const style = `
:root{color-scheme:light dark;--bg:#fff;--fg:#1f2328;--dim:#59636e;--line:#d1d9e0;--follow:#b6d0ee;
--lead:#1f6feb;--learn:#d2c2ee;--search:#f2cc60;--pause:#9aa4af;--start:#dfe5ea;--rev:#0b3d91;
--bad:#d1242f;--good:#57ab5a}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#f0f6fc;--dim:#9aa4af;--line:#3d444d;
--follow:#274b75;--learn:#4d3b73;--search:#9e7a16;--pause:#59636e;--start:#262c34;--rev:#c6dcff}}
body{background:var(--bg);color:var(--fg);font:14px/1.45 system-ui,sans-serif;margin:20px}
svg{display:block;margin:12px 0}text{font:12px system-ui,sans-serif;fill:var(--fg)}
.dim,.dim text{color:var(--dim);fill:var(--dim)}.axis{stroke:var(--line)}.follow{fill:var(--follow)}
.lead{fill:var(--lead)}text.on{fill:#fff}.learn{fill:var(--learn)}.search{fill:var(--search)}
.pause{fill:var(--pause)}.start{fill:var(--start)}.down{fill:none;stroke:var(--bad);
stroke-dasharray:3 3}.rev{fill:none;stroke:var(--rev);stroke-width:1.3}.cut,.bad{fill:var(--bad)}
.good{fill:var(--good)}.other{fill:var(--search)}.fault{fill:var(--bad);opacity:.75}
.phase{stroke:var(--dim);stroke-dasharray:2 3}.failed{stroke:var(--bad);stroke-width:2}
.fail{color:var(--bad);font-weight:600}ol{columns:4;font-size:12px}
i{display:inline-block;width:14px;height:10px;margin:0 4px 0 12px}`

// picture draws a film: time goes to the right, a lane for each member.
type picture struct {
	*sim.Film
	b      strings.Builder
	newest int64 // revision
}

// draw writes a run as a page.
func draw(w io.Writer, r *sim.Result, film *sim.Film) error {
	p := &picture{Film: film}
	for _, f := range film.Frames {
		for _, l := range f.Looks {
			p.newest = max(p.newest, l.Revision)
		}
	}
	p.printf("<!doctype html><meta charset=utf-8><title>cairn sim, seed %d</title>", r.Options.Seed)
	p.printf("<style>%s</style>", style)
	p.printf("<p class=dim>%s</p>", html.EscapeString(r.Options.String()))
	if r.Failure != nil {
		p.printf("<p class=fail>%s</p>", html.EscapeString(r.Failure.Error()))
	} else {
		p.printf("<p>All is as promised.</p>")
	}
	high := marksHigh + len(film.Members)*(lane+gap) + loadsHigh + 30
	p.printf(`<svg width=%d height=%d viewBox="0 0 %[1]d %[2]d">`, left+wide+right, high)
	p.axis(high)
	for i := range film.Members {
		p.lane(i, float64(marksHigh+i*(lane+gap)))
	}
	p.loads(float64(marksHigh + len(film.Members)*(lane+gap)))
	p.marks(high)
	p.printf("</svg>")
	p.legend()
	_, err := io.WriteString(w, p.b.String())
	return err
}

func (p *picture) printf(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

// x is where a time is.
func (p *picture) x(at time.Duration) float64 {
	return left + wide*at.Seconds()/max(p.Ends, time.Second).Seconds()
}

// axis draws the seconds.
func (p *picture) axis(high int) {
	step := 1
	for int(p.Ends.Seconds())/step > 30 {
		step *= 2
	}
	for s := 0; s <= int(p.Ends.Seconds()); s += step {
		x := p.x(time.Duration(s) * time.Second)
		p.printf(`<line class=axis x1=%.1f x2=%[1]f y1=%d y2=%d />`, x, marksHigh-6, high-18)
		p.printf(`<text class=dim x=%.1f y=%d text-anchor=middle>%d s</text>`, x, high-4, s)
	}
}

// runs calls fn for each stretch of frames in which a member's value of some kind is the same.
func (p *picture) runs(member int, of func(sim.Look) any, fn func(from, to int, l sim.Look)) {
	look := func(i int) (sim.Look, bool) {
		if i >= len(p.Frames) || member >= len(p.Frames[i].Looks) {
			return sim.Look{}, i < len(p.Frames)
		}
		return p.Frames[i].Looks[member], true
	}
	for from := 0; from < len(p.Frames); {
		first, _ := look(from)
		to := from + 1
		for {
			l, ok := look(to)
			if !ok || of(l) != of(first) {
				break
			}
			to++
		}
		fn(from, to, first)
		from = to
	}
}

// at is when a frame was taken.
func (p *picture) at(frame int) time.Duration { return time.Duration(frame) * p.Every }

// lane draws a member: what it is, whether links are cut, and how its revision goes on.
func (p *picture) lane(member int, y float64) {
	p.printf(`<text x=4 y=%.1f>%s</text>`, y+lane/2+4, html.EscapeString(p.Members[member]))
	type stretch struct {
		state sim.State
		term  uint64
	}
	of := func(l sim.Look) any {
		if l.State != sim.Leading {
			l.Term = 0
		}
		return stretch{l.State, l.Term}
	}
	p.runs(member, of, func(from, to int, l sim.Look) {
		if l.State == sim.Gone {
			return
		}
		x, end := p.x(p.at(from)), p.x(p.at(to))
		s := states[l.State]
		p.printf(`<rect class=%s x=%.1f y=%.1f width=%.1f height=%d><title>%s %s, %v to %v, `+
			`term %d</title></rect>`, s.class, x, y, end-x, lane, html.EscapeString(
			p.Members[member]), s.name, p.at(from), p.at(to), l.Term)
		if l.State == sim.Leading && end-x > narrow {
			p.printf(`<text class=on x=%.1f y=%.1f>%d</text>`, x+3, y+12, l.Term)
		}
	})
	p.runs(member, func(l sim.Look) any { return l.Cut }, func(from, to int, l sim.Look) {
		if x := p.x(p.at(from)); l.Cut {
			p.printf(`<rect class=cut x=%.1f y=%.1f width=%.1f height=4><title>links are cut, %v `+
				`to %v</title></rect>`, x, y+lane+2, p.x(p.at(to))-x, p.at(from), p.at(to))
		}
	})
	p.revision(member, y)
}

// revision draws the revision that a member shows, from the bottom of its lane to the top.
func (p *picture) revision(member int, y float64) {
	var points strings.Builder
	flush := func() {
		if points.Len() > 0 {
			p.printf(`<polyline class=rev points="%s"/>`, points.String())
			points.Reset()
		}
	}
	p.runs(member, func(l sim.Look) any { return l.Revision }, func(from, to int, l sim.Look) {
		if l.Revision == 0 {
			flush()
			return
		}
		h := y + lane*(1-float64(l.Revision)/float64(p.newest))
		fmt.Fprintf(&points, "%.1f,%.1f %.1f,%[2]f ", p.x(p.at(from)), h, p.x(p.at(to)))
	})
	flush()
}

// loads draws how many requests were answered, refused, and not answered.
func (p *picture) loads(y float64) {
	p.printf(`<text x=4 y=%.1f class=dim>load</text>`, y+loadsHigh/2)
	each := int(loadEvery / p.Every)
	var bars [][3]int64
	var most int64 = 1
	for i := each; i < len(p.Frames); i += each {
		a, b := p.Frames[i-each], p.Frames[i]
		bar := [3]int64{b.Acked - a.Acked, b.Refused - a.Refused, b.Unknown - a.Unknown}
		bars = append(bars, bar)
		most = max(most, bar[0]+bar[1]+bar[2])
	}
	for i, bar := range bars {
		x, end := p.x(p.at(i*each)), p.x(p.at((i+1)*each))
		base := y + loadsHigh
		for k, class := range []string{"good", "other", "bad"} {
			h := float64(bar[k]) / float64(most) * (loadsHigh - 4)
			if base -= h; h > 0 {
				p.printf(`<rect class=%s x=%.1f y=%.1f width=%.1f height=%.1f><title>%d done, %d `+
					`refused, %d not answered</title></rect>`, class, x, base, end-x-0.5, h, bar[0],
					bar[1], bar[2])
			}
		}
	}
}

// marks draws faults, phases and the failure.
func (p *picture) marks(high int) {
	var free float64 // from where on there is room for the name of a phase
	for _, m := range p.Marks {
		x, text := p.x(m.At), html.EscapeString(m.Text)
		switch m.Kind {
		case sim.FaultMark:
			p.printf(`<path class=fault d="M%.1f %d l-4 -8 h8 z"><title>%v: fault %s</title>`+
				`</path>`, x, marksHigh-4, m.At, text)
		case sim.PhaseMark:
			p.printf(`<line class=phase x1=%.1f x2=%[1]f y1=0 y2=%d />`, x, high-18)
			free = max(free, x+3)
			p.printf(`<text class=dim x=%.1f y=11>%s</text>`, free, text)
			free += nameWide
		case sim.FailureMark:
			p.printf(`<line class=failed x1=%.1f x2=%[1]f y1=0 y2=%d><title>%v: %s</title></line>`,
				x, high-18, m.At, text)
		}
	}
}

// legend explains the colours and lists the faults with the numbers by which they can be left out.
func (p *picture) legend() {
	var b strings.Builder
	for s := sim.Down; s <= sim.Leading; s++ {
		fmt.Fprintf(&b, `<i style="%s"></i>%s`, swatch(states[s].class), states[s].name)
	}
	b.WriteString(`<i style="background:var(--bad);height:4px"></i>links are cut`)
	p.printf("<p>%s. A number in a leader's lane is its term; the line in a lane is the revision "+
		"that the member shows. Load: requests done, refused, not answered.</p><ol>", b.String())
	for _, m := range p.Marks {
		if m.Kind == sim.FaultMark {
			number, name, _ := strings.Cut(m.Text, " ")
			p.printf("<li value=%s>%v %s", number, m.At.Round(time.Millisecond),
				html.EscapeString(name))
		}
	}
	p.printf("</ol>")
}

// swatch is the look of a state in the legend.
func swatch(class string) string {
	if class == "down" {
		return "border:1px dashed var(--bad)"
	}
	return "background:var(--" + class + ")"
}
