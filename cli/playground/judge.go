package playground

import (
	"strings"
	"time"
)

// judge works out who leads, and tells of what has changed. It runs after every event.
func (m *model) judge() {
	m.judgeQuorum()
	leader, term := m.claims()
	if old := m.row(m.leader); m.leader != "" && (old == nil || !m.quorate(old) || old.life != up) {
		m.lose("was cut off from the majority")
	}
	switch {
	case leader == "" && m.leader != "" && !m.lost:
		m.lose("stepped down")
	case leader == "":
	case leader != m.leader || term != m.term:
		m.elect(leader, term)
	case m.lost && m.quorate(m.row(leader)):
		m.lost, m.lostWhy = false, "" // it was back before anyone else was elected
	}
}

// claims returns the member that says of itself that it leads, in the highest term, and the term.
func (m *model) claims() (leader string, term uint64) {
	for _, r := range m.rows {
		s, speaks := r.status, r.life == up && r.heard && !r.silent
		if speaks && s.leader != 0 && s.leader == s.id && s.term > term {
			leader, term = r.name, s.term
		}
	}
	return leader, term
}

// lose notes since when there is no leader, and why.
func (m *model) lose(why string) {
	if m.lost {
		return
	}
	m.lost, m.lostAt = true, m.now
	if m.lostWhy == "" {
		m.lostWhy = m.leader + " " + why
	}
}

// blame notes what was done to a member, in case that it led.
func (m *model) blame(what string) {
	if m.leader != "" && strings.HasPrefix(what, m.leader+" ") {
		m.lostWhy = what
	}
}

// elect notes a new leader, or a new term of the same one.
func (m *model) elect(leader string, term uint64) {
	first, again := !m.everLed, leader == m.leader
	switch {
	case first:
		m.say(good, "%s leads in term %d", leader, term)
	case m.lost:
		m.say(good, "%s leads in term %d, %s after %s", leader, term, short(m.now-m.lostAt),
			m.lostWhy)
	case again:
		m.say(good, "%s leads again, in term %d", leader, term)
	default:
		m.say(good, "%s leads in term %d instead of %s", leader, term, m.leader)
	}
	m.leader, m.term, m.everLed = leader, term, true
	m.lost, m.lostWhy = false, ""
}

// judgeQuorum tells when the cluster can no longer decide anything, and when it can again.
func (m *model) judgeQuorum() {
	quorum, voters := false, 0
	for _, r := range m.rows {
		quorum = quorum || r.life == up && m.quorate(r)
		if r.votes() {
			voters++
		}
	}
	if voters == 0 || quorum == !m.noQuorum {
		return
	}
	m.noQuorum = !quorum
	if quorum {
		m.say(plain, "a majority can talk again")
		return
	}
	m.say(bad, "no %d of the %d voters can talk: writes have to wait", voters/2+1, voters)
}

// mend begins to watch the members that were cut off from the leader and are no longer, also those
// that miss nothing by what was heard last: the leader may have applied more since.
func (m *model) mend(before map[pair]bool) {
	leader := m.row(m.leader)
	if leader == nil {
		return
	}
	for _, r := range m.rows {
		was := before[pair{r.name, leader.name}] || before[pair{leader.name, r.name}]
		if was && r != leader && m.talk(r, leader) && r.catch == nil {
			m.await(r)
		}
	}
}

// bucketTime is the width of a bar of the load's graph.
const bucketTime = 500 * time.Millisecond

// maxBuckets is how many bars are kept: more than a terminal is wide.
const maxBuckets = 512

// rateBuckets is over how many whole bars the rate is averaged.
const rateBuckets = 4

// measure takes what the load saw.
func (m *model) measure(e measured) {
	if !m.load.on {
		return
	}
	l := &m.load
	if e.writes == 0 {
		e.latency = l.last.latency
	}
	l.last = e
	if len(l.buckets) == 0 {
		l.buckets, l.first = []int{0}, m.now
	}
	for m.now-l.first >= bucketTime {
		l.buckets, l.first = append(l.buckets, 0), l.first+bucketTime
	}
	l.buckets[len(l.buckets)-1] += e.writes
	l.buckets = l.buckets[max(0, len(l.buckets)-maxBuckets):]
	whole := l.buckets[:len(l.buckets)-1]
	whole = whole[max(0, len(whole)-rateBuckets):]
	sum := 0
	for _, n := range whole {
		sum += n
	}
	if len(whole) > 0 {
		l.rate = float64(sum) / (time.Duration(len(whole)) * bucketTime).Seconds()
	}
	for _, d := range e.outages {
		m.say(warn, "writes were not possible for %s", short(d))
	}
}
