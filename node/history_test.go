package node

import (
	"errors"
	"testing"

	"github.com/cairnkv/cairn/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// entryOf is an entry without a command.
func entryOf(index, term uint64) *raftpb.Entry {
	return &raftpb.Entry{Index: proto.Uint64(index), Term: proto.Uint64(term)}
}

// TestDivergedLeader: a leader that has another entry where this member has applied one is of a
// cluster that has lost what it had acknowledged. The member ends and says so; it does not answer
// from one history while others answer from another. Of a leader of the past, and of one that has
// the same, it takes everything.
func TestDivergedLeader(t *testing.T) {
	for _, c := range []struct {
		name     string
		m        *raftpb.Message
		diverged bool
	}{
		{"entries", &raftpb.Message{Type: raftpb.MsgApp.Enum(), Term: proto.Uint64(5),
			Index: proto.Uint64(2), LogTerm: proto.Uint64(4)}, true},
		{"a state", &raftpb.Message{Type: raftpb.MsgSnap.Enum(), Term: proto.Uint64(5),
			Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
				Index: proto.Uint64(3), Term: proto.Uint64(4)}}}, true},
		{"of the past", &raftpb.Message{Type: raftpb.MsgApp.Enum(), Term: proto.Uint64(1),
			Index: proto.Uint64(2), LogTerm: proto.Uint64(1)}, false},
		{"the same", &raftpb.Message{Type: raftpb.MsgApp.Enum(), Term: proto.Uint64(5),
			Index: proto.Uint64(2), LogTerm: proto.Uint64(2)}, false},
		{"the same state", &raftpb.Message{Type: raftpb.MsgSnap.Enum(), Term: proto.Uint64(5),
			Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
				Index: proto.Uint64(3), Term: proto.Uint64(2)}}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := play(t, vfs.NewMem(), nil, voters()...)
			p.from(2, &raftpb.Message{
				Type: raftpb.MsgApp.Enum(), Term: proto.Uint64(2),
				Index: proto.Uint64(1), LogTerm: proto.Uint64(1), Commit: proto.Uint64(3),
				Entries: []*raftpb.Entry{entryOf(2, 2), entryOf(3, 2)},
			})
			p.eventually("the entries", func() bool { return p.node.Status().Applied == 3 })
			if !c.diverged {
				p.from(3, c.m)
				return // that it has not ended shows at the end
			}
			c.m.From, c.m.To = proto.Uint64(3), proto.Uint64(self)
			p.node.Deliver([]*raftpb.Message{c.m})
			p.eventually("the end", func() bool { return len(p.fatal) > 0 })
			err := <-p.fatal
			d, ok := errors.AsType[*DivergedError](err)
			if !ok || d.Leader != 3 || d.Theirs != 4 || d.Ours != 2 {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// TestBoastingPeer: what a peer acknowledges beyond the leader's log does not count for a quorum.
func TestBoastingPeer(t *testing.T) {
	p := play(t, vfs.NewMem(), nil, voters()...)
	p.candidate()
	p.from(2, &raftpb.Message{Type: raftpb.MsgVoteResp.Enum()})
	p.becomes("StateLeader")
	const own = 2 // the first entry of the term
	p.eventually("the entry in the log", func() bool { return p.wal.LastIndex() == own })
	p.passes()
	p.from(2, &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), Index: proto.Uint64(100)})
	if s := p.node.Status(); s.Commit >= own {
		t.Errorf("committed up to %d on the word of a member with another history", s.Commit)
	}
	p.from(3, &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), Index: proto.Uint64(own)})
	p.eventually("the entry committed", func() bool { return p.node.Status().Commit == own })
}
