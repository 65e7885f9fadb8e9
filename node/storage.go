package node

import (
	"sync/atomic"

	"github.com/cairnkv/cairn/state"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// storage is the log as raft reads it.
type storage struct {
	log     Log
	conf    *raftpb.ConfState
	applied uint64 // at the start, and its term
	term    uint64
	point   *atomic.Pointer[point]
}

// point is a state that was applied.
type point struct {
	index, term uint64
	conf        *raftpb.ConfState
}

// notePoint notes the state after a batch. On the applier.
func (n *Node) notePoint(m *state.Machine) {
	n.point.Store(&point{m.Index(), m.Term(), m.Conf()})
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

// Snapshot names the state that was applied last, without its content: a member that is told of it
// fetches that state or a later one by itself (see Installer).
func (s storage) Snapshot() (*raftpb.Snapshot, error) {
	p := s.point.Load()
	if p.index < s.log.FirstIndex()-1 || p.index == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: proto.Uint64(p.index), Term: proto.Uint64(p.term),
		ConfState: proto.Clone(p.conf).(*raftpb.ConfState),
	}}, nil
}
