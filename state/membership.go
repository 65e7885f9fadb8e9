package state

import (
	"errors"
	"fmt"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/member"
	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// errMisplaced says that a change of who votes came as an ordinary command.
var errMisplaced = errors.New("state: a membership change outside of a configuration change")

// ConfChange is what a change means to raft: the entry to propose for it has this, with the
// command as its context. ok is false for one that raft need not know.
func ConfChange(c *member.Change) (cc *raftpb.ConfChangeV2, ok bool) {
	kind := raftpb.ConfChangeAddNode
	switch {
	case c.Action == member.Update:
		return nil, false
	case c.Action == member.Remove:
		kind = raftpb.ConfChangeRemoveNode
	case c.Action == member.Add && c.Member.IsLearner:
		kind = raftpb.ConfChangeAddLearnerNode
	}
	id := c.Member.ID
	return &raftpb.ConfChangeV2{
		Changes: []*raftpb.ConfChangeSingle{{Type: &kind, NodeId: &id}},
	}, true
}

// noConfChange is what raft applies in place of a change that was refused.
func noConfChange() *raftpb.ConfChangeV2 {
	kind, nobody := raftpb.ConfChangeAddNode, uint64(0)
	return &raftpb.ConfChangeV2{
		Changes: []*raftpb.ConfChangeSingle{{Type: &kind, NodeId: &nobody}},
	}
}

// ApplyConf executes a committed configuration change: the command in its context is checked
// against the membership and carried out. It returns the change that raft must apply: cc, or one
// without effect if the command was refused. Errors are as those of Apply.
func (m *Machine) ApplyConf(
	index, term uint64, cc *raftpb.ConfChangeV2, out *Results,
) (*raftpb.ConfChangeV2, error) {
	if index != m.index+1 {
		return nil, fmt.Errorf("%w: entry %d after %d", ErrOutOfOrder, index, m.index)
	}
	m.index = index
	m.term.Store(term)
	if len(cc.Context) > 0 {
		refused, err := m.applyConfCommand(cc, out)
		if err != nil {
			return nil, fmt.Errorf("apply entry %d: %w", index, err)
		}
		if refused {
			return noConfChange(), nil
		}
	}
	conf, err := nextConf(m.conf, cc, index)
	if err != nil {
		return nil, fmt.Errorf("apply entry %d: change the configuration: %w", index, err)
	}
	m.conf = conf
	return cc, nil
}

// applyConfCommand executes the command of a configuration change.
func (m *Machine) applyConfCommand(
	cc *raftpb.ConfChangeV2, out *Results,
) (refused bool, err error) {
	batch, err := command.Decode(cc.Context)
	if err != nil {
		return false, err
	}
	if batch.Count != 1 {
		return false, command.ErrMalformed
	}
	r := Result{Origin: batch.Origin, Sequence: batch.Sequence, From: len(out.Replies),
		To: len(out.Replies)}
	kind, request, err := batch.Next()
	if err != nil {
		return false, err
	}
	r.Kind = kind
	if kind != command.MemberChange {
		return false, fmt.Errorf("%w: %v as a configuration change", command.ErrVersion, kind)
	}
	c, err := member.DecodeChange(request)
	if err != nil {
		return false, err
	}
	r.Err = m.members.Check(&c)
	if r.Err == nil {
		m.members.Apply(&c)
		m.changed = true
	}
	out.List = append(out.List, r)
	return r.Err != nil, nil
}

// nextConf is the configuration after a change, as raft computes it.
func nextConf(
	conf *raftpb.ConfState, cc *raftpb.ConfChangeV2, last uint64,
) (*raftpb.ConfState, error) {
	c := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: last}
	cfg, progress, err := confchange.Restore(c,
		raftpb.EnsureConfState(proto.Clone(conf).(*raftpb.ConfState)))
	if err != nil {
		return nil, err
	}
	c.Tracker.Config, c.Tracker.Progress = cfg, progress
	if cc.LeaveJoint() {
		cfg, progress, err = c.LeaveJoint()
	} else if autoLeave, joint := cc.EnterJoint(); joint {
		cfg, progress, err = c.EnterJoint(autoLeave, cc.Changes...)
	} else {
		cfg, progress, err = c.Simple(cc.Changes...)
	}
	if err != nil {
		return nil, err
	}
	c.Tracker.Config, c.Tracker.Progress = cfg, progress
	return c.Tracker.ConfState(), nil
}

// applyMemberUpdate executes a change that does not touch who votes.
func (m *Machine) applyMemberUpdate(dst, request []byte) ([]byte, error) {
	c, err := member.DecodeChange(request)
	if err != nil {
		return dst, err
	}
	if c.Action != member.Update {
		return dst, errMisplaced
	}
	if err := m.members.Check(&c); err != nil {
		return dst, err
	}
	m.members.Apply(&c)
	m.changed = true
	return dst, nil
}

// TakeMembersChanged says whether the membership changed since the last call. The applier's.
func (m *Machine) TakeMembersChanged() bool {
	changed := m.changed
	m.changed = false
	return changed
}

// Alone makes this member the only one of its cluster, with all that was applied: the others count
// as removed (etcd's --force-new-cluster). The applier's.
func (m *Machine) Alone() error {
	if err := m.members.Alone(m.local); err != nil {
		return err
	}
	m.conf, m.changed = &raftpb.ConfState{Voters: []uint64{m.local}}, true
	return nil
}
