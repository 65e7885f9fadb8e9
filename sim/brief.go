package sim

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// briefly is a raft message in a line of the event log.
func briefly(m *raftpb.Message) string {
	text := fmt.Sprintf("%v term=%d", m.GetType(), m.GetTerm())
	if m.GetIndex() != 0 {
		text += fmt.Sprintf(" index=%d", m.GetIndex())
	}
	if m.GetCommit() != 0 {
		text += fmt.Sprintf(" commit=%d", m.GetCommit())
	}
	if n := len(m.GetEntries()); n > 0 {
		text += fmt.Sprintf(" entries=%d", n)
	}
	if m.GetReject() {
		text += " reject"
	}
	return text
}
