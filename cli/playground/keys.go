package playground

import (
	"maps"
	"slices"
	"strings"
)

// binding is what a key does.
type binding struct {
	keys []string // as the terminal's library names them
	show string   // the key for people
	word string   // for the help line
	long string   // for the help page
	do   func(m *model) []order
}

// bindings are all keys, in the order in which they are shown.
var bindings = []binding{
	{[]string{"up", "down", "tab", "shift+tab"}, "↑↓", "select",
		"select a member; 1-9 do so too", nil},
	{[]string{"k"}, "k", "kill", "kill it (SIGKILL), as a power cut would",
		(*model).kill},
	{[]string{"p"}, "p", "pause", "pause its process (SIGSTOP), or let it go on",
		(*model).pause},
	{[]string{"r"}, "r", "restart", "start it again, or restart it if it runs",
		(*model).restart},
	{[]string{"i"}, "i", "isolate", "cut it off from all others, or let it back",
		(*model).isolate},
	{[]string{"s"}, "s", "split", "split the cluster in two: type the members of one side",
		(*model).askSplit},
	{[]string{"c"}, "c", "cut", "cut or heal one direction: type from whom to whom",
		(*model).askCut},
	{[]string{"h"}, "h", "heal", "heal all links",
		(*model).heal},
	{[]string{"a"}, "a", "add", "add a member that votes",
		func(m *model) []order { return m.add(verbAdd) }},
	{[]string{"A"}, "A", "learner", "add a learner: it gets all data, and does not vote",
		func(m *model) []order { return m.add(verbAddLearner) }},
	{[]string{"P"}, "P", "promote", "let a learner vote",
		(*model).promote},
	{[]string{"x"}, "x", "remove", "take it out of the cluster, and delete its data",
		(*model).askRemove},
	{[]string{"m"}, "m", "move lead", "let it lead",
		(*model).lead},
	{[]string{"l"}, "l", "load", "a trickle of writes to every member, on or off",
		(*model).toggleLoad},
	{[]string{"pgup", "pgdown", "home", "end"}, "PgUp", "",
		"read older events; PgDn and End go back", nil},
	{[]string{"?"}, "?", "help", "this page",
		func(m *model) []order { m.help = true; return nil }},
	{[]string{"q", "ctrl+c"}, "q", "quit", "end all processes and clean up",
		(*model).quit},
}

// press does what a key says.
func (m *model) press(key string) []order {
	switch {
	case key == "ctrl+c":
		return m.quit()
	case m.prompt != nil:
		return m.pressPrompt(key)
	case m.help:
		m.help = false
		if key == "q" || key == "?" || key == "esc" {
			return nil
		}
	}
	if m.move(key) || m.turn(key) {
		return nil
	}
	for _, b := range bindings {
		if b.do != nil && slices.Contains(b.keys, key) {
			return b.do(m)
		}
	}
	return nil
}

// move changes the selection.
func (m *model) move(key string) bool {
	at := slices.IndexFunc(m.rows, func(r *row) bool { return r.name == m.selected })
	switch key {
	case "up", "shift+tab":
		at--
	case "down", "tab":
		at++
	default:
		if r := m.row(namePrefix + key); r != nil {
			m.selected = r.name
		}
		return len(key) == 1 && key >= "1" && key <= "9"
	}
	if n := len(m.rows); n > 0 {
		m.selected = m.rows[(at+n)%n].name
	}
	return true
}

// turn scrolls the log.
func (m *model) turn(key string) bool {
	page := max(1, m.layout().logLines-1)
	switch key {
	case "pgup":
		m.scroll += page
	case "pgdown":
		m.scroll -= page
	case "home":
		m.scroll = len(m.log)
	case "end":
		m.scroll = 0
	default:
		return false
	}
	m.scroll = max(0, min(m.scroll, len(m.log)-page))
	return true
}

// about returns an order about the selected member, unless one about it is underway.
func (m *model) about(v verb) []order {
	for _, o := range m.pending {
		if o.member == m.selected {
			return nil
		}
	}
	return []order{{verb: v, member: m.selected}}
}

func (m *model) kill() []order {
	r := m.row(m.selected)
	if r == nil || r.life == down {
		return m.refuse("it does not run: r starts it")
	}
	return m.about(verbKill)
}

func (m *model) pause() []order {
	r := m.row(m.selected)
	switch {
	case r == nil || r.life == down:
		return m.refuse("it does not run: r starts it")
	case r.life == paused:
		return m.about(verbResume)
	}
	return m.about(verbPause)
}

