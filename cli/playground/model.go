package playground

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// maxMembers is how many members a playground has at most: a digit selects one.
	maxMembers = 9

	// maxEntries is how many lines of the log are kept.
	maxEntries = 1000
)

// model is all that the playground knows and shows. It does nothing by itself: update takes an
// event and returns orders, view and the plain output only read. It has one owner.
type model struct {
	texts texts // what does not change

	now           time.Duration // since the playground began; the time of the newest event
	width, height int           // of the terminal, in cells

	rows     []*row        // by number
	cuts     map[pair]bool // what is cut
	selected string
	pending  []order // asked for and not finished

	leader   string // the member that leads, "" if none does
	term     uint64 // of the leader; kept while there is none
	everLed  bool
	lostAt   time.Duration // when the leader was lost; meaningful while lost
	lost     bool
	lostWhy  string
	noQuorum bool

	load   load
	log    []entry
	said   int // entries since the beginning; the log holds the last of them
	scroll int // lines of the log below the screen
	prompt *prompt
	help   bool
	done   bool // the playground is to end
}

// texts are the words that depend on where the playground runs.
type texts struct {
	name    string   // what the program is called: "cairn"
	program string   // how a shell finds it: the name, or a path
	env     string   // file that makes a shell ready: the variables, and the name
	notes   []string // what has to be said at the start
}

// load is what is known of the load.
type load struct {
	on      bool
	rate    float64 // writes per second, of the last while
	last    measured
	buckets []int         // writes per bucketTime, the newest last
	first   time.Duration // time of the newest bucket
}

// newModel returns a model without members.
func newModel(t texts) *model {
	m := &model{texts: t, width: 80, height: 24, cuts: map[pair]bool{}}
	for _, note := range t.notes {
		m.say(plain, "%s", note)
	}
	return m
}

// update takes one event, at a time since the playground began, and returns what is to be done.
func (m *model) update(at time.Duration, e event) []order {
	m.now = max(m.now, at)
	var out []order
	switch e := e.(type) {
	case joined:
		m.join(e)
	case answered:
		m.answer(e)
	case silent:
		if r := m.row(e.name); r != nil && r.life == up {
			r.silent = true
		}
	case counted:
		if r := m.row(e.name); r != nil {
			r.keys, r.watchers = e.keys, e.watchers
		}
	case listed:
		m.list(e)
	case ended:
		m.end(e)
	case finished:
		m.finish(e)
	case measured:
		m.measure(e)
	case pressed:
		out = m.press(e.key)
	case typed:
		out = m.command(e.line)
	case resized:
		m.width, m.height = e.width, e.height
	}
	m.judge()
	for i := range out {
		if !m.lost {
			out[i].via = m.leader
		}
	}
	m.pending = append(m.pending, out...)
	return out
}

// row returns the member of that name, or nil.
func (m *model) row(name string) *row {
	for _, r := range m.rows {
		if r.name == name {
			return r
		}
	}
	return nil
}

// join takes a member in.
func (m *model) join(e joined) {
	m.rows = append(m.rows, &row{
		name: e.name, id: e.id, endpoint: e.endpoint, learner: e.learner, life: up, since: m.now,
	})
	slices.SortFunc(m.rows, func(a, b *row) int { return cmp.Compare(a.name, b.name) })
	if m.selected == "" {
		m.selected = e.name
	}
}

// answer takes what a member says of itself.
func (m *model) answer(e answered) {
	r := m.row(e.name)
	if r == nil || r.life != up {
		return // it was asked before its process was killed or paused
	}
	if r.learner && !e.status.learner && r.heard {
		m.say(good, "%s votes from now on", r.name)
	}
	r.heard, r.silent = true, false
	r.status, r.id, r.learner = e.status, e.status.id, e.status.learner
	if c := r.catch; c != nil && r.status.applied >= c.target {
		m.caughtUp(r)
	}
}

// list notes who is no longer in the cluster: somebody else has removed it.
func (m *model) list(e listed) {
	for _, r := range m.rows {
		busy := slices.ContainsFunc(m.pending, func(o order) bool { return o.member == r.name })
		was := r.removed
		r.removed = r.id != 0 && r.heard && !busy && !e.ids[r.id]
		if was || !r.removed {
			continue
		}
		m.say(bad, "%s was removed from the cluster by somebody else: x clears it away", r.name)
	}
}

