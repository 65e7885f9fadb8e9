package node

import (
	"errors"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/state"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// ProposeChange queues a change of the membership. done is told with an empty reply; the errors are
// those of Propose and of member.Set.Check.
func (n *Node) ProposeChange(c *member.Change, done Done) {
	request, err := c.Encode()
	if err != nil {
		done(nil, err)
		return
	}
	queue := &n.proposals
	if _, ok := state.ConfChange(c); ok {
		queue = &n.changes
	}
	queue.put(proposal{
		kind: command.MemberChange, request: request, done: done, at: n.cfg.Clock.Now(),
	})
	n.wakeCore()
}

// noteConf notes appended entries before which no configuration change may be proposed: raft lets a
// leader have one that is not applied, and none of earlier terms (its first entry stands for them).
func (n *Node) noteConf(m *raftpb.Message) {
	if entries := m.GetEntries(); len(entries) > 0 { // what was behind the first is gone
		n.confIndex = min(n.confIndex, entries[0].GetIndex()-1)
	}
	for _, e := range m.GetEntries() {
		if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
			n.confIndex = max(n.confIndex, e.GetIndex())
		}
	}
}

// mayChange says whether the core would take a configuration change.
func (n *Node) mayChange() bool {
	s := n.core.Status()
	return s.Leader != raft.None && (!s.IsLeader || n.confIndex <= s.Applied)
}

// proposeChanges proposes the configuration changes that wait, one after the other.
func (n *Node) proposeChanges() {
	p := &n.proposer
	p.changes = append(p.changes, n.changes.take(nil)...)
	for len(p.changes) > 0 && n.mayChange() {
		all, next := p.changes, p.changes[:1]
		c, err := member.DecodeChange(next[0].request)
		cc, ok := state.ConfChange(&c)
		if err != nil || !ok {
			n.fatal(errors.Join(errors.New("node: a proposal is no configuration change"), err))
			return
		}
		p.builder.Reset()
		p.builder.Add(next[0].kind, next[0].request)
		sequence := p.sequence + 1
		cc.Context = p.builder.Build(n.cfg.ID, sequence)
		n.waiting.add(sequence, next, n.cfg.Clock.Now().Add(n.cfg.RequestTimeout))
		p.changes = all[1:] // first, as in propose
		if err := n.core.ProposeConfChange(cc); err != nil {
			n.waiting.remove(sequence)
			p.changes = all
			if !isDropped(err) {
				n.fatal(err)
			}
			return
		}
		p.sequence = sequence
		n.handOut()
	}
}

func isDropped(err error) bool { return errors.Is(err, raft.ErrProposalDropped) }
