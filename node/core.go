package node

import (
	"errors"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/cairnkv/cairn/internal/mutate"
)

// Core is consensus as a pure machine around raft.RawNode: ticks, proposals and messages go in;
// writes, messages to send, entries to apply and read points come out of Ready. It does no I/O,
// starts no goroutine and reads no clock, so that a simulator can run a whole cluster in one
// thread. It is not safe for concurrent use.
//
// The owner's loop:
//
//	core.Tick / Propose / ReadIndex / Step ...
//	for core.Ready(&out) {
//		hand out.Appends to the log writer, in order; when one is durable, Step its Responses
//		hand out.Applies to the applier, in order; when one is applied, Step its Responses
//		send out.Sends to the peers
//	}
//
// Of a committed configuration change that the applier has carried out, ApplyConfChange comes
// before the applier's response.
type Core struct {
	raw     *raft.RawNode
	id      uint64
	lone    bool // the only voter
	learner bool
	voters  int

	restored  uint64            // index of the last snapshot that was handed out
	committed uint64            // term of the last entry that was handed out to be applied
	early     []*raftpb.Message // read points asked for before a lone leader knows them
	history   history
}

// CoreConfig is what a core starts from.
type CoreConfig struct {
	ID             uint64
	ElectionTicks  int // ticks without a leader until an election; > HeartbeatTicks
	HeartbeatTicks int
	Storage        raft.Storage
	Applied        uint64 // entries up to here are in the state already
	Logger         raft.Logger
}

// Limits of the consensus.
const (
	// maxMessageBytes bounds the entries in one message to a peer (etcd: 1 MiB).
	maxMessageBytes = 1 << 20
	// maxApplyingBytes bounds the entries handed out to be applied and not yet applied.
	maxApplyingBytes = 16 << 20
	// maxUncommittedBytes bounds what a leader takes into its log without a quorum.
	maxUncommittedBytes = 256 << 20
	// maxInflightMessages bounds the messages under way to one peer (etcd: 512).
	maxInflightMessages = 512
	// maxInflightBytes bounds the entries in them: what a slow peer may keep in memory here. It is
	// less than a queue of package transport takes, or what that drops is sent again and again.
	maxInflightBytes = 24 << 20
	// maxEarlyReads bounds the read points that wait for a lone leader's first entry: each member
	// asks for one at a time, and again when it hears nothing.
	maxEarlyReads = 1 << 10
)

// NewCore makes a core.
func NewCore(c CoreConfig) (*Core, error) {
	raw, err := raft.NewRawNode(&raft.Config{
		ID:                        c.ID,
		ElectionTick:              c.ElectionTicks,
		HeartbeatTick:             c.HeartbeatTicks,
		Storage:                   c.Storage,
		Applied:                   c.Applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             maxMessageBytes,
		MaxCommittedSizePerReady:  maxApplyingBytes,
		MaxUncommittedEntriesSize: maxUncommittedBytes,
		MaxInflightMsgs:           maxInflightMessages,
		MaxInflightBytes:          maxInflightBytes,
		CheckQuorum:               true,
		PreVote:                   true,
		StepDownOnRemoval:         true,
		Logger:                    c.Logger,
	})
	if err != nil {
		return nil, err
	}
	_, conf, err := c.Storage.InitialState()
	if err != nil {
		return nil, err
	}
	last, err := c.Storage.LastIndex()
	if err != nil {
		return nil, err
	}
	core := &Core{raw: raw, id: c.ID, history: history{
		storage: c.Storage, log: c.Logger, applied: c.Applied, last: last,
	}}
	core.setConf(conf)
	return core, nil
}

func (c *Core) setConf(conf *raftpb.ConfState) {
	c.lone = isLone(conf, c.id)
	c.learner = slices.Contains(conf.GetLearners(), c.id)
	c.voters = len(conf.GetVoters())
}

// isLone says whether id is the only voter.
func isLone(conf *raftpb.ConfState, id uint64) bool {
	voters := conf.GetVoters()
	return len(conf.GetVotersOutgoing()) == 0 && len(voters) == 1 && voters[0] == id
}

// Output is what Ready gives. The messages are raft's MsgStorageAppend and MsgStorageApply with
// their Responses, and messages to peers. Slices are the owner's.
type Output struct {
	Appends []*raftpb.Message
	Applies []*raftpb.Message
	Sends   []*raftpb.Message
	Reads   []raft.ReadState
}

