package server

import (
	"sync"
	"time"

	"github.com/cairnkv/cairn/node"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/upkeep"
)

// leading starts the clocks of the leases when this member leads and its state is up to date: it
// has applied an entry of its own term, and with it all that earlier leaders have left. Before that
// the table of leases may lack what a log that is being replayed says of their time.
type leading struct {
	mu      sync.Mutex // guards what follows
	term    uint64     // in which this member leads; 0: it does not
	started bool       // the clocks of that term
}

// change takes a new status. On the node's loop.
func (l *leading) change(st node.Status, lessor *upkeep.Lessor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	term := st.Term
	if !st.IsLeader {
		term = 0
	}
	if term == l.term {
		return
	}
	if l.started {
		lessor.Demote()
	}
	l.term, l.started = term, false
}

// applied starts the clocks when it is time. On the applier.
func (l *leading) applied(m *state.Machine, lessor *upkeep.Lessor, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started && l.term != 0 && m.Term() == l.term {
		lessor.Promote(now, m.Leases().All)
		l.started = true
	}
}

// since is the term in which this member leads with the clocks started, 0 if it does not.
func (l *leading) since() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started {
		return 0
	}
	return l.term
}
