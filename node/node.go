// Package node owns raft: it turns requests into log entries, entries into durable records and
// committed entries into state, and tells the clients that wait.
//
// # The way of a proposal
//
//	Propose ──> queue ──> pass: one entry of many commands ──> RawNode
//	                        │ MsgStorageAppend                     ^ responses
//	                        v                                      │
//	                      write: one write, one fdatasync for all that waits
//	                        │ committed: MsgStorageApply           ^ responses
//	                        v                                      │
//	                      apply: state.Apply..., Publish, watchers, then the clients
//
// Three parts, each of which is one goroutine's at a time: the [Core], with which a pass is made,
// the raft log, the state machine. They meet in mailboxes: while one fdatasync runs, all that
// arrives waits for the next one together. Under load each part has a goroutine: the loop, the
// writer, the applier. What arrives when the writer has nothing to do wakes the writer alone, which
// then does all three: a request that is by itself crosses from one goroutine to another once and
// not five times.
//
// A client hears of success only after its entry is durable on a quorum, applied, and visible to
// readers. An error of the disk is final: the node calls Config.Fatal and answers no one.
package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/task"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Log is the durable raft log (package wal). A pass reads it as raft.Storage; what changes it is
// the writer's alone.
type Log interface {
	HardState() *raftpb.HardState
	FirstIndex() uint64
	LastIndex() uint64
	Term(index uint64) (uint64, error)
	Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error)
	Append(hs *raftpb.HardState, entries []*raftpb.Entry) error
	Flush(sync bool) error
	// Mark notes, without a sync, that all is durable; called after each Flush.
	Mark() error
	// Truncate gives up the entries up to index.
	Truncate(index uint64) error
}

// Installer takes over a peer's state in place of log entries that are gone.
type Installer interface {
	// Fetch gets a state at m's index or a later one from whoever has it, in the background, and
	// then calls Node.Fetched. It is asked again and again as long as the log is too short.
	Fetch(m *raftpb.Message)
	// Install makes the fetched state that of the machine, durable, and resets the raft log to
	// its index. It runs on the writer, which owns the log meanwhile; cairn.ErrStopped is no
	// failure.
	Install(index, term uint64) error
}

// Transport sends messages to peers; it does not block and may lose them.
type Transport interface {
	Send(messages []*raftpb.Message)
}

// Config is what a node runs with. The functions are called from the node's goroutines and must not
// block: those of a pass by whoever makes it, those of the applier by whoever applies, who may read
// the machine as its owner.
type Config struct {
	ID             cairn.MemberID
	TickInterval   time.Duration // the heartbeat interval
	ElectionTicks  int
	AdvanceTicks   int           // of the first election timeout, which count as gone
	RequestTimeout time.Duration // after which a waiting client is told ErrTimeout
	// FirstSequence numbers this process's proposals from here. It must be random: entries of an
	// earlier life, still in the log, must not find this one's clients.
	FirstSequence uint64
	Log           Log
	Machine       *state.Machine
	Transport     Transport // nil: no peers
	Installer     Installer // nil: no peers
	Clock         clock.Clock
	Tasks         task.Tasks
	Logger        raft.Logger

	// Published is called on the applier when a batch became visible, before its clients hear.
	Published func(rev int64, events []mvcc.Event)
	// Leases is called on the applier with what happened to leases, before the clients hear.
	Leases func(events []state.LeaseEvent)
	// Applied is called on the applier after each pass, before its clients hear, with the index
	// reached and the bytes of the pass's entries.
	Applied func(index uint64, bytes int)
	// MembersChanged is called on the applier when the membership changed, before raft and the
	// clients hear of it.
	MembersChanged func()
	// LeaderChanged is called in a pass when the known leader or the term changed. Of a member
	// that leads it comes before any entry of that term is applied here.
	LeaderChanged func(s Status)
	// ProposalsFailed and ReadsFailed are called in a pass with how many clients were told that
	// their time was over; SlowRead when a read point has to be asked for again.
	ProposalsFailed, ReadsFailed func(n int)
	SlowRead                     func()
	// Together, if set, is called with what tells many clients something in a row, in a pass and by
	// the applier, and calls it: what is sent to the clients may gather meanwhile.
	Together func(tell func())
	// Divided leaves each part to its own goroutine, however little there is to do.
	Divided bool
	// Fatal is called once with the error that ends the process; it must not return to normal.
	Fatal func(err error)
}