// Ready collects what there is to do and says whether there is anything.
func (c *Core) Ready(out *Output) bool {
	*out = Output{Appends: out.Appends[:0], Applies: out.Applies[:0], Sends: out.Sends[:0]}
	c.stepEarlyReads()
	if !c.raw.HasReady() {
		return false
	}
	rd := c.raw.Ready()
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			if snap := m.GetSnapshot(); snap != nil { // raft has taken its configuration over
				c.setConf(snap.GetMetadata().GetConfState())
				c.restored = snap.GetMetadata().GetIndex()
			}
			c.history.noteAppend(m)
			out.Appends = append(out.Appends, m)
		case raft.LocalApplyThread:
			if entries := m.GetEntries(); len(entries) > 0 {
				c.committed = entries[len(entries)-1].GetTerm()
			}
			out.Applies = append(out.Applies, m)
		default:
			out.Sends = append(out.Sends, m)
		}
	}
	out.Reads = rd.ReadStates
	return true
}

// Tick is one heartbeat interval.
func (c *Core) Tick() { c.raw.Tick() }

// Campaign starts an election at once: a lone voter need not wait for the timeout.
func (c *Core) Campaign() error { return c.raw.Campaign() }

// Propose appends an entry; raft.ErrProposalDropped says that there is no leader, or too much is
// uncommitted: try again later.
func (c *Core) Propose(data []byte) error { return c.raw.Propose(data) }

// ProposeConfChange appends a configuration change; raft.ErrProposalDropped as for Propose. A
// leader must not be given one while it has one that is not applied: raft would put an empty entry
// in its place (see Node.mayChange).
func (c *Core) ProposeConfChange(cc *raftpb.ConfChangeV2) error {
	return c.raw.ProposeConfChange(cc)
}

// ApplyConfChange tells raft of a configuration change that was carried out by the time that the
// state was at index. What the applier carries out behind a snapshot that raft has taken over is
// passed over: the snapshot's configuration has it, or has what became of it since.
func (c *Core) ApplyConfChange(index uint64, cc *raftpb.ConfChangeV2) {
	if index > c.restored {
		c.setConf(c.raw.ApplyConfChange(cc))
	}
}

// Transfer asks a leader to hand its office to a voter; it does so when that one's log is
// up to date, or forgets it after an election timeout.
func (c *Core) Transfer(to uint64) { c.raw.TransferLeader(to) }

// Unreachable says that a message to a peer was lost.
func (c *Core) Unreachable(id uint64) { c.raw.ReportUnreachable(id) }

// RetrySnapshots makes a leader send the snapshot messages again to the peers that wait for one.
func (c *Core) RetrySnapshots() {
	var waiting []uint64
	c.raw.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if pr.State == tracker.StateSnapshot {
			waiting = append(waiting, id)
		}
	})
	for _, id := range waiting {
		c.raw.ReportSnapshot(id, raft.SnapshotFailure)
	}
}

// Peer is what a leader knows of a member's log.
type Peer struct {
	Match   uint64 // the last entry known to be durable there
	Next    uint64
	State   string // as raft names it: "StateReplicate", ...
	Learner bool
	Active  bool // it was heard of lately
}

// Peers is the progress of all members, itself included; nil if this member does not lead.
func (c *Core) Peers() map[uint64]Peer {
	if c.raw.BasicStatus().RaftState != raft.StateLeader {
		return nil
	}
	peers := make(map[uint64]Peer)
	c.raw.WithProgress(func(id uint64, kind raft.ProgressType, pr tracker.Progress) {
		peers[id] = Peer{
			Match: pr.Match, Next: pr.Next, State: pr.State.String(),
			Learner: kind == raft.ProgressTypeLearner, Active: pr.RecentActive,
		}
	})
	return peers
}

// Successor is the voter that has most of the log and was heard of lately, other than this member
// and those in past; 0 if there is none or this member does not lead.
func (c *Core) Successor(past map[uint64]bool) uint64 {
	var best, match uint64
	for id, p := range c.Peers() {
		if id == c.id || p.Learner || !p.Active || past[id] {
			continue
		}
		if best == 0 || p.Match > match || p.Match == match && id < best {
			best, match = id, p.Match
		}
	}
	return best
}

