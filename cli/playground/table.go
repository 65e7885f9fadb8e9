package playground

import (
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// column is one column of the table of members.
type column struct {
	title string
	width int
	left  bool // aligned; numbers stand on the right
	wide  bool // for wide terminals alone
	text  func(m *model, r *row) string
}

// columns of the table. Those that are not wide take 78 columns, with one between them.
var columns = []column{
	{"name", 4, true, false, func(_ *model, r *row) string { return r.name }},
	{"id", 16, true, true, func(_ *model, r *row) string { return fmt.Sprintf("%016x", r.id) }},
	{"role", 10, true, false, func(m *model, r *row) string { return string(m.role(r)) }},
	{"health", 9, true, true, (*model).health},
	number("term", 4, func(_ *model, r *row) uint64 { return r.status.term }),
	number("revision", 8, func(_ *model, r *row) uint64 { return uint64(r.status.revision) }),
	number("index", 7, func(_ *model, r *row) uint64 { return r.status.index }),
	number("applied", 7, func(_ *model, r *row) uint64 { return r.status.applied }),
	number("lag", 5, (*model).lag),
	number("keys", 5, func(_ *model, r *row) uint64 { return uint64(r.keys) }),
	number("watch", 5, func(_ *model, r *row) uint64 { return uint64(r.watchers) }),
	{"size", 6, false, false, func(_ *model, r *row) string {
		if r.status.id == 0 {
			return "-"
		}
		return terminal.Bytes(uint64(max(0, r.status.size)))
	}},
	{"port", 5, false, false, func(_ *model, r *row) string { return r.port() }},
}

// endpointColumn takes the place of the port on wide terminals.
var endpointColumn = column{"endpoint", 15, true, true,
	func(_ *model, r *row) string { return r.endpoint }}

// number makes a column of a number that is known once the member has answered.
func number(title string, width int, of func(m *model, r *row) uint64) column {
	return column{title, width, false, false, func(m *model, r *row) string {
		if r.status.id == 0 {
			return "-"
		}
		return digits(of(m, r), width)
	}}
}

// digits writes a number in so many columns, four at least.
func digits(n uint64, width int) string {
	text := fmt.Sprint(n)
	for _, unit := range []string{"k", "M", "G", "T", "P"} {
		if len(text) <= width {
			break
		}
		n /= 1000
		text = fmt.Sprint(n) + unit
	}
	return text
}

// table returns the columns that fit, and how many blanks stand between them.
func (m *model) table() (cols []column, gap int) {
	need := func(cols []column) int {
		sum := len(marker)
		for _, c := range cols {
			sum += c.width
		}
		return sum + len(cols) - 1
	}
	all := append(columns[:len(columns)-1:len(columns)-1], endpointColumn)
	if need(all) > m.width {
		all = nil
		for _, c := range columns {
			if !c.wide {
				all = append(all, c)
			}
		}
	}
	for len(all) > 3 && need(all) > m.width { // very narrow: what is on the right goes
		all = all[:len(all)-1]
	}
	gap = 1
	if m.width-need(all) >= len(all)-1 {
		gap = 2
	}
	return all, gap
}

// Marks before a row.
const (
	marker         = "   " // counted in columns
	markerSelected = " ▸ "
)

// viewTable draws the members.
func (m *model) viewTable(t theme) []string {
	cols, gap := m.table()
	blank := strings.Repeat(" ", gap)
	var heads []string
	for _, c := range cols {
		heads = append(heads, c.fit(c.title))
	}
	lines := []string{t.paint(dim, marker+strings.Join(heads, blank))}
	if len(m.rows) == 0 {
		lines = append(lines, marker+t.paint(dim, "no member yet"))
	}
	for _, r := range m.rows {
		mark, base := marker, plain
		if r.name == m.selected {
			mark, base = markerSelected, chosen
		}
		if r.life == down {
			base = dim
		}
		cells := []string{t.paint(base, mark)}
		for i, c := range cols {
			tone := base
			if c.title == "role" || c.title == "health" {
				tone = m.roleTone(r, base)
			}
			text := t.paint(tone, c.fit(c.text(m, r)))
			if i > 0 {
				text = blank + text
			}
			cells = append(cells, text)
		}
		lines = append(lines, strings.Join(cells, ""))
	}
	return lines
}

func (m *model) roleTone(r *row, base tone) tone {
	if tone := roleTones[m.role(r)]; tone != plain {
		return tone
	}
	return base
}

// fit brings a text to the width of the column.
func (c column) fit(text string) string {
	pad := strings.Repeat(" ", max(0, c.width-lipgloss.Width(text)))
	if c.left {
		return text + pad
	}
	return pad + text
}
