package node

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// runLoop owns the core.
func (n *Node) runLoop() {
	defer n.stopped.Done()
	ticker := n.cfg.Clock.NewTicker(n.cfg.TickInterval)
	defer ticker.Stop()
	p := proposer{sequence: n.cfg.FirstSequence}
	var inbox []*raftpb.Message
	n.handOut()
	for {
		select {
		case <-n.stop:
			for _, q := range p.backlog {
				q.done(nil, errStopped)
			}
			return
		case <-ticker.C():
			n.core.Tick()
			now := n.cfg.Clock.Now()
			n.waiting.expire(now)
			n.expireBacklog(&p, now)
			n.expireReads(now)
		case <-n.inbox.wake:
		case <-n.proposals.wake:
		}
		inbox = n.inbox.take(inbox)
		for _, m := range inbox {
			if err := n.core.Step(m); err != nil {
				n.fatal(fmt.Errorf("raft: %w", err))
				return
			}
		}
		n.handOut()
		n.propose(&p)
		n.stepReads(n.cfg.Clock.Now())
		n.handOut()
	}
}

// handOut passes on what the core wants done.
func (n *Node) handOut() {
	var out Output
	for n.core.Ready(&out) {
		for _, m := range out.Appends {
			if len(m.GetEntries()) > 0 {
				n.unsynced.Add(1)
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
		n.noteStatus()
	}
}

// noteStatus publishes the core's status and reports changes of leader and term.
func (n *Node) noteStatus() {
	s := n.core.Status()
	old := n.status.Load()
	if s == *old {
		return
	}
	changed := s.Leader != old.Leader || s.Term != old.Term || s.IsLeader != old.IsLeader
	if changed && !(s.IsLeader && s.Lone) {
		n.soloReader.Store(false)
	}
	if changed && old.Leader != raft.None {
		n.reads.leaderLost()
	}
	n.status.Store(&s)
	if changed && n.cfg.LeaderChanged != nil {
		n.cfg.LeaderChanged(s)
	}
}