// ReadIndex asks for a read point; it comes with the same context in Output.Reads, or is lost.
func (c *Core) ReadIndex(context []byte) {
	if c.knowsReadPoint() {
		c.raw.ReadIndex(context)
		return
	}
	c.addEarlyRead(&raftpb.Message{
		Type: raftpb.MsgReadIndex.Enum(), Entries: []*raftpb.Entry{{Data: context}},
	})
}

// knowsReadPoint says whether what raft answers to MsgReadIndex now is a read point. The commit
// index of a new leader may be behind what was acknowledged before (it is written without a sync of
// its own) until an entry of its term is committed. Among several voters raft waits for that; a
// lone one it lets answer at once.
func (c *Core) knowsReadPoint() bool {
	if !c.lone {
		return true
	}
	s := c.raw.BasicStatus()
	return s.RaftState != raft.StateLeader || c.committed == s.GetTerm()
}

func (c *Core) addEarlyRead(m *raftpb.Message) {
	if len(c.early) < maxEarlyReads { // else it is lost, and asked for again
		c.early = append(c.early, m)
	}
}

// stepEarlyReads gives raft the reads that have waited, once it can answer them or another leads.
func (c *Core) stepEarlyReads() {
	if len(c.early) == 0 || !c.knowsReadPoint() {
		return
	}
	for _, m := range c.early {
		_ = c.raw.Step(m) // an error says that it is lost, as one that comes without a leader
	}
	c.early = nil
}

// Step takes a message of a peer, or a response of the log writer or the applier. Messages that do
// not matter any more are no error; raft.ErrProposalDropped says that a peer's proposals were not
// taken, as those of Propose. A *DivergedError says that this member cannot go on.
func (c *Core) Step(m *raftpb.Message) error {
	if err := c.CheckHistory(m); err != nil {
		return err
	}
	if c.history.boasts(m, c.raw.BasicStatus) {
		return nil
	}
	c.history.noteStep(m)
	if m.GetType() == raftpb.MsgReadIndex && !c.knowsReadPoint() {
		c.addEarlyRead(m)
		return nil
	}
	err := c.raw.Step(m)
	if errors.Is(err, raft.ErrStepPeerNotFound) {
		return nil
	}
	return err
}

// LastIndex is the end of the log once all that Ready has given is in it.
func (c *Core) LastIndex() uint64 { return c.history.last }

// CheckHistory is the part of Step that looks for a *DivergedError.
func (c *Core) CheckHistory(m *raftpb.Message) error {
	return c.history.check(m, c.raw.BasicStatus)
}

// Status is consensus seen from this member.
type Status struct {
	Leader   uint64 // 0: none known
	Term     uint64
	Commit   uint64
	Applied  uint64
	IsLeader bool
	// Lone says that this member is the only voter.
	Lone    bool
	Voters  int
	Learner bool
	Vote    uint64 // whom this member voted for in Term, 0 is nobody
	Role    string // as raft names it: "StateLeader", ...
}

// Status describes the moment.
func (c *Core) Status() Status {
	s := c.raw.BasicStatus()
	return Status{
		Leader: s.Lead, Term: s.GetTerm(), Commit: s.GetCommit(), Applied: s.Applied,
		IsLeader: s.RaftState == raft.StateLeader,
		Lone:     c.lone,
		Voters:   c.voters,
		Learner:  c.learner,
		Vote:     s.GetVote(), Role: s.RaftState.String(),
	}
}

// needsSync says whether a MsgStorageAppend must be durable before its responses go out: entries,
// a vote or a term do; a commit index alone is only a hint.
func needsSync(m *raftpb.Message, last *raftpb.HardState) bool {
	if len(m.GetEntries()) > 0 || m.GetSnapshot() != nil {
		return true
	}
	if mutate.On(mutate.VoteUnsynced) {
		return false
	}
	return m.Term != nil && (m.GetTerm() != last.GetTerm() || m.GetVote() != last.GetVote())
}

// hardStateOf is the hard state in a MsgStorageAppend, nil when it did not change.
func hardStateOf(m *raftpb.Message) *raftpb.HardState {
	if m.Term == nil && m.Vote == nil && m.Commit == nil {
		return nil
	}
	return &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
}
