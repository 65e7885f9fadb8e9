package node

import (
	"fmt"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/state"
	"go.etcd.io/raft/v3/raftpb"
)

var errStopped = cairn.ErrStopped

// runApplier owns the state machine.
func (n *Node) runApplier() {
	defer n.stopped.Done()
	var batch []*raftpb.Message
	var visits []func(*state.Machine)
	var results state.Results
	for {
		select {
		case <-n.stop:
			return
		case <-n.applies.wake:
		}
		batch = n.applies.take(batch)
		if len(batch) > 0 && !n.applyBatch(batch, &results) {
			return
		}
		visits = n.visits.take(visits)
		for _, visit := range visits {
			visit(n.cfg.Machine)
		}
	}
}

// applyBatch executes committed entries, makes them visible, and then tells everyone: watchers, the
// clients, raft. It says whether the node can go on.
func (n *Node) applyBatch(batch []*raftpb.Message, results *state.Results) bool {
	results.Reset()
	bytes, m := 0, n.cfg.Machine
	for _, message := range batch {
		for _, e := range message.GetEntries() {
			bytes += len(e.GetData())
			if err := n.applyEntry(e, results); err != nil {
				n.fatal(err)
				return false
			}
		}
	}
	rev, events, err := m.Publish()
	if err != nil {
		n.fatal(fmt.Errorf("write the record log: %w", err))
		return false
	}
	if len(events) > 0 && n.cfg.Published != nil {
		n.cfg.Published(rev, events)
	}
	if leases := m.LeaseEvents(); len(leases) > 0 && n.cfg.Leases != nil {
		n.cfg.Leases(leases)
	}
	n.applied.Store(m.Index())
	s := n.status.Load()
	n.soloReader.Store(s.IsLeader && s.Lone && m.Term() == s.Term)
	if n.cfg.Applied != nil {
		n.cfg.Applied(m.Index(), bytes)
	}
	n.complete(results)
	for _, message := range batch {
		n.inbox.put(message.GetResponses()...)
	}
	return true
}

func (n *Node) applyEntry(e *raftpb.Entry, results *state.Results) error {
	if e.GetType() != raftpb.EntryNormal {
		return fmt.Errorf("apply entry %d: entries of type %v are not known to this version",
			e.GetIndex(), e.GetType())
	}
	return n.cfg.Machine.Apply(e.GetIndex(), e.GetTerm(), e.GetData(), results)
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
