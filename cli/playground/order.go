package playground

import "strings"

// verb is what can be done to a cluster.
type verb string

const (
	verbKill       verb = "kill"    // SIGKILL
	verbStart      verb = "start"   // after kill
	verbPause      verb = "pause"   // SIGSTOP
	verbResume     verb = "resume"  // SIGCONT
	verbRestart    verb = "restart" // SIGTERM, and start
	verbLinks      verb = "links"   // cut and heal, until the cuts are those of the order
	verbAdd        verb = "add"
	verbAddLearner verb = "learner"
	verbPromote    verb = "promote"
	verbRemove     verb = "remove"
	verbLead       verb = "lead"
	verbLoad       verb = "load" // on or off
	verbQuit       verb = "quit"
)

// order is one thing that the model wants done. The answer is an event: finished.
type order struct {
	verb   verb
	member string        // whom it is about, if one
	via    string        // the member that is to be asked: the leader
	cuts   map[pair]bool // of verbLinks; never changed after it was sent
	on     bool          // of verbLoad
}

// String names the order in the log.
func (o order) String() string {
	switch o.verb {
	case verbAdd:
		return "add a member"
	case verbAddLearner:
		return "add a learner"
	case verbLead:
		return "move the leadership to " + o.member
	}
	return strings.TrimSpace(string(o.verb) + " " + o.member)
}

// pair is a direction: what one member says to another.
type pair struct{ from, to string }
