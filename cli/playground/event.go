package playground

import "time"

// event is what the model is told. It is one of the types of this file; all of them are values.
type event any

type (
	// joined says that a member is one of ours from now on; its process was started.
	joined struct {
		name     string
		id       uint64 // 0: not known yet
		endpoint string // host:port for clients
		learner  bool
	}

	// answered is the answer of a member to the question how it is.
	answered struct {
		name   string
		status status
	}

	// silent says that a member did not answer.
	silent struct{ name string }

	// counted is what a member's metrics say.
	counted struct {
		name           string
		keys, watchers int64
	}

	// listed is the list of members as the cluster has it: name (if it is one of ours) by id.
	listed struct{ ids map[uint64]bool }

	// ended says that a process ended although nobody asked it to.
	ended struct {
		name string
		how  string // exit status, and the last words of its log
	}

	// finished is the end of an order.
	finished struct {
		order  order
		err    error
		joined joined // of verbAdd and verbAddLearner
	}

	// measured is what the load saw since the last one.
	measured struct {
		writes  int           // that succeeded
		latency time.Duration // of a write, on average
		stalled time.Duration // how long no write has succeeded now; 0 if all is well
		longest time.Duration // the longest pause between two writes since the load began
		outages []time.Duration
	}

	// pressed is a key, as the terminal's library names it: "k", "up", "ctrl+c".
	pressed struct{ key string }

	// typed is a line of commands where there is no terminal.
	typed struct{ line string }

	// resized is the size of the terminal in cells.
	resized struct{ width, height int }

	// passed says that time has passed and nothing else.
	passed struct{}
)

// status is what a member says of itself.
type status struct {
	id, leader     uint64 // leader is 0 where there is none
	term           uint64
	index, applied uint64 // of the raft log
	revision       int64
	size           int64 // bytes
	learner        bool
	alarms         []string
}
