package playground

import (
	"fmt"
	"math"
	"strings"

	"charm.land/lipgloss/v2"
)

// Signs of the matrix of links.
const (
	signUp   = "●" // what is said arrives
	signCut  = "✕"
	signDown = "○" // one of the two does not run
	signSelf = "·"
)

// viewLinks draws the matrix of links, and the load beside it.
func (m *model) viewLinks(t theme) []string {
	head := " links to"
	for _, r := range m.rows {
		head += fmt.Sprintf("%*s", linkCell, r.number())
	}
	lines := []string{t.paint(dim, head)}
	for i, from := range m.rows {
		lead := "      "
		if i == 0 {
			lead = " from "
		}
		line := t.paint(dim, fmt.Sprintf("%s%*s", lead, linkHead-len(lead), from.number()))
		for _, to := range m.rows {
			line += "  " + m.sign(t, from, to)
		}
		lines = append(lines, line)
	}
	left := linkHead + linkCell*len(m.rows)
	const between = 4
	beside := m.viewLoad(t, m.width-left-between-1, len(lines))
	for i := range lines {
		pad := strings.Repeat(" ", max(0, left-lipgloss.Width(lines[i]))+between)
		lines[i] += pad + beside[i]
	}
	return lines
}

// sign draws one direction.
func (m *model) sign(t theme, from, to *row) string {
	switch {
	case from == to:
		return t.paint(dim, signSelf)
	case m.cuts[pair{from.name, to.name}]:
		return t.paint(bad, signCut)
	case from.life != up || to.life != up:
		return t.paint(dim, signDown)
	}
	return t.paint(good, signUp)
}

// linksLine says in one line what is cut.
func (m *model) linksLine(t theme) string {
	if len(m.cuts) == 0 {
		return t.paint(dim, " links  ") + "all whole"
	}
	groups := m.groups()
	if len(groups) > 1 {
		return t.paint(dim, " links  ") + t.paint(bad, "split: "+strings.Join(groups, " | "))
	}
	return t.paint(dim, " links  ") + t.paint(bad, plural(len(m.cuts), "direction")+" cut")
}

// groups returns the sides into which cuts divide the members; a direction that is left counts as a
// link.
func (m *model) groups() []string {
	side := make([]int, len(m.rows))
	for i := range side {
		side[i] = i
	}
	for range m.rows { // labels spread by one link a pass
		for i, a := range m.rows {
			for j, b := range m.rows {
				if !m.cuts[pair{a.name, b.name}] || !m.cuts[pair{b.name, a.name}] {
					side[i] = min(side[i], side[j])
					side[j] = side[i]
				}
			}
		}
	}
	var groups []string
	for label := range m.rows {
		var names []string
		for i, r := range m.rows {
			if side[i] == label {
				names = append(names, r.number())
			}
		}
		if len(names) > 0 {
			groups = append(groups, strings.Join(names, " "))
		}
	}
	return groups
}

// viewLoad draws the load: a line of numbers, and a graph of writes per second below it.
func (m *model) viewLoad(t theme, width, height int) []string {
	out := []string{m.loadLine(t, width)}
	if width >= graphWidthMin && height > 1 && m.load.on {
		out = append(out, m.graph(t, width, height-1)...)
	}
	for len(out) < height {
		out = append(out, "")
	}
	return out
}

// loadLine says how the load fares.
func (m *model) loadLine(t theme, width int) string {
	l := &m.load
	if !l.on {
		return t.paint(dim, "load   off: ") + "l" + t.paint(dim, " lets a trickle of writes run")
	}
	rate := fmt.Sprintf("%.0f writes/s of %s", l.rate, short(l.last.latency))
	if l.last.stalled > 0 {
		rate = "no write for " + short(l.last.stalled)
	}
	pause := "longest pause " + short(l.last.longest)
	tone := good
	if l.last.stalled > 0 {
		tone = bad
	}
	text := t.paint(dim, "load   ") + t.paint(tone, rate)
	if lipgloss.Width(text)+3+len(pause) <= width {
		text += "   " + pause
	}
	return text
}

// eighths are the heights of a bar within one cell.
var eighths = []string{" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}

// graph draws the load's buckets, the newest on the right, scaled to the highest that is seen.
func (m *model) graph(t theme, width, height int) []string {
	seen := m.load.buckets
	if len(seen) > 0 {
		seen = seen[:len(seen)-1] // the last one is not complete
	}
	seen = seen[max(0, len(seen)-width):]
	top := 1
	for _, n := range seen {
		top = max(top, n)
	}
	lines := make([]string, height)
	for i := range lines {
		line := strings.Repeat(" ", width-len(seen))
		floor := (height - 1 - i) * 8 // eighths below this line
		for _, n := range seen {
			eighth := int(math.Ceil(float64(n) * float64(height*8) / float64(top)))
			if n == 0 && floor == 0 {
				line += "·" // so that a pause shows as one
				continue
			}
			line += eighths[max(0, min(8, eighth-floor))]
		}
		lines[i] = t.paint(good, line)
	}
	return lines
}
