package ops

import (
	"encoding/json"
	"strconv"

	"github.com/cairnkv/cairn"
)

// RaftStatus is what Backend.RaftStatus may return: it is shown in the form that raft's own status
// has in etcd, with ids in hexadecimal.
type RaftStatus struct {
	ID, Lead cairn.MemberID // Lead is 0 if none is known
	Vote     cairn.MemberID // whom the member voted for in Term, 0 is nobody
	Term     uint64
	Commit   uint64 // raft indexes
	Applied  uint64
	State    string // "StateLeader", "StateFollower", "StateCandidate", "StatePreCandidate"

	Progress   map[cairn.MemberID]RaftProgress // on the leader, of each member
	Transferee cairn.MemberID                  // to whom leadership is being handed, 0 is nobody
}

// RaftProgress is how far a member is, as its leader knows.
type RaftProgress struct {
	Match uint64 `json:"match"`
	Next  uint64 `json:"next"`
	State string `json:"state"` // "StateProbe", "StateReplicate", "StateSnapshot"
}

// MarshalJSON writes the keys of raft's Status, in its order.
func (s RaftStatus) MarshalJSON() ([]byte, error) {
	hex := func(id cairn.MemberID) string { return strconv.FormatUint(id, 16) }
	progress := make(map[string]RaftProgress, len(s.Progress))
	for id, p := range s.Progress {
		progress[hex(id)] = p
	}
	return json.Marshal(struct {
		ID         string                  `json:"id"`
		Term       uint64                  `json:"term"`
		Vote       string                  `json:"vote"`
		Commit     uint64                  `json:"commit"`
		Lead       string                  `json:"lead"`
		State      string                  `json:"raftState"`
		Applied    uint64                  `json:"applied"`
		Progress   map[string]RaftProgress `json:"progress"`
		Transferee string                  `json:"leadtransferee"`
	}{hex(s.ID), s.Term, hex(s.Vote), s.Commit, hex(s.Lead), s.State, s.Applied, progress,
		hex(s.Transferee)})
}
