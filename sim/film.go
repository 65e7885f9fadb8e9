package sim

import (
	"io"
	"time"
)

// Film shows a run from outside, one frame after the other: for pictures.
type Film struct {
	Every   time.Duration // from frame to frame, simulated
	Members []string      // by index; later ones join on the way
	Frames  []Frame
	Marks   []Mark
	Ends    time.Duration
}

// Frame is one moment. Members that are not there yet have no look.
type Frame struct {
	Looks                   []Look
	Acked, Unknown, Refused int64 // requests of workers, up to here
}

// Look is what a member looks like.
type Look struct {
	State    State
	Term     uint64
	Revision int64 // visible
	Cut      bool  // some link from or to it is cut
}

// State is what a member's process does.
type State int

// The states.
const (
	Gone      State = iota // removed from the cluster, or not part of it yet
	Down                   // no process
	Starting               // it does not serve yet
	Paused                 // stopped by SIGSTOP
	Searching              // it knows no leader
	Learning
	Following
	Leading
)

// Mark is something that happened: a fault, a phase that began, the failure.
type Mark struct {
	At   time.Duration
	Kind MarkKind
	Text string
}

// MarkKind is what a mark is of.
type MarkKind int

// The kinds.
const (
	FaultMark MarkKind = iota
	PhaseMark
	FailureMark
)

// filmEvery is the time between two frames.
const filmEvery = 20 * time.Millisecond

// RunFilmed is Run with a film of it. The run is the same.
func RunFilmed(o Options, log io.Writer) (*Result, *Film) {
	film := &Film{Every: filmEvery}
	return run(o, log, film), film
}

// mark notes what happens now.
func (f *Film) mark(at time.Duration, kind MarkKind, text string) {
	if f != nil {
		f.Marks = append(f.Marks, Mark{at, kind, text})
	}
}

// take takes the frames that are due.
func (f *Film) take(s *Sim) {
	if f == nil || time.Duration(len(f.Frames))*f.Every > s.now {
		return
	}
	frame := Frame{Acked: s.Stats.Acked, Unknown: s.Stats.Unknown, Refused: s.Stats.Refused}
	for _, m := range s.members {
		if m.index >= len(f.Members) {
			f.Members = append(f.Members, m.name)
		}
		frame.Looks = append(frame.Looks, m.look())
	}
	for time.Duration(len(f.Frames))*f.Every <= s.now {
		f.Frames = append(f.Frames, frame)
	}
	f.Ends = s.now
}

// look is what can be seen of a member.
func (m *member) look() Look {
	var look Look
	for l, cut := range m.sim.net.cut {
		look.Cut = look.Cut || cut && (l.from == m.index || l.to == m.index)
	}
	switch l := m.life; {
	case !m.part():
		return Look{}
	case l == nil:
		look.State = Down
	case m.paused:
		look.State = Paused
	case l.server == nil:
		look.State = Starting
	default:
		status := l.server.Node().Status()
		look.Term, look.Revision = status.Term, l.server.Machine().Store().Rev()
		switch {
		case status.IsLeader:
			look.State = Leading
		case status.Leader == 0:
			look.State = Searching
		case status.Learner:
			look.State = Learning
		default:
			look.State = Following
		}
	}
	return look
}
