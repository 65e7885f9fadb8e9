package node

import (
	"errors"
	"fmt"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/internal/mutate"
	"go.etcd.io/raft/v3/raftpb"
)

// quietCommands bounds the commands of a batch after which the writer makes the passes: more is
// load, of which the next batch should gather while other goroutines do their part.
const quietCommands = 8

// quietBytes bounds the entries that the writer applies: more may take a while.
const quietBytes = 256 << 10

// writer is the state of the goroutine that writes the raft log.
type writer struct {
	quiet     bool // the last batch of entries was small: this is the one to wake for a pass
	batch     []*raftpb.Message
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
	w := &writer{last: n.cfg.Log.HardState(), quiet: !n.cfg.Divided}
	for {
		n.idle.Store(w.quiet)
		if n.cfg.Tasks.Wait(nil, n.stop, n.wakeWriter) == 0 {
			return
		}
		n.idle.Store(false)
		err := n.work(w)
		if errors.Is(err, cairn.ErrStopped) {
			return // this, or while a snapshot was being installed
		}
		if err != nil {
			n.fatal(fmt.Errorf("write the raft log: %w", err))
			return
		}
	}
}

// work writes what was handed out until nothing is left. Under load the loop hands out the next
// batch while one is written, and the applier applies the last one. When all is quiet the writer
// makes the passes and applies what they commit: a request by itself does not wake three
// goroutines.
func (n *Node) work(w *writer) error {
	if w.quiet && !n.appends.empty() {
		n.wakeLoop.give() // what came while this goroutine was idle does not wait for a sync
	}
	for busy := true; busy; {
		select {
		case <-n.stop:
			return errStopped
		default:
		}
		busy = false
		if w.quiet && n.appends.empty() {
			if !n.pass(byWriter) {
				return errStopped
			}
			ok := false
			if busy, ok = n.applyHere(); !ok {
				return errStopped
			}
		}
		if w.batch = n.appends.take(w.batch); len(w.batch) > 0 {
			busy = true
			if err := n.write(w); err != nil {
				return err
			}
		}
		if err := n.truncate(w); err != nil {
			return err
		}
	}
	return nil
}

// truncate gives up the entries that are no longer needed.
func (n *Node) truncate(w *writer) error {
	to := n.truncateTo.Load()
	if to <= w.truncated {
		return nil
	}
	w.truncated = to
	return n.cfg.Log.Truncate(to)
}

// write makes a batch of MsgStorageAppend durable and then sends its responses.
func (n *Node) write(w *writer) error {
	w.responses, w.sends = w.responses[:0], w.sends[:0]
	sync, entries, commands := false, int64(0), 0
	n.writing.Store(n.sinceBegan())
	defer n.writing.Store(0)
	for _, m := range w.batch {
		if len(m.GetEntries()) > 0 {
			entries++
		}
		for _, e := range m.GetEntries() {
			commands += countCommands(e)
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
	if entries > 0 {
		w.quiet = commands <= quietCommands && !n.cfg.Divided
	}
	if !w.quiet || !n.appends.empty() {
		n.wakeLoop.give() // meanwhile the writer goes on
	}
	return nil
}

// sinceBegan is the moment, in ns from began; never 0.
func (n *Node) sinceBegan() int64 { return max(1, int64(n.cfg.Clock.Since(n.began))) }

// countCommands is how many commands an entry has. Whether it is sound is seen when it is applied.
func countCommands(e *raftpb.Entry) int {
	if b, err := command.Decode(e.GetData()); err == nil {
		return b.Count
	}
	return 0
}
