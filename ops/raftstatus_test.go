package ops

import (
	"encoding/json"
	"testing"
)

// TestRaftStatus holds the form against what a real etcd 3.7.3 serves in /debug/vars.
func TestRaftStatus(t *testing.T) {
	const id = 0x2c18578d8a6733c5
	got, err := json.Marshal(RaftStatus{ID: id, Lead: id, Vote: id, Term: 2, Commit: 10,
		Applied: 10, State: "StateLeader",
		Progress: map[uint64]RaftProgress{id: {10, 11, "StateReplicate"}}})
	want := `{"id":"2c18578d8a6733c5","term":2,"vote":"2c18578d8a6733c5","commit":10,` +
		`"lead":"2c18578d8a6733c5","raftState":"StateLeader","applied":10,"progress":` +
		`{"2c18578d8a6733c5":{"match":10,"next":11,"state":"StateReplicate"}},` +
		`"leadtransferee":"0"}`
	if err != nil || string(got) != want {
		t.Errorf("got %s (%v)\nwant %s", got, err, want)
	}
}
