package transport

import (
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// TestGuest: a member that does not know who writes to it can answer all the same, until it hears
// that the other was removed.
func TestGuest(t *testing.T) {
	var one, two *member
	one = newMember(t, 1, func(o *Options) {
		o.URLs = func() []string { return []string{one.url} }
	})
	two = newMember(t, 2, nil)
	one.serve("http", "")
	two.serve("http", "")
	one.SetPeers(map[uint64][]string{2: {two.url}})
	two.SetPeers(nil)
	message := func(from, to uint64) []*raftpb.Message {
		return []*raftpb.Message{{
			Type: raftpb.MsgHeartbeat.Enum(), From: proto.Uint64(from), To: proto.Uint64(to),
		}}
	}
	eventually(t, "the guest is known", func() bool { return two.peer(1) != nil })
	eventually(t, "an answer arrives", func() bool {
		two.Send(message(2, 1))
		return len(one.messages()) > 0
	})
	two.SetPeers(map[uint64][]string{7: {"http://127.0.0.1:1"}})
	if two.peer(1) == nil {
		t.Error("a guest went although nobody removed it")
	}
	two.mu.Lock()
	two.gone[1] = true
	two.mu.Unlock()
	two.SetPeers(map[uint64][]string{7: {"http://127.0.0.1:1"}})
	if two.peer(1) != nil {
		t.Error("a guest stayed although it was removed")
	}
}

// TestGuestURLs: what is no list of peer URLs is nobody's.
func TestGuestURLs(t *testing.T) {
	for list, want := range map[string]int{
		"": 0, "http://10.0.0.1:2380": 1, "http://10.0.0.1:2380,https://a:1": 2,
		"http://10.0.0.1:2380,": 0, "ftp://10.0.0.1:2380": 0, "http://": 0,
	} {
		if got := parseURLs(list); len(got) != want {
			t.Errorf("%q is taken for %q", list, got)
		}
	}
}

// TestRemovedMeanwhile: a member that is removed while it shakes hands is told so, and is no guest.
func TestRemovedMeanwhile(t *testing.T) {
	var one *member
	told := make(chan struct{})
	one = newMember(t, 1, func(o *Options) {
		o.URLs = func() []string { return []string{one.url} }
		o.Removed = func() { close(told) }
	})
	var asked atomic.Int32
	two := newMember(t, 2, func(o *Options) {
		o.IsRemoved = func(uint64) bool { return asked.Add(1) > 1 }
	})
	one.serve("http", "")
	two.serve("http", "")
	two.SetPeers(nil)
	one.SetPeers(map[uint64][]string{2: {two.url}})
	<-told
	if two.peer(1) != nil {
		t.Error("a removed member is a guest")
	}
}
