package node

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// history is what a core knows of its log to tell whether others have the same. By raft's rules
// they have: who leads has all that was committed (Ongaro, 3.6.3). Members that lost what they had
// made durable, as when the data of a majority is removed by hand, elect one that has not; raft
// does not look for that, and counts and serves what does not fit together.
type history struct {
	storage raft.Storage
	log     raft.Logger
	applied uint64            // entries up to here are committed, durable and applied
	last    uint64            // end of the log once all that was handed out is in it
	accused map[uint64]uint64 // peer -> term in which it was named
}

// DivergedError says that the leader's log is not that from which this member has applied entries.
type DivergedError struct {
	Leader, Index uint64
	Theirs, Ours  uint64 // terms of the entry
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("the history of this member is not that of its leader %x: entry %d, which "+
		"was applied here, is of term %d there and of term %d here; members have lost what they "+
		"had acknowledged; keep this data directory; to go on with what is here, stop the others "+
		"and begin a new cluster (--force-new-cluster); to give it up, remove this member, add it "+
		"again and start it with an empty --data-dir", e.Leader, e.Index, e.Theirs, e.Ours)
}

// check holds what a leader says of an entry against what was applied. now is asked for the term
// only if they differ: a leader of an earlier term may have had other entries.
func (h *history) check(m *raftpb.Message, now func() raft.BasicStatus) error {
	index, theirs := m.GetIndex(), m.GetLogTerm()
	switch m.GetType() {
	case raftpb.MsgApp:
	case raftpb.MsgSnap:
		meta := m.GetSnapshot().GetMetadata()
		index, theirs = meta.GetIndex(), meta.GetTerm()
	default:
		return nil
	}
	if index == 0 || index > h.applied {
		return nil
	}
	ours, err := h.storage.Term(index)
	if err != nil || ours == theirs {
		return nil // an error: it is not in the log any more
	}
	if s := now(); m.GetTerm() < s.GetTerm() {
		return nil
	}
	return &DivergedError{Leader: m.GetFrom(), Index: index, Theirs: theirs, Ours: ours}
}

// boasts says whether a peer acknowledges to this member, which leads, entries that it does not
// have. Counted, they would commit what a quorum does not hold.
func (h *history) boasts(m *raftpb.Message, now func() raft.BasicStatus) bool {
	if m.GetType() != raftpb.MsgAppResp || m.GetReject() || m.GetIndex() <= h.last {
		return false
	}
	if s := now(); s.RaftState != raft.StateLeader || s.GetTerm() != m.GetTerm() {
		return false // it does not count
	}
	if h.accused[m.GetFrom()] != m.GetTerm() {
		if h.accused == nil {
			h.accused = make(map[uint64]uint64)
		}
		h.accused[m.GetFrom()] = m.GetTerm()
		h.log.Errorf("member %x acknowledges entry %d, and the log of this leader ends at %d: "+
			"members have lost what they had acknowledged, and that one may be the last to have "+
			"it; it is not heard", m.GetFrom(), m.GetIndex(), h.last)
	}
	return true
}

// noteStep notes what a message says of this member's own log.
func (h *history) noteStep(m *raftpb.Message) {
	if m.GetType() == raftpb.MsgStorageApplyResp {
		if entries := m.GetEntries(); len(entries) > 0 {
			h.applied = max(h.applied, entries[len(entries)-1].GetIndex())
		}
	}
}

// noteAppend notes what is handed out to be appended.
func (h *history) noteAppend(m *raftpb.Message) {
	if snap := m.GetSnapshot(); snap != nil {
		h.last = snap.GetMetadata().GetIndex()
	}
	if entries := m.GetEntries(); len(entries) > 0 {
		h.last = entries[len(entries)-1].GetIndex()
	}
}
