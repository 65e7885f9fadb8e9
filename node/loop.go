package node

import (
	"fmt"
	"runtime"

	"github.com/cairnkv/cairn/task"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// graceTicks is how long, in heartbeats, what was proposed to one leader is waited for when another
// is known.
const graceTicks = 5

// occasion is who makes a pass, and why.
type occasion int

const (
	byLoop   occasion = iota // something has arrived
	byTick                   // on the loop: a heartbeat interval is over
	byWriter                 // likewise, or it has written; it sees itself to what follows
)

// runLoop makes a pass at each tick, and whenever something arrives while the writer writes.
func (n *Node) runLoop() {
	ticker := n.cfg.Clock.NewTicker(n.cfg.TickInterval)
	defer ticker.Stop()
	for {
		by := byLoop
		switch n.cfg.Tasks.Wait(ticker.C(), n.stop, n.wakeLoop) {
		case 0:
			return
		case task.Timer:
			by = byTick
		}
		if !n.pass(by) {
			return
		}
	}
}

// wakeCore has a pass made for what has arrived: by the writer if all is quiet and it has nothing
// to do, since most passes end with something to write, else by the loop. What was put somewhere
// before the call is seen: the writer makes a pass after it has said that it is busy, or has the
// loop make one if there is something to write first.
func (n *Node) wakeCore() {
	if n.idle.Load() {
		n.wakeWriter.give()
	} else {
		n.wakeLoop.give()
	}
}

// pass gives the core what has arrived and hands out what follows. It says whether the node can go
// on.
func (n *Node) pass(by occasion) (ok bool) {
	n.turn.Lock(n.cfg.Tasks)
	defer n.turn.Unlock()
	defer n.endOnPanic()
	if n.failed.Load() {
		return false // perhaps in the midst of a pass: nobody touches the core any more
	}
	n.by = by
	if by == byTick {
		n.tick()
	}
	if err := n.take(); err != nil {
		n.fatal(fmt.Errorf("raft: %w", err))
		return false
	}
	n.handOut()
	if err := n.stepHeld(); err != nil {
		n.fatal(fmt.Errorf("raft: %w", err))
		return false
	}
	now := n.cfg.Clock.Now()
	n.beginReads(now)
	n.proposeChanges()
	n.propose()
	if n.failed.Load() {
		return false
	}
	n.stepReads(now, len(n.proposer.backlog) > 0 && !n.hasRoom())
	n.handOut()
	return true
}

// endOnPanic turns what raft finds impossible into the error that ends the process.
func (n *Node) endOnPanic() {
	if p := recover(); p != nil {
		n.fatal(raftError(p))
	}
}

// raftError is the error for which raft panics: one of the log, if that cannot be read, or a text;
// most often a peer's message shows then that this member has lost a part of its log. Other panics
// go on.
func raftError(p any) error {
	switch p := p.(type) {
	case runtime.Error:
		panic(p)
	case error:
		return fmt.Errorf("raft: %w", p)
	case string:
		return fmt.Errorf("raft: %s; if this member's data was replaced or restored while the "+
			"others went on, remove the member from the cluster and add it anew", p)
	}
	panic(p)
}

// boxes is what a pass takes out of the mailboxes; the memory is used again.
type boxes struct {
	inbox []*raftpb.Message
	confs []confBatch
	calls []func(*Core)
}

// confBatch is the configuration changes of a batch of entries that was applied up to index.
type confBatch struct {
	index   uint64
	changes []*raftpb.ConfChangeV2
}

// take gives the core what has arrived. Configuration changes are taken out behind the messages and
// applied before them: the applier sends them before its response.
func (n *Node) take() error {
	box := &n.box
	box.inbox = n.inbox.take(box.inbox)
	box.confs = n.confs.take(box.confs)
	box.calls = n.calls.take(box.calls)
	for _, batch := range box.confs {
		for _, cc := range batch.changes {
			n.core.ApplyConfChange(batch.index, cc)
		}
	}
	for _, m := range box.inbox {
		if err := n.step(m); err != nil {
			return err
		}
	}
	for _, fn := range box.calls {
		fn(n.core)
	}
	return nil
}

// tick is one heartbeat interval.
func (n *Node) tick() {
	n.core.Tick()
	now := n.cfg.Clock.Now()
	report(n.cfg.ProposalsFailed, n.waiting.expire(now)+n.expireBacklog(now))
	report(n.cfg.ReadsFailed, n.expireReads(now))
	n.watchDisk(now)
	if n.ticks++; n.ticks%(snapshotRetry*n.cfg.ElectionTicks) == 0 {
		n.core.RetrySnapshots()
	}
}

// report calls a counter that may be missing.
func report(count func(n int), n int) {
	if n > 0 && count != nil {
		count(n)
	}
}

// handOut passes on what the core wants done.
func (n *Node) handOut() {
	var out Output
	for n.core.Ready(&out) {
		n.noteStatus() // before what follows from it leaves this member
		for _, m := range out.Appends {
			if m.GetSnapshot() != nil {
				n.installs++
			}
			if len(m.GetEntries()) > 0 {
				n.unsynced.Add(1)
				n.noteConf(m)
			}
		}
		if len(out.Appends) > 0 {
			n.appends.put(out.Appends...)
			if n.by != byWriter {
				n.wakeWriter.give()
			}
		}
		if len(out.Applies) > 0 {
			n.applies.put(out.Applies...)
			if n.by != byWriter {
				n.wakeApplier.give()
			}
		}
		if len(out.Sends) > 0 && n.cfg.Transport != nil {
			n.cfg.Transport.Send(out.Sends)
		}
		n.readPoints(out.Reads)
	}
	n.noteStatus()
}

// noteStatus publishes the core's status and reports changes of leader and term.
func (n *Node) noteStatus() {
	s := n.core.Status()
	old := n.status.Load()
	if s == *old {
		return
	}
	changed := s.Leader != old.Leader || s.Term != old.Term || s.IsLeader != old.IsLeader
	n.status.Store(&s)
	if !s.IsLeader || !s.Lone {
		n.soloReader.Store(false) // after the status: see setSoloReader
	}
	if !changed {
		return
	}
	if old.Leader != raft.None {
		n.reads.leaderLost()
	}
	if s.Leader != raft.None && s.Leader != n.leader {
		if n.leader != raft.None {
			// What was under way to the old leader and is not in the log by now is most likely
			// lost.
			grace := graceTicks * n.cfg.TickInterval
			n.waiting.hasten(n.cfg.Clock.Now().Add(grace))
		}
		n.leader = s.Leader
	}
	next := make(chan struct{})
	close(*n.leaders.Swap(&next))
	if n.cfg.LeaderChanged != nil {
		n.cfg.LeaderChanged(s)
	}
}
