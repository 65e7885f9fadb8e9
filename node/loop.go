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

// runLoop owns the core.
func (n *Node) runLoop() {
	defer n.endOnPanic()
	ticker := n.cfg.Clock.NewTicker(n.cfg.TickInterval)
	defer ticker.Stop()
	p := proposer{sequence: n.cfg.FirstSequence}
	var box boxes
	n.handOut()
	for {
		switch n.cfg.Tasks.Wait(ticker.C(), n.stop, n.inbox.wake, n.proposals.wake) {
		case 0:
			for _, q := range append(p.backlog, p.changes...) {
				q.done(nil, errStopped)
			}
			return
		case task.Timer:
			n.tick(&p)
		}
		if err := n.take(&box); err != nil {
			n.fatal(fmt.Errorf("raft: %w", err))
			return
		}
		n.handOut()
		if err := n.stepHeld(); err != nil {
			n.fatal(fmt.Errorf("raft: %w", err))
			return
		}
		now := n.cfg.Clock.Now()
		n.beginReads(now)
		n.proposeChanges(&p)
		n.propose(&p)
		n.stepReads(now, len(p.backlog) > 0 && !n.hasRoom())
		n.handOut()
	}
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

// boxes is what the loop takes out of its mailboxes; the memory is used again.
type boxes struct {
	inbox []*raftpb.Message
	confs []*raftpb.ConfChangeV2
	calls []func(*Core)
}

// take gives the core what has arrived. Configuration changes are taken out behind the messages and
// applied before them: the applier sends them before its response.
func (n *Node) take(box *boxes) error {
	box.inbox = n.inbox.take(box.inbox)
	box.confs = n.confs.take(box.confs)
	box.calls = n.calls.take(box.calls)
	for _, cc := range box.confs {
		n.core.ApplyConfChange(cc)
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
func (n *Node) tick(p *proposer) {
	n.core.Tick()
	now := n.cfg.Clock.Now()
	report(n.cfg.ProposalsFailed, n.waiting.expire(now)+n.expireBacklog(p, now))
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
			if entries := m.GetEntries(); len(entries) > 0 {
				n.lastAppended = entries[len(entries)-1].GetIndex()
				n.unsynced.Add(1)
				n.noteConf(m)
			}
			if m.GetSnapshot() != nil {
				n.installs++
			}
		}
		if len(out.Appends) > 0 {
			n.appends.put(out.Appends...)
		}
		if len(out.Applies) > 0 {
			n.applies.put(out.Applies...)
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
