package node

import (
	"fmt"
	"slices"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/state"
	"go.etcd.io/raft/v3/raftpb"
)

var errStopped = cairn.ErrStopped

// applier is the memory of those who apply, which is used again.
type applier struct {
	batch   []*raftpb.Message
	visits  []func(*state.Machine)
	results state.Results
	open    *waitingBatch // clients whose entry is being applied
}

// runApplier applies what was handed out while the writer writes, and does the visits.
func (n *Node) runApplier() {
	for n.cfg.Tasks.Wait(nil, n.stop, n.wakeApplier) != 0 {
		if !n.apply() {
			return
		}
	}
}

// apply does all that waits for the state machine. It says whether the node can go on.
func (n *Node) apply() bool {
	n.applying.Lock(n.cfg.Tasks)
	defer n.applying.Unlock()
	if n.failed.Load() {
		return false // perhaps in the midst of an entry: nobody looks at the machine any more
	}
	a := &n.applier
	a.visits = n.visits.take(a.visits) // first: what was handed out before a visit comes before it
	some, ok := n.applyBatch()
	if !ok {
		return false
	}
	if some {
		n.wakeCore()
	}
	for _, visit := range a.visits {
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
	return true
}

// applyHere applies on the writer what was handed out, or leaves it to the applier: if it is much,
// if someone waits for what is to be written, or if the applier is at it. It says whether something
// was applied, and whether the node can go on.
func (n *Node) applyHere() (applied, ok bool) {
	if n.applies.empty() {
		return false, true
	}
	if !n.applies.all(isLittle) || !n.appends.all(canWait) || !n.applying.TryLock() {
		n.wakeApplier.give()
		return false, true
	}
	defer n.applying.Unlock()
	if n.failed.Load() {
		return false, false
	}
	n.detour.Store(n.sinceBegan())
	defer n.detour.Store(0)
	return n.applyBatch()
}

// isLittle says whether a MsgStorageApply may be applied on the writer.
func isLittle(m *raftpb.Message) bool {
	return len(m.GetEntries()) <= quietCommands && entryBytes(m) <= quietBytes
}

// canWait says whether nobody waits for a MsgStorageAppend: it tells of a commit index alone.
func canWait(m *raftpb.Message) bool {
	return len(m.GetEntries()) == 0 && m.GetSnapshot() == nil &&
		!slices.ContainsFunc(m.GetResponses(), func(r *raftpb.Message) bool {
			return r.GetType() != raftpb.MsgStorageAppendResp
		})
}

// applyBatch executes committed entries, makes them visible, and then tells everyone: watchers, the
// clients, raft. It says whether there were some, and whether the node can go on.
func (n *Node) applyBatch() (some, ok bool) {
	n.applier.batch = n.applies.take(n.applier.batch)
	batch, results := n.applier.batch, &n.applier.results
	if len(batch) == 0 {
		return false, true
	}
	results.Reset()
	results.Full = n.tellSome
	bytes, m := 0, n.cfg.Machine
	var confs []*raftpb.ConfChangeV2
	for _, message := range batch {
		for _, e := range message.GetEntries() {
			bytes += len(e.GetData())
			cc, err := m.ApplyEntry(e, results)
			if err != nil {
				n.fatal(err)
				return true, false
			}
			if cc != nil {
				confs = append(confs, cc)
			}
		}
	}
	rev, events, err := m.Publish()
	if err != nil {
		n.fatal(fmt.Errorf("write the record log: %w", err))
		return true, false
	}
	n.together(func() { n.tell(m, rev, events, confs, bytes, results) })
	for _, message := range batch {
		n.inbox.put(message.GetResponses()...)
	}
	return true, true
}

// tellSome makes visible what the commands so far have brought, perhaps of a part of an entry, and
// tells it: what they bring is not bounded by what they take. Reads that must see all that is
// committed still wait for the entry's end.
func (n *Node) tellSome() error {
	m, results := n.cfg.Machine, &n.applier.results
	rev, events, err := m.Publish()
	if err != nil {
		return fmt.Errorf("write the record log: %w", err)
	}
	n.together(func() {
		n.tellChanges(m, rev, events)
		n.complete(results)
	})
	results.Reset()
	return nil
}

// tellChanges tells watchers and the lessor.
func (n *Node) tellChanges(m *state.Machine, rev int64, events []mvcc.Event) {
	if len(events) > 0 && n.cfg.Published != nil {
		n.cfg.Published(rev, events)
	}
	if leases := m.LeaseEvents(); len(leases) > 0 && n.cfg.Leases != nil {
		n.cfg.Leases(leases)
	}
}

// tell tells everyone what was applied and became visible.
func (n *Node) tell(
	m *state.Machine, rev int64, events []mvcc.Event, confs []*raftpb.ConfChangeV2, bytes int,
	results *state.Results,
) {
	n.tellChanges(m, rev, events)
	if m.TakeMembersChanged() && n.cfg.MembersChanged != nil {
		n.cfg.MembersChanged()
	}
	if len(confs) > 0 {
		n.confs.put(confBatch{m.Index(), confs})
	}
	n.applied.Store(m.Index())
	n.notePoint(m)
	n.setSoloReader(m)
	if n.cfg.Applied != nil {
		n.cfg.Applied(m.Index(), bytes)
	}
	n.complete(results)
	if a := &n.applier; a.open != nil {
		n.waiting.release(a.open)
		a.open = nil
	}
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

// complete gives the results of this member's own proposals to the clients that wait. The last
// entry of them may go on in the next results.
func (n *Node) complete(results *state.Results) {
	batch := n.applier.open
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
	n.applier.open = batch
}
