package node

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// idleBeforeMark is how long the log must be idle before it is marked as synced.
const idleBeforeMark = 50 * time.Millisecond

// writer is the state of the goroutine that writes the raft log.
type writer struct {
	last      *raftpb.HardState // as appended
	responses []*raftpb.Message // to this member, once durable
	sends     []*raftpb.Message // to others, once durable
	truncated uint64
}

// runWriter owns the raft log's writing side: one write and one fdatasync for all that waits.
func (n *Node) runWriter() {
	defer n.stopped.Done()
	w := &writer{last: n.cfg.Log.HardState()}
	idle := n.cfg.Clock.NewTimer(idleBeforeMark)
	defer idle.Stop()
	var batch []*raftpb.Message
	for {
		var err error
		select {
		case <-n.stop:
			return
		case <-idle.C():
			err = n.cfg.Log.Mark()
		case <-n.appends.wake:
			batch = n.appends.take(batch)
			err = n.write(w, batch)
			idle.Reset(idleBeforeMark)
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
	for _, m := range batch {
		if len(m.GetEntries()) > 0 {
			entries++
		}
		sync = sync || needsSync(m, w.last)
		hs := hardStateOf(m)
		if hs != nil {
			w.last = hs
		}
		if err := n.cfg.Log.Append(hs, m.GetEntries()); err != nil {
			return err
		}
		for _, r := range m.GetResponses() {
			if r.GetTo() == n.cfg.ID {
				w.responses = append(w.responses, r)
			} else {
				w.sends = append(w.sends, r)
			}
		}
	}
	if sync { // a commit index alone goes out with the next entries
		if err := n.cfg.Log.Flush(true); err != nil {
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