// end notes that a process ended by itself.
func (m *model) end(e ended) {
	r := m.row(e.name)
	if r == nil {
		return
	}
	r.fall(down, m.now)
	r.byItself = true
	m.say(bad, "%s ended by itself: %s", e.name, e.how)
	m.blame(e.name + " ended")
}

// finish takes the outcome of an order.
func (m *model) finish(e finished) {
	if i := slices.IndexFunc(m.pending, func(o order) bool {
		return o.verb == e.order.verb && o.member == e.order.member
	}); i >= 0 {
		m.pending = slices.Delete(m.pending, i, i+1)
	}
	if e.err != nil {
		m.say(bad, "%s: %v", e.order, e.err)
		return
	}
	name := e.order.member
	r := m.row(name)
	if r == nil && name != "" {
		return
	}
	switch e.order.verb {
	case verbKill:
		r.fall(down, m.now)
		m.say(warn, "%s was killed%s", name, m.asLeader(name))
		m.blame(name + " was killed")
	case verbPause:
		r.fall(paused, m.now)
		m.say(warn, "%s is paused%s", name, m.asLeader(name))
		m.blame(name + " was paused")
	case verbResume:
		r.life, r.since = up, m.now
		m.say(plain, "%s goes on", name)
		m.await(r)
	case verbStart, verbRestart:
		r.fall(up, m.now)
		m.say(plain, "%s was started", name)
		m.blame(name + " was restarted")
		m.await(r)
	case verbAdd, verbAddLearner:
		m.join(e.joined)
		m.say(good, "%s was added%s", e.joined.name, asLearner(e.joined.learner))
		m.await(m.row(e.joined.name))
	case verbPromote:
		m.say(plain, "%s was promoted", name)
	case verbRemove:
		m.drop(name)
		m.say(warn, "%s was removed, and its data", name)
	case verbLoad:
		m.load = load{on: e.order.on}
	}
}

// drop strikes a member out.
func (m *model) drop(name string) {
	at := slices.IndexFunc(m.rows, func(r *row) bool { return r.name == name })
	m.rows = slices.Delete(m.rows, at, at+1)
	m.blame(name + " was removed")
	maps.DeleteFunc(m.cuts, func(p pair, _ bool) bool { return p.from == name || p.to == name })
	if m.selected == name && len(m.rows) > 0 {
		m.selected = m.rows[min(at, len(m.rows)-1)].name
	}
}

// asLeader says in brackets that a member led, where that matters.
func (m *model) asLeader(name string) string {
	if name == m.leader && m.leader != "" {
		return " (it led)"
	}
	return ""
}

func asLearner(learner bool) string {
	if learner {
		return " as a learner"
	}
	return ""
}

// await begins to watch a member that comes back: until it has applied what the others have now.
func (m *model) await(r *row) {
	var newest uint64
	for _, o := range m.rows {
		if o.life == up && o != r {
			newest = max(newest, o.status.index)
		}
	}
	r.catch = &catchUp{since: m.now, from: r.status.applied, target: newest}
}

// caughtUp ends what await began.
func (m *model) caughtUp(r *row) {
	c := r.catch
	r.catch = nil
	took := short(m.now - c.since)
	switch missed := c.target - min(c.target, c.from); missed {
	case 0:
		m.say(good, "%s is back after %s, with nothing to catch up", r.name, took)
	case 1:
		m.say(good, "%s has caught up 1 entry in %s", r.name, took)
	default:
		m.say(good, "%s has caught up %d entries in %s", r.name, missed, took)
	}
}

// say adds a line to the log.
func (m *model) say(t tone, format string, args ...any) {
	m.log = append(m.log, entry{m.now, t, fmt.Sprintf(format, args...)})
	m.said++
	if m.scroll > 0 {
		m.scroll++ // what is read stays where it is
	}
	if extra := len(m.log) - maxEntries; extra > 0 {
		m.log = slices.Delete(m.log, 0, extra)
	}
}
