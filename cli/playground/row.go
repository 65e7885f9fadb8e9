package playground

import (
	"strings"
	"time"
)

// life is what is known of a member's process.
type life int

const (
	down life = iota
	up
	paused
)

// row is what the model knows of one member.
type row struct {
	name     string
	id       uint64 // 0: not known yet
	endpoint string // host:port for clients
	learner  bool

	life     life
	since    time.Duration // of life
	byItself bool          // it is down, and nobody asked for that
	heard    bool          // it has answered since its process was started
	silent   bool          // it did not answer when it was last asked
	removed  bool          // the cluster does not list it any more
	catch    *catchUp      // while it catches up

	status         status // the last one
	keys, watchers int64
}

// catchUp is the way of a member back to the others.
type catchUp struct {
	since        time.Duration
	from, target uint64 // raft indexes
}

// fall notes a change of the process's life.
func (r *row) fall(l life, at time.Duration) {
	r.life, r.since = l, at
	r.heard = r.heard && l == paused // it goes on with what it was
	r.silent, r.byItself, r.catch = false, false, nil
}

// port is the last part of the endpoint.
func (r *row) port() string { return r.endpoint[strings.LastIndexByte(r.endpoint, ':')+1:] }

// votes says whether the member counts for a majority.
func (r *row) votes() bool { return !r.learner && !r.removed }

// number is the digit that selects the member.
func (r *row) number() string { return strings.TrimPrefix(r.name, namePrefix) }

// role is what a member is at a moment, as one word for people.
type role string

const (
	roleLeader    role = "leader"
	roleOldLeader role = "old leader" // it has not noticed yet that it lost the others
	roleFollower  role = "follower"
	roleCandidate role = "candidate"
	roleLearner   role = "learner"
	roleCutOff    role = "cut off"
	roleStarting  role = "starting"
	roleSilent    role = "no answer"
	rolePaused    role = "paused"
	roleKilled    role = "killed"
	roleEnded     role = "ended"
	roleRemoved   role = "removed"
)

// role returns what a member is.
func (m *model) role(r *row) role {
	switch {
	case r.life == down && r.byItself:
		return roleEnded
	case r.life == down:
		return roleKilled
	case r.life == paused:
		return rolePaused
	case r.removed:
		return roleRemoved
	case !r.heard:
		return roleStarting
	case r.silent:
		return roleSilent
	case r.status.leader == r.status.id && r.name == m.leader && m.quorate(r):
		return roleLeader
	case r.status.leader == r.status.id:
		return roleOldLeader
	case m.cutOff(r):
		return roleCutOff
	case r.learner:
		return roleLearner
	case r.status.leader == 0:
		return roleCandidate
	}
	return roleFollower
}

// health says in a word or two whether a member can serve.
func (m *model) health(r *row) string {
	switch m.role(r) {
	case roleKilled, roleEnded:
		return "down"
	case rolePaused, roleSilent, roleRemoved:
		return "no answer"
	case roleStarting:
		return "starting"
	case roleCutOff, roleOldLeader:
		return "cut off"
	}
	switch {
	case len(r.status.alarms) > 0:
		return r.status.alarms[0]
	case r.status.leader == 0:
		return "no leader"
	}
	return "ok"
}

// lag is how many entries a member is behind the newest that is known, if that can be told.
func (m *model) lag(r *row) uint64 {
	var newest uint64
	for _, o := range m.rows {
		newest = max(newest, o.status.applied)
	}
	return newest - min(newest, r.status.applied)
}

// talk says whether two members hear each other.
func (m *model) talk(a, b *row) bool {
	return a == b || a.life == up && b.life == up &&
		!m.cuts[pair{a.name, b.name}] && !m.cuts[pair{b.name, a.name}]
}

// quorate says whether a member and those that it talks with are a majority of those that vote.
func (m *model) quorate(r *row) bool {
	voters, heard := 0, 0
	for _, o := range m.rows {
		if !o.votes() {
			continue
		}
		voters++
		if o.life == up && m.talk(r, o) {
			heard++
		}
	}
	return heard > voters/2
}

// cutOff says whether cut links keep a member from the majority.
func (m *model) cutOff(r *row) bool {
	if m.quorate(r) {
		return false
	}
	for _, o := range m.rows {
		if o != r && o.life == up && !m.talk(r, o) {
			return true
		}
	}
	return false
}
