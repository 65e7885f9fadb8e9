package playground

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// entry is one line of the log.
type entry struct {
	at   time.Duration
	tone tone
	text string
}

// view draws the screen: exactly as many lines as the terminal has, none of them wider than it.
func (m *model) view(t theme) string {
	var lines []string
	if m.help {
		lines = m.viewHelp(t)
	} else {
		lines = m.viewMain(t)
	}
	for len(lines) < m.height {
		lines = append(lines, "")
	}
	lines = lines[:max(0, m.height)]
	fit := lipgloss.NewStyle().MaxWidth(m.width)
	for i, line := range lines {
		if lipgloss.Width(line) > m.width {
			lines[i] = fit.Render(line)
		}
	}
	return strings.Join(lines, "\n")
}

// viewMain draws the members, the links, the load, the log and the keys.
func (m *model) viewMain(t theme) []string {
	l := m.layout()
	lines := []string{m.viewTitle(t)}
	blank := func() {
		if l.blanks {
			lines = append(lines, "")
		}
	}
	blank()
	lines = append(lines, m.viewTable(t)...)
	blank()
	if l.matrix {
		lines = append(lines, m.viewLinks(t)...)
	} else {
		lines = append(lines, m.linksLine(t), " "+m.loadLine(t, m.width-1))
	}
	blank()
	lines = append(lines, m.viewLog(t, l.logLines)...)
	if l.hint {
		lines = append(lines, m.viewHint(t))
	}
	return append(lines, m.viewKeys(t)...)
}

// viewTitle draws the first line.
func (m *model) viewTitle(t theme) string {
	left := " cairn playground   " + m.summary()
	right := clockTime(m.now) + " "
	if len(m.pending) > 0 && !m.done {
		right = m.pending[0].String() + " ...   " + right
	}
	pad := m.width - lipgloss.Width(left) - lipgloss.Width(right)
	if pad < 1 {
		return t.paint(title, left+strings.Repeat(" ", max(0, m.width-lipgloss.Width(left))))
	}
	return t.paint(title, left+strings.Repeat(" ", pad)+right)
}

// summary says in one line how the cluster is.
func (m *model) summary() string {
	voters, learners := 0, 0
	for _, r := range m.rows {
		switch {
		case r.votes():
			voters++
		case r.learner:
			learners++
		}
	}
	text := plural(voters, "voter")
	if learners > 0 {
		text += ", " + plural(learners, "learner")
	}
	switch {
	case m.leader == "":
		return text + " · no leader yet"
	case m.lost && m.now == m.lostAt:
		return text + " · no leader"
	case m.lost:
		return text + " · no leader for " + short(m.now-m.lostAt)
	}
	return fmt.Sprintf("%s · %s leads in term %d", text, m.leader, m.term)
}

// viewLog draws the newest entries, or older ones if the log was scrolled.
func (m *model) viewLog(t theme, lines int) []string {
	head := " events "
	if m.scroll > 0 {
		head = fmt.Sprintf(" events: %d newer below ", m.scroll)
	}
	out := []string{t.paint(dim, head+strings.Repeat("─", max(0, m.width-1-lipgloss.Width(head))))}
	last := len(m.log) - m.scroll
	for _, e := range m.log[max(0, last-lines):last] {
		out = append(out, " "+t.paint(dim, stamp(e.at))+"  "+t.paint(e.tone, e.text))
	}
	for len(out) <= lines {
		out = append(out, "")
	}
	return out
}

// viewHint says how to talk to the cluster.
func (m *model) viewHint(t theme) string {
	text := m.useLine()
	if lipgloss.Width(text)+len(hintLead) > m.width {
		text = ". " + m.texts.env
	}
	return t.paint(dim, hintLead) + text
}

const hintLead = " try  "

// useLine is what a shell is told to use the cluster.
func (m *model) useLine() string {
	return ". " + m.texts.env + "; " + m.texts.name + " ctl put greeting hello"
}

// viewKeys draws the keys, or what is asked.
func (m *model) viewKeys(t theme) []string {
	if m.prompt != nil {
		out := []string{" " + t.paint(strong, m.prompt.text) + m.prompt.digits + "▏"}
		for len(out) < len(m.helpLines()) {
			out = append(out, t.paint(dim, " esc: leave it"))
		}
		return out
	}
	var out []string
	for _, line := range m.helpLines() {
		text := ""
		for _, b := range line {
			text += " " + t.paint(strong, b.show) + " " + t.paint(dim, b.word) + " "
		}
		out = append(out, text)
	}
	return out
}

// helpLines breaks the bindings into lines.
func (m *model) helpLines() [][]binding {
	var lines [][]binding
	room := 0
	for _, b := range bindings {
		if b.word == "" {
			continue
		}
		need := lipgloss.Width(b.show) + lipgloss.Width(b.word) + 3
		if room < need || len(lines) == 0 {
			lines, room = append(lines, nil), m.width
		}
		lines[len(lines)-1] = append(lines[len(lines)-1], b)
		room -= need
	}
	return lines
}

// viewHelp draws the page of keys and of ways to talk to the cluster.
func (m *model) viewHelp(t theme) []string {
	usage := m.usage()
	lines := []string{m.viewTitle(t)}
	blank := func() {
		if m.height >= len(bindings)+len(usage)+6 {
			lines = append(lines, "")
		}
	}
	if blank(); len(lines) > 1 {
		lines = append(lines, t.paint(dim, " The keys are about the member with the mark ▸"))
	}
	for _, b := range bindings {
		if b.show != "?" {
			lines = append(lines, fmt.Sprintf(" %s  %s",
				t.paint(strong, fmt.Sprintf("%5s", b.show)), b.long))
		}
	}
	blank()
	lines = append(lines, t.paint(dim, " In another terminal"))
	for _, line := range usage {
		for len(line) > m.width { // nothing of it may be lost
			lines, line = append(lines, line[:m.width]), line[m.width:]
		}
		lines = append(lines, line)
	}
	return lines
}

// usage returns lines for a shell that show how to use the cluster.
func (m *model) usage() []string {
	if len(m.rows) == 0 {
		return nil
	}
	var endpoints []string
	for _, r := range m.rows {
		endpoints = append(endpoints, r.endpoint)
	}
	return []string{
		m.useLine(),
		"export ETCDCTL_ENDPOINTS=" + strings.Join(endpoints, ","),
		m.texts.program + " ctl watch greeting",
		m.texts.program + " ctl endpoint status --write-out=table",
		"curl http://" + endpoints[0] + "/health",
	}
}

// plural is a number and its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// short writes a duration as people say it: 850ms, 1.24s, 2m05s.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

// clockTime is how long the playground has been up: 12:05, 1:12:05.
func clockTime(d time.Duration) string {
	s := int(d.Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// stamp is the time of an entry, with tenths of a second.
func stamp(d time.Duration) string {
	return clockTime(d) + fmt.Sprintf(".%d", d.Milliseconds()/100%10)
}
