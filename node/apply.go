package node

import (
	"fmt"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/state"
	"go.etcd.io/raft/v3/raftpb"
)

var errStopped = cairn.ErrStopped

// runApplier owns the state machine.
func (n *Node) runApplier() {
	var batch []*raftpb.Message
	var visits []func(*state.Machine)
	var results state.Results
	for {
		if n.cfg.Tasks.Wait(nil, n.stop, n.applies.wake) == 0 {
			return
		}
		visits = n.visits.take(visits) // first: what was handed out before a visit comes before it
		batch = n.applies.take(batch)
		if len(batch) > 0 && !n.applyBatch(batch, &results) {
			return
		}
		for _, visit := range visits {
			visit(n.cfg.Machine)
		}
		if m := n.cfg.Machine; m.Index() != n.applied.Load() { // a snapshot was installed
			if m.TakeMembersChanged() && n.cfg.MembersChanged != nil {
				n.cfg.MembersChanged()
			}
			n.notePoint(m)
			n.applied.Store(m.Index())
			// What this member had under way may be in the state, and then nobody else tells.
			n.waiting.hasten(n.cfg.Clock.Now().Add(graceTicks * n.cfg.TickInterval))
		}
	}
}

// applyBatch executes committed entries, makes them visible, and then tells everyone: watchers, the
// clients, raft. It says whether the node can go on.
func (n *Node) applyBatch(batch []*raftpb.Message, results *state.Results) bool {
	results.Reset()
	bytes, m := 0, n.cfg.Machine
	var confs []*raftpb.ConfChangeV2
	for _, message := range batch {
		for _, e := range message.GetEntries() {
			bytes += len(e.GetData())
			cc, err := m.ApplyEntry(e, results)
			if err != nil {
				n.fatal(err)
				return false
			}
			if cc != nil {
				confs = append(confs, cc)
			}
		}
	}
	rev, events, err := m.Publish()
	if err != nil {
		n.fatal(fmt.Errorf("write the record log: %w", err))
		return false
	}
	n.together(func() { n.tell(m, rev, events, confs, bytes, results) })
	for _, message := range batch {
		n.inbox.put(message.GetResponses()...)
	}
	return true
}

// tell tells everyone what was applied and became visible.
func (n *Node) tell(
	m *state.Machine, rev int64, events []mvcc.Event, confs []*raftpb.ConfChangeV2, bytes int,
	results *state.Results,
) {
	if len(events) > 0 && n.cfg.Published != nil {
		n.cfg.Published(rev, events)
	}
	if leases := m.LeaseEvents(); len(leases) > 0 && n.cfg.Leases != nil {
		n.cfg.Leases(leases)
	}
	if m.TakeMembersChanged() && n.cfg.MembersChanged != nil {
		n.cfg.MembersChanged()
	}
	if len(confs) > 0 {
		n.confs.put(confs...)
	}
	n.applied.Store(m.Index())
	n.notePoint(m)
	n.setSoloReader(m)
	if n.cfg.Applied != nil {
		n.cfg.Applied(m.Index(), bytes)
	}
	n.complete(results)
}

// setSoloReader lets reads go without a round if this member is alone and leads. The status is
// looked at again at last, since the loop may have changed it meanwhile.
func (n *Node) setSoloReader(m *state.Machine) {
	s := n.status.Load()
	solo := s.IsLeader && s.Lone && m.Term() == s.Term && isLone(m.Conf(), n.cfg.ID)
	n.soloReader.Store(solo)
	if solo && n.status.Load() != s {
		n.soloReader.Store(false)
	}
}

// complete gives the results of this member's own proposals to the clients that wait.
func (n *Node) complete(results *state.Results) {
	var batch *waitingBatch
	for i := range results.List {
		r := &results.List[i]
		if r.Origin != n.cfg.ID {
			continue
		}
		if r.Position == 0 {
			if batch != nil {
				n.waiting.release(batch)
			}
			batch = n.waiting.take(r.Sequence)
		}
		if batch == nil || r.Position >= len(batch.done) {
			continue // answered before: its time was over
		}
		if r.Err != nil {
			batch.done[r.Position](nil, r.Err)
		} else {
			batch.done[r.Position](results.Replies[r.From:r.To], nil)
		}
	}
	if batch != nil {
		n.waiting.release(batch)
	}
}
