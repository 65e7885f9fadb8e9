package node

import (
	"errors"
	"fmt"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/mutate"
	"go.etcd.io/raft/v3/raftpb"
)

// writer is the state of the goroutine that writes the raft log.
type writer struct {
	last      *raftpb.HardState // as appended
	responses []*raftpb.Message // to this member, once durable
	sends     []*raftpb.Message // to others, once durable
	truncated uint64
	stable    stablePoint // of the last response that told raft of stable entries
}

// stablePoint is what a MsgStorageAppendResp says: entries up to an index are stable.
type stablePoint struct{ term, index, logTerm uint64 }

// repeats says whether a response tells raft what the last one told: appends of a hard state alone
// repeat the point of the entries before them, which raft would log each time.
func (w *writer) repeats(r *raftpb.Message) bool {
	if r.GetType() != raftpb.MsgStorageAppendResp || r.GetSnapshot() != nil {
		return false
	}
	p := stablePoint{r.GetTerm(), r.GetIndex(), r.GetLogTerm()}
	if p == w.stable {
		return true
	}
	w.stable = p
	return false
}

// runWriter owns the raft log's writing side: one write and one fdatasync for all that waits.
func (n *Node) runWriter() {
	w := &writer{last: n.cfg.Log.HardState()}
	var batch []*raftpb.Message
	for {
		if n.cfg.Tasks.Wait(nil, n.stop, n.appends.wake) == 0 {
			return
		}
		batch = n.appends.take(batch)
		err := n.write(w, batch)
		if errors.Is(err, cairn.ErrStopped) {
			return // while a snapshot was being installed
		}
		if err != nil {
			n.fatal(fmt.Errorf("write the raft log: %w", err))
			return
		}
	}
}

// write makes a batch of MsgStorageAppend durable and then sends its responses.
func (n *Node) write(w *writer, batch []*raftpb.Message) error {
	w.responses, w.sends = w.responses[:0], w.sends[:0]
	sync, entries := false, int64(0)
	n.writing.Store(max(1, int64(n.cfg.Clock.Since(n.began))))
	defer n.writing.Store(0)
	for _, m := range batch {
		if len(m.GetEntries()) > 0 {
			entries++
		}
		sync = sync || needsSync(m, w.last)
		hs := hardStateOf(m)
		if hs != nil {
			w.last = hs
		}
		if snap := m.GetSnapshot().GetMetadata(); snap.GetIndex() > 0 {
			if err := n.cfg.Installer.Install(snap.GetIndex(), snap.GetTerm()); err != nil {
				return err
			}
		}
		if err := n.cfg.Log.Append(hs, m.GetEntries()); err != nil {
			return err
		}
		for _, r := range m.GetResponses() {
			if w.repeats(r) {
				continue
			}
			if r.GetTo() == n.cfg.ID {
				w.responses = append(w.responses, r)
			} else {
				w.sends = append(w.sends, r)
			}
		}
	}
	if sync { // a commit index alone goes out with the next entries
		if err := n.cfg.Log.Flush(!mutate.On(mutate.AckBeforeSync)); err != nil {
			return err
		}
		// What is acknowledged from here on is marked as durable, so that damage to it can be
		// told from a write that was cut short. The mark itself needs no sync.
		if err := n.cfg.Log.Mark(); err != nil {
			return err
		}
	}
	n.unsynced.Add(-entries)
	if len(w.sends) > 0 && n.cfg.Transport != nil {
		n.cfg.Transport.Send(w.sends)
	}
	n.inbox.put(w.responses...)
	if to := n.truncateTo.Load(); to > w.truncated {
		w.truncated = to
		return n.cfg.Log.Truncate(to)
	}
	return nil
}
