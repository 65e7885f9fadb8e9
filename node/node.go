// Package node owns raft: it turns requests into log entries, entries into durable records and
// committed entries into state, and tells the clients that wait.
//
// # The way of a proposal
//
//	Propose ──> queue ──> loop: one entry of many commands ──> RawNode
//	                        │ MsgStorageAppend                     ^ responses
//	                        v                                      │
//	                      writer: one write, one fdatasync for all that waits
//	                        │ committed: MsgStorageApply           ^ responses
//	                        v                                      │
//	                      applier: state.Apply..., Publish, watchers, then the clients
//
// Three goroutines, each the owner of its part: the loop of the [Core], the writer of the raft
// log, the applier of the state machine. They meet in mailboxes: while one fdatasync runs, all
// that arrives waits for the next one together.
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
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/state"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Log is the durable raft log (package wal). The loop reads it as raft.Storage; what changes it is
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

// Transport sends messages to peers; it does not block and may lose them.
type Transport interface {
	Send(messages []*raftpb.Message)
}

// Config is what a node runs with. The functions are called from the node's goroutines and
// must not block; those of the applier may read the machine as its owner.
type Config struct {
	ID             cairn.MemberID
	TickInterval   time.Duration // the heartbeat interval
	ElectionTicks  int
	RequestTimeout time.Duration // after which a waiting client is told ErrTimeout
	// FirstSequence numbers this process's proposals from here. It must be random: entries of an
	// earlier life, still in the log, must not find this one's clients.
	FirstSequence uint64
	Log           Log
	Machine       *state.Machine
	Transport     Transport // nil: no peers
	Clock         clock.Clock
	Logger        raft.Logger

	// Published is called on the applier when a batch became visible, before its clients hear.
	Published func(rev int64, events []mvcc.Event)
	// Leases is called on the applier with what happened to leases, before the clients hear.
	Leases func(events []state.LeaseEvent)
	// Applied is called on the applier after each pass, before its clients hear, with the index
	// reached and the bytes of the pass's entries.
	Applied func(index uint64, bytes int)
	// LeaderChanged is called on the loop when the known leader or the term changed. Of a member
	// that leads it comes before any entry of that term is applied here.
	LeaderChanged func(s Status)
	// Fatal is called once with the error that ends the process; it must not return to normal.
	Fatal func(err error)
}

// Done takes the outcome of a request: reply, a response message that is valid during the call
// alone, or an error (*cairn.Error). It is called once, must not block, and not call the node.
type Done func(reply []byte, err error)

// Node runs one member's consensus.
type Node struct {
	cfg  Config
	core *Core

	proposals *proposalQueue
	inbox     *mailbox[*raftpb.Message] // messages for the core
	appends   *mailbox[*raftpb.Message] // for the writer
	applies   *mailbox[*raftpb.Message] // for the applier
	visits    *mailbox[func(*state.Machine)]
	reads     *readQueue
	waiting   *waitTable

	status     atomic.Pointer[Status]
	applied    atomic.Uint64
	truncateTo atomic.Uint64 // entries up to here are no longer needed
	unsynced   atomic.Int64  // entries' messages handed to the writer and not yet durable
	soloReader atomic.Bool   // lone voter, leader, applied into its term: reads need no round

	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
	failed  atomic.Bool
}

// Start runs a node. The machine must be at Applied == machine.Index(); entries after it that the
// log holds are applied as raft finds them committed.
func Start(cfg Config) (*Node, error) {
	core, err := NewCore(CoreConfig{
		ID: cfg.ID, ElectionTicks: cfg.ElectionTicks, HeartbeatTicks: 1,
		Storage: storage{cfg.Log, cfg.Machine.Conf(), cfg.Machine.Index(), cfg.Machine.Term()},
		Applied: cfg.Machine.Index(), Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, core: core,
		proposals: newProposalQueue(),
		inbox:     newMailbox[*raftpb.Message](),
		appends:   newMailbox[*raftpb.Message](),
		applies:   newMailbox[*raftpb.Message](),
		visits:    newMailbox[func(*state.Machine)](),
		waiting:   newWaitTable(),
		stop:      make(chan struct{}),
	}
	n.reads = newReadQueue(cfg.RequestTimeout)
	n.applied.Store(cfg.Machine.Index())
	first := core.Status()
	n.status.Store(&first)
	if first.Lone {
		if err := core.Campaign(); err != nil {
			return nil, err
		}
	}
	n.stopped.Add(3)
	go n.runLoop()
	go n.runWriter()
	go n.runApplier()
	return n, nil
}

// Propose queues a command: request is the protobuf message that command.Kind names, and stays
// unchanged until done is called. Errors come through done: ErrTooManyRequests at once when the
// queue is full, ErrTimeout after Config.RequestTimeout (the command may still take effect),
// ErrStopped.
func (n *Node) Propose(kind command.Kind, request []byte, done Done) {
	n.proposals.put(proposal{kind, request, done, n.cfg.Clock.Now()})
}

// Barrier calls done(nil) once local reads see every write acknowledged before the call
// (a linearizable read point). Errors: ErrTimeout, ErrLeaderChanged, ErrStopped.
func (n *Node) Barrier(done func(err error)) {
	if n.soloReader.Load() {
		done(nil)
		return
	}
	n.reads.put(done, n.cfg.Clock.Now())
	n.inbox.poke()
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
	n.applies.poke()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-n.stop:
		return cairn.ErrStopped
	}
}

// Truncate lets the raft log give up the entries up to index, which a durable checkpoint holds.
func (n *Node) Truncate(index uint64) {
	n.truncateTo.Store(index)
	n.appends.poke()
}

// Deliver takes messages of peers.
func (n *Node) Deliver(messages []*raftpb.Message) { n.inbox.put(messages...) }

// Stop ends the node's goroutines; clients that wait are told ErrStopped.
func (n *Node) Stop() {
	n.once.Do(func() { close(n.stop) })
	n.stopped.Wait()
	n.soloReader.Store(false)
	n.proposals.close()
	n.waiting.failAll(cairn.ErrStopped)
	n.reads.failAll(cairn.ErrStopped)
}

// fatal reports the error that ends the process. The goroutine that met it goes no further.
func (n *Node) fatal(err error) {
	if n.failed.CompareAndSwap(false, true) {
		n.cfg.Fatal(err)
	}
}

// storage is the log as raft reads it.
type storage struct {
	log     Log
	conf    *raftpb.ConfState
	applied uint64 // at the start, and its term
	term    uint64
}

// InitialState is the durable hard state. Its commit index may lag behind: it is written without a
// sync of its own; but what a checkpoint holds was committed, in its term or an earlier one.
func (s storage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hs := &raftpb.HardState{}
	if stored := s.log.HardState(); stored != nil {
		hs = proto.Clone(stored).(*raftpb.HardState)
	}
	if hs.GetCommit() < s.applied {
		hs.Commit = proto.Uint64(s.applied)
	}
	if hs.GetTerm() < s.term {
		hs.Term = proto.Uint64(s.term)
		hs.Vote = nil
	}
	return hs, s.conf, nil
}

func (s storage) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	return s.log.Entries(lo, hi, maxBytes)
}

func (s storage) Term(i uint64) (uint64, error) { return s.log.Term(i) }
func (s storage) LastIndex() (uint64, error)    { return s.log.LastIndex(), nil }
func (s storage) FirstIndex() (uint64, error)   { return s.log.FirstIndex(), nil }

func (s storage) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}