// together calls tell, which tells many clients something.
func (n *Node) together(tell func()) {
	if n.cfg.Together == nil {
		tell()
		return
	}
	n.cfg.Together(tell)
}

// Done takes the outcome of a request: reply, a response message that is valid during the call
// alone, or an error (*cairn.Error). It is called once, must not block, and not call the node.
type Done func(reply []byte, err error)

// Node runs one member's consensus.
type Node struct {
	cfg  Config
	core *Core

	proposals proposalQueue
	changes   proposalQueue            // of the configuration
	inbox     mailbox[*raftpb.Message] // messages for the core
	confs     mailbox[confBatch]       // carried out, for the core
	calls     mailbox[func(*Core)]
	appends   mailbox[*raftpb.Message] // for the writer
	applies   mailbox[*raftpb.Message] // for the applier
	visits    mailbox[func(*state.Machine)]
	reads     *readQueue
	waiting   *waitTable

	status     atomic.Pointer[Status]
	leaders    atomic.Pointer[chan struct{}] // closed when the known leader or the term changes
	applied    atomic.Uint64
	point      atomic.Pointer[point] // the state that was applied last
	writing    atomic.Int64          // when the write under way began, in ns from began; 0: none
	detour     atomic.Int64          // the same of what the writer applies
	truncateTo atomic.Uint64         // entries up to here are no longer needed
	unsynced   atomic.Int64          // entries' messages handed to the writer and not yet durable
	soloReader atomic.Bool           // a lone voter that leads: reads need no round

	wakeLoop, wakeWriter, wakeApplier signal
	idle                              atomic.Bool // the writer is the one to wake for a pass

	applying task.Mutex // guards cfg.Machine and:
	applier  applier

	turn      task.Mutex // guards core and what follows
	by        occasion   // of the pass
	box       boxes
	proposer  proposer
	ticks     int
	installs  int // snapshots that were handed to the writer
	held      []heldProposal
	confIndex uint64          // before it is applied, no configuration change may be proposed
	leader    uint64          // the last known
	passed    map[uint64]bool // to whom a leader with a hanging disk has tried to hand over
	passing   time.Time       // when it tried last

	began   time.Time
	stop    chan struct{}
	stopped task.Group
	once    sync.Once
	failed  atomic.Bool
}

