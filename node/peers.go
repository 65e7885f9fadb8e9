package node

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/internal/mutate"
)

// Limits of what peers may have waiting here.
const (
	// maxHeld and maxHeldBytes bound the proposals of peers that wait until they can be taken.
	maxHeld      = 1 << 12
	maxHeldBytes = 64 << 20
	// snapshotRetry is after how many election timeouts a peer that waits for a snapshot is told
	// of it again: it may have been restarted since.
	snapshotRetry = 2
)

// heldProposal is a peer's message that the core did not take: there is no leader, or it is about
// to hand over, or a configuration change is under way. It was not appended anywhere, so that to
// step it again later does not double it.
type heldProposal struct {
	message *raftpb.Message
	bytes   int
	at      time.Time
}

// Deliver takes messages of peers. Those that no peer sends are dropped. It does not block: the
// transport's flow control bounds what arrives.
func (n *Node) Deliver(messages []*raftpb.Message) {
	valid := messages[:0]
	for _, m := range messages {
		switch {
		case !fromPeer(m):
			n.cfg.Logger.Warningf("dropped a message of type %v from %x: no peer may send it",
				m.GetType(), m.GetFrom())
		case m.GetType() == raftpb.MsgSnap:
			n.call(func(c *Core) {
				if err := c.CheckHistory(m); err != nil {
					n.fatal(fmt.Errorf("raft: %w", err))
				}
			})
			if n.cfg.Installer != nil {
				n.cfg.Installer.Fetch(m)
			}
		default:
			valid = append(valid, m)
		}
	}
	if len(valid) > 0 {
		n.inbox.put(valid...)
		n.wakeCore()
	}
}

// fromPeer says whether a message may come from another member: raft panics on some that its own
// parts alone make.
func fromPeer(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp,
		raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp,
		raftpb.MsgTimeoutNow, raftpb.MsgSnap:
		return m.GetTerm() > 0
	case raftpb.MsgReadIndexResp, raftpb.MsgReadIndex:
		return len(m.GetEntries()) == 1
	case raftpb.MsgProp:
		return len(m.GetEntries()) > 0
	}
	return false
}

// Unreachable says that a message to a peer was lost.
func (n *Node) Unreachable(id uint64) { n.call(func(c *Core) { c.Unreachable(id) }) }

// call runs fn in the next pass.
func (n *Node) call(fn func(c *Core)) {
	n.calls.put(fn)
	n.wakeCore()
}

// Fetched says that the Installer has a state at index, whose entry has term, with the
// configuration conf: raft may ask for it to be installed. m is the message that asked for it.
// What a state holds is committed, so that it may be taken on the word of any leader. taken is told
// in a pass whether Install will be called for it; until then, or until Install has ended, what
// was fetched must stay as it is.
func (n *Node) Fetched(
	m *raftpb.Message, index, term uint64, conf *raftpb.ConfState, taken func(bool),
) {
	n.call(func(c *Core) {
		s := c.Status()
		snap := &raftpb.Message{
			Type: raftpb.MsgSnap.Enum(),
			To:   proto.Uint64(n.cfg.ID), From: proto.Uint64(m.GetFrom()),
			Term: proto.Uint64(m.GetTerm()),
			Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
				Index: proto.Uint64(index), Term: proto.Uint64(term),
				ConfState: proto.Clone(conf).(*raftpb.ConfState),
			}},
		}
		if s.Leader != raft.None {
			snap.From, snap.Term = proto.Uint64(s.Leader), proto.Uint64(s.Term)
		}
		before := n.installs
		if err := c.Step(snap); err != nil {
			n.fatal(fmt.Errorf("raft: %w", err))
		}
		n.handOut()
		taken(n.installs != before)
	})
}

// step gives a message to the core.
func (n *Node) step(m *raftpb.Message) error {
	if m.GetType() == raftpb.MsgProp && changesConf(m) {
		n.hold(m) // until it is known that the core would take it
		return nil
	}
	err := n.core.Step(m)
	if isDropped(err) {
		if m.GetType() == raftpb.MsgProp {
			n.hold(m)
		}
		return nil
	}
	return err
}

func (n *Node) hold(m *raftpb.Message) {
	bytes := entryBytes(m)
	total := bytes
	for i := range n.held {
		total += n.held[i].bytes
	}
	if len(n.held) >= maxHeld || total > maxHeldBytes {
		return // its sender is told in time that nothing came of it
	}
	n.held = append(n.held, heldProposal{m, bytes, n.cfg.Clock.Now()})
}

// entryBytes is the length of what a message's entries carry.
func entryBytes(m *raftpb.Message) (bytes int) {
	for _, e := range m.GetEntries() {
		bytes += len(e.GetData())
	}
	return bytes
}

func changesConf(m *raftpb.Message) bool {
	for _, e := range m.GetEntries() {
		if e.GetType() != raftpb.EntryNormal {
			return true
		}
	}
	return false
}

// stepHeld tries again what was held.
func (n *Node) stepHeld() error {
	if len(n.held) == 0 {
		return nil
	}
	now := n.cfg.Clock.Now()
	kept := n.held[:0]
	for _, h := range n.held {
		if now.Sub(h.at) > n.cfg.RequestTimeout {
			continue
		}
		if changesConf(h.message) && !n.mayChange() {
			kept = append(kept, h)
			continue
		}
		err := n.core.Step(h.message)
		if mutate.On(mutate.ReplayHeld) && err == nil {
			err = n.core.Step(h.message)
		}
		if isDropped(err) {
			kept = append(kept, h)
		} else if err != nil {
			return err
		}
		n.handOut()
	}
	clear(n.held[len(kept):])
	n.held = kept
	return nil
}
