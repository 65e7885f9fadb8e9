package sim

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"
)

// Stats counts what one or many simulations did.
type Stats struct {
	Runs       int64
	Simulated  time.Duration
	Recovery   time.Duration // the longest until all served again after the last fault
	FaultCount int64
	Faults     map[string]int64 // by kind

	Acked, Unknown, Refused                                int64 // requests of workers
	Calls, Messages, Requests                              int64
	Starts, Exits, MemberChanges                           int64
	Leases, Renewals, Turns, Compactions                   int64
	WatchResponses, WatchEvents, Progress                  int64
	Checked, Checks, Revisions, Overtaken, Gaps, Undecided int64
}

// Add adds the counts of another simulation.
func (s *Stats) Add(o *Stats) {
	s.Runs += o.Runs
	s.Simulated += o.Simulated
	s.Recovery = max(s.Recovery, o.Recovery)
	s.FaultCount += o.FaultCount
	if s.Faults == nil {
		s.Faults = map[string]int64{}
	}
	for k, n := range o.Faults {
		s.Faults[k] += n
	}
	for _, p := range [][2]*int64{
		{&s.Acked, &o.Acked}, {&s.Unknown, &o.Unknown}, {&s.Refused, &o.Refused},
		{&s.Calls, &o.Calls}, {&s.Messages, &o.Messages}, {&s.Requests, &o.Requests},
		{&s.Starts, &o.Starts}, {&s.Exits, &o.Exits}, {&s.MemberChanges, &o.MemberChanges},
		{&s.Leases, &o.Leases}, {&s.Renewals, &o.Renewals}, {&s.Turns, &o.Turns},
		{&s.Compactions, &o.Compactions}, {&s.WatchResponses, &o.WatchResponses},
		{&s.WatchEvents, &o.WatchEvents}, {&s.Progress, &o.Progress}, {&s.Checked, &o.Checked},
		{&s.Checks, &o.Checks}, {&s.Revisions, &o.Revisions}, {&s.Overtaken, &o.Overtaken},
		{&s.Gaps, &o.Gaps}, {&s.Undecided, &o.Undecided},
	} {
		*p[0] += *p[1]
	}
}

// String is the counts in some lines.
func (s *Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs, %v simulated; requests: %d done, %d without an answer, %d refused\n",
		s.Runs, s.Simulated.Round(time.Second), s.Acked, s.Unknown, s.Refused)
	fmt.Fprintf(&b, "%d revisions, %d operations checked, %d checks; watches: %d events, %d "+
		"progress notices; leases: %d, renewed %d times; turns at locks: %d\n", s.Revisions,
		s.Checked, s.Checks, s.WatchEvents, s.Progress, s.Leases, s.Renewals, s.Turns)
	fmt.Fprintf(&b, "%d starts, %d ends by themselves, %d changes of the membership, %d "+
		"compactions, %d messages; slowest recovery %v; %d histories with a gap, "+
		"%d searches undecided\n", s.Starts, s.Exits, s.MemberChanges, s.Compactions, s.Messages,
		s.Recovery.Round(time.Millisecond),
		s.Gaps, s.Undecided)
	var names []string
	for k := range s.Faults {
		names = append(names, k)
	}
	sort.Strings(names)
	b.WriteString("faults:")
	for i, k := range names {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, " %s %d", k, s.Faults[k])
	}
	return b.String()
}

// Result is what came of a simulation.
type Result struct {
	Options Options
	Failure error  // nil: all is as promised
	Trace   uint64 // of all events: equal for equal options
	Lines   int64  // of the event log
	Planned int    // faults, for Options.Skip
	Stats   Stats
}

// Run simulates. log gets a line for each event; it may be nil.
func Run(o Options, log io.Writer) *Result { return run(o, log, nil) }

func run(o Options, log io.Writer, film *Film) *Result {
	defer seedEntropy(o.Seed)()
	s := newSim(o, log)
	s.film = film
	s.Stats.Faults = map[string]int64{}
	s.simulate()
	s.close()
	s.Stats.Runs, s.Stats.Simulated = 1, s.now
	s.Stats.Revisions = s.truth.history.Revision
	return &Result{
		Options: o, Failure: s.failure, Trace: s.trace.Sum64(), Lines: s.lines,
		Planned: s.nemesis.plans, Stats: s.Stats,
	}
}

// begin sets up the machines, which start soon.
func (s *Sim) begin() {
	s.load, s.nemesis = newLoad(s), newNemesis(s)
	var initial []string
	for range s.opts.Members {
		m := s.newMember()
		initial = append(initial, m.name+"="+m.url)
	}
	for _, m := range s.members {
		m.initial = strings.Join(initial, ",")
		s.after(between(s.faultRNG, 0, 50*time.Millisecond), m.start)
	}
}

func (s *Sim) simulate() {
	s.begin()
	s.film.mark(0, PhaseMark, "faults")
	s.net.faulty = true
	s.load.start()
	s.nemesis.plan()
	s.after(0, s.clientsRun)
	s.until(s.opts.Duration, func() bool { return s.opts.Ops > 0 && s.load.active == 0 })
	for _, next := range []func(){s.recover, s.settle} {
		if s.failure == nil {
			next()
		}
	}
	if s.failure == nil {
		if err := s.verdict(); err != nil {
			s.fail(err)
		}
	}
}

// close ends all tasks.
func (s *Sim) close() {
	s.nemesis.over = true
	for _, m := range s.members {
		if m.life != nil {
			m.stop(m.mem)
		}
	}
	s.clients.end()
}
