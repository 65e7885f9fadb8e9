package transport

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// TestHandedOn: what a member that does not lead any more hands on names its first sender still.
func TestHandedOn(t *testing.T) {
	two, three := newMember(t, 2, nil), newMember(t, 3, nil)
	two.serve("http", "")
	three.serve("http", "")
	connect(t, two, three)
	for _, typ := range []raftpb.MessageType{raftpb.MsgProp, raftpb.MsgReadIndex} {
		two.Send([]*raftpb.Message{{Type: typ.Enum(), From: proto.Uint64(1), To: proto.Uint64(3),
			Entries: []*raftpb.Entry{{Data: []byte("x")}}}})
	}
	eventually(t, "both arrived", func() bool { return len(three.messages()) == 2 })
}

// TestMovedWhileAway: who was away while another one moved answers it where it says that it is.
func TestMovedWhileAway(t *testing.T) {
	var one *member
	one = newMember(t, 1, func(o *Options) {
		o.URLs = func() []string { return []string{one.url} }
	})
	two := newMember(t, 2, nil)
	one.serve("http", "")
	two.serve("http", "")
	two.SetPeers(map[uint64][]string{1: {"http://127.0.0.1:1"}}) // where it was
	one.SetPeers(map[uint64][]string{2: {two.url}})
	eventually(t, "it is answered", func() bool {
		two.Send([]*raftpb.Message{message(2, 1, 1, 0)})
		return len(one.messages()) > 0
	})
	// What the log says later counts.
	two.SetPeers(map[uint64][]string{1: {one.url}})
	if got := two.peer(1).candidates(); len(got) != 1 || got[0] != one.url {
		t.Errorf("URLs: %v", got)
	}
}