func (m *model) resume() []order {
	if r := m.row(m.selected); r == nil || r.life != paused {
		return m.refuse("it is not paused")
	}
	return m.about(verbResume)
}

func (m *model) restart() []order {
	r := m.row(m.selected)
	switch {
	case r == nil:
		return nil
	case r.life == down:
		return m.about(verbStart)
	case r.life == paused:
		return m.about(verbResume)
	}
	return m.about(verbRestart)
}

func (m *model) promote() []order {
	if r := m.row(m.selected); r == nil || !r.learner {
		return m.refuse("it votes already: A adds a learner")
	}
	return m.about(verbPromote)
}

func (m *model) lead() []order {
	switch r := m.row(m.selected); {
	case r == nil || r.learner:
		return m.refuse("a learner cannot lead: P promotes it")
	case r.name == m.leader && !m.lost:
		return m.refuse("it leads already")
	}
	return m.about(verbLead)
}

func (m *model) add(v verb) []order {
	for _, o := range m.pending {
		if o.verb == verbAdd || o.verb == verbAddLearner {
			return nil
		}
	}
	if len(m.rows) >= maxMembers {
		m.say(bad, "there are %d members, and that is as many as a playground takes", maxMembers)
		return nil
	}
	return []order{{verb: v}}
}

func (m *model) toggleLoad() []order {
	return []order{{verb: verbLoad, on: !m.load.on}}
}

func (m *model) quit() []order {
	m.done = true
	return []order{{verb: verbQuit}}
}

// refuse says why nothing is done about the selected member.
func (m *model) refuse(why string) []order {
	m.say(bad, "%s: %s", m.selected, why)
	return nil
}

// link changes what is cut, and says so.
func (m *model) link(change func(cuts map[pair]bool), format string, args ...any) []order {
	before := m.cuts
	cuts := maps.Clone(before)
	change(cuts)
	if maps.Equal(before, cuts) {
		return nil
	}
	m.cuts = cuts
	if len(cuts) > len(before) {
		m.say(warn, format, args...)
	} else {
		m.say(plain, format, args...)
	}
	m.mend(before)
	return []order{{verb: verbLinks, cuts: maps.Clone(cuts)}}
}

func (m *model) heal() []order {
	return m.link(func(c map[pair]bool) { clear(c) }, "all links are healed")
}

// isolate cuts the selected member off, or lets it back if it is cut off from all.
func (m *model) isolate() []order {
	own, cut := m.linksOf(m.selected), 0
	if len(own) == 0 {
		return m.refuse("there is nobody that it could be cut off from")
	}
	for _, p := range own {
		if m.cuts[p] {
			cut++
		}
	}
	if cut == len(own) {
		return m.link(func(c map[pair]bool) {
			for _, p := range own {
				delete(c, p)
			}
		}, "%s is linked to the others again", m.selected)
	}
	led := m.asLeader(m.selected)
	m.blame(m.selected + " was cut off")
	return m.link(func(c map[pair]bool) {
		for _, p := range own {
			c[p] = true
		}
	}, "%s is cut off from all others%s", m.selected, led)
}

// linksOf returns the links from and to a member.
func (m *model) linksOf(name string) []pair {
	var out []pair
	for _, r := range m.rows {
		if r.name != name {
			out = append(out, pair{name, r.name}, pair{r.name, name})
		}
	}
	return out
}

// split cuts the members of one side off from all others, and heals all other links.
func (m *model) split(side []string) []order {
	var rest []string
	for _, r := range m.rows {
		if !slices.Contains(side, r.name) {
			rest = append(rest, r.name)
		}
	}
	if len(side) == 0 || len(rest) == 0 {
		m.say(bad, "split: both sides need a member")
		return nil
	}
	return m.link(func(c map[pair]bool) {
		clear(c)
		for _, a := range side {
			for _, b := range rest {
				c[pair{a, b}], c[pair{b, a}] = true, true
			}
		}
	}, "split: %s | %s", strings.Join(side, " "), strings.Join(rest, " "))
}

// toggleCut cuts one direction, or heals it.
func (m *model) toggleCut(from, to string) []order {
	if from == to || m.row(from) == nil || m.row(to) == nil {
		m.say(bad, "cut: name two members")
		return nil
	}
	p := pair{from, to}
	if m.cuts[p] {
		return m.link(func(c map[pair]bool) { delete(c, p) }, "%s reaches %s again", from, to)
	}
	return m.link(func(c map[pair]bool) { c[p] = true },
		"what %s says does not reach %s any more", from, to)
}