// Start runs a node. The machine must be at Applied == machine.Index(); entries after it that the
// log holds are applied as raft finds them committed.
func Start(cfg Config) (_ *Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = raftError(p)
		}
	}()
	n := &Node{
		cfg:      cfg,
		waiting:  newWaitTable(),
		stop:     make(chan struct{}),
		began:    cfg.Clock.Now(),
		proposer: proposer{sequence: cfg.FirstSequence},
	}
	n.wakeLoop, n.wakeWriter, n.wakeApplier = newSignal(), newSignal(), newSignal()
	n.reads = newReadQueue(cfg.RequestTimeout, cfg.ID, cfg.FirstSequence)
	n.applied.Store(cfg.Machine.Index())
	n.notePoint(cfg.Machine)
	changes := make(chan struct{})
	n.leaders.Store(&changes)
	core, err := NewCore(CoreConfig{
		ID: cfg.ID, ElectionTicks: cfg.ElectionTicks, HeartbeatTicks: 1,
		Storage: storage{
			log: cfg.Log, conf: cfg.Machine.Conf(), applied: cfg.Machine.Index(),
			term: cfg.Machine.Term(), point: &n.point,
		},
		Applied: cfg.Machine.Index(), Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	n.core = core
	first := core.Status()
	n.status.Store(&first)
	if first.Lone {
		if err := core.Campaign(); err != nil {
			return nil, err
		}
	}
	for range cfg.AdvanceTicks {
		core.Tick()
	}
	n.wakeLoop.give() // for what there is to do already
	n.stopped.Go(cfg.Tasks, "loop", n.runLoop)
	n.stopped.Go(cfg.Tasks, "writer", n.runWriter)
	n.stopped.Go(cfg.Tasks, "applier", n.runApplier)
	return n, nil
}

// Propose queues a command: request is the protobuf message that command.Kind names, and stays
// unchanged until done is called. Errors come through done: ErrTooManyRequests at once when the
// queue is full, ErrTimeout after Config.RequestTimeout (the command may still take effect),
// ErrStopped.
func (n *Node) Propose(kind command.Kind, request []byte, done Done) {
	n.queue(proposal{kind: kind, request: request, done: done, at: n.cfg.Clock.Now()})
}

func (n *Node) queue(p proposal) {
	if n.proposals.put(p) {
		n.wakeCore()
	}
}

// ProposeAsLeader is Propose for what this member decided as the leader of a term: it enters the
// log in that term or never, with ErrNotLeader.
func (n *Node) ProposeAsLeader(term uint64, kind command.Kind, request []byte, done Done) {
	n.queue(proposal{kind: kind, request: request, done: done, at: n.cfg.Clock.Now(), term: term})
}

// Barrier calls done(nil) once local reads see every write acknowledged before the call
// (a linearizable read point). Errors: ErrTimeout, ErrLeaderChanged, ErrStopped.
func (n *Node) Barrier(done func(err error)) {
	if n.soloReader.Load() || mutate.On(mutate.ReadWithoutQuorum) && n.Status().IsLeader {
		done(nil)
		return
	}
	n.reads.put(done, n.cfg.Clock.Now())
	n.wakeCore()
}

// Status describes the moment.
func (n *Node) Status() Status {
	s := *n.status.Load()
	s.Applied = n.applied.Load()
	return s
}

// Pending is the number of requests that wait to be proposed or to be applied.
func (n *Node) Pending() int { return n.proposals.len() + n.waiting.len() }

// Visit runs fn on the applier between two batches, when all that was applied is published.
// ctx bounds the wait.
func (n *Node) Visit(ctx context.Context, fn func(*state.Machine)) error {
	finished := make(chan struct{})
	n.visits.put(func(m *state.Machine) {
		fn(m)
		close(finished)
	})
	n.wakeApplier.give()
	switch n.cfg.Tasks.Wait(nil, finished, ctx.Done(), n.stop) {
	case 0:
		return nil
	case 1:
		return ctx.Err()
	default:
		return cairn.ErrStopped
	}
}

// Truncate lets the raft log give up the entries up to index, which a durable checkpoint holds.
func (n *Node) Truncate(index uint64) {
	n.truncateTo.Store(index)
	n.wakeWriter.give()
}

// Stop ends the node's goroutines; clients that wait are told ErrStopped.
func (n *Node) Stop() {
	n.once.Do(func() { close(n.stop) })
	n.stopped.Wait(n.cfg.Tasks)
	n.soloReader.Store(false)
	for _, p := range append(n.proposer.backlog, n.proposer.changes...) {
		p.done(nil, errStopped)
	}
	n.proposer.backlog, n.proposer.changes = nil, nil
	n.proposals.close()
	n.changes.close()
	n.waiting.failAll(cairn.ErrStopped)
	n.reads.failAll(cairn.ErrStopped)
}

// fatal reports the error that ends the process. The goroutine that met it goes no further.
func (n *Node) fatal(err error) {
	if n.failed.CompareAndSwap(false, true) {
		n.cfg.Fatal(err)
	}
}
