package node

import (
	"context"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/task"
)

// Transfer hands the leadership to a voter and returns when another leader is known; ctx bounds the
// wait. to is 0 for the one whose log is the longest: without any there is nothing to wait for.
func (n *Node) Transfer(ctx context.Context, to cairn.MemberID) error {
	began := make(chan bool, 1)
	n.call(func(c *Core) {
		if to == 0 {
			to = c.Successor(nil)
		}
		if to != 0 {
			c.Transfer(to)
		}
		began <- to != 0
	})
	switch ok, which := task.Receive(n.cfg.Tasks, began, ctx.Done(), n.stop); {
	case which == 0:
		return ctx.Err()
	case which == 1:
		return cairn.ErrStopped
	case !ok:
		return cairn.ErrBadTransferee
	}
	for {
		changed := *n.leaders.Load()
		if s := n.Status(); s.Leader != 0 && s.Leader != n.cfg.ID {
			return nil
		}
		switch n.cfg.Tasks.Wait(nil, ctx.Done(), n.stop, changed) {
		case 0:
			return ctx.Err()
		case 1:
			return cairn.ErrStopped
		}
	}
}

// Peers is what this member knows of the others' logs if it leads, else nil.
func (n *Node) Peers(ctx context.Context) (map[uint64]Peer, error) {
	result := make(chan map[uint64]Peer, 1)
	n.call(func(c *Core) { result <- c.Peers() })
	switch peers, which := task.Receive(n.cfg.Tasks, result, ctx.Done(), n.stop); which {
	case 0:
		return nil, ctx.Err()
	case 1:
		return nil, cairn.ErrStopped
	default:
		return peers, nil
	}
}

// detourPatience is how many election timeouts the writer may apply while something waits to be
// written.
const detourPatience = 5

// watchDisk hands the leadership over when the disk hangs: a leader that cannot write its log takes
// no proposals, while its heartbeats keep the others from electing one that can.
func (n *Node) watchDisk(now time.Time) {
	since := n.writing.Load()
	s := n.status.Load()
	patience := time.Duration(n.cfg.ElectionTicks) * n.cfg.TickInterval
	if since == 0 && !n.appends.all(canWait) {
		// The writer applies. That writes as well, and some commands take their time.
		since, patience = n.detour.Load(), detourPatience*patience
	}
	hangs := now.Sub(n.began) - time.Duration(since)
	if since == 0 || !s.IsLeader || s.Lone || hangs < patience {
		if len(n.passed) > 0 {
			clear(n.passed)
		}
		return
	}
	if now.Sub(n.passing) < patience {
		return // one try at a time
	}
	to := n.core.Successor(n.passed)
	if to == 0 {
		clear(n.passed) // all were tried: begin anew
		return
	}
	if n.passed == nil {
		n.passed = make(map[uint64]bool)
	}
	n.passed[to], n.passing = true, now
	n.cfg.Logger.Warningf("the raft log has not been written for %v: the disk hangs; handing the "+
		"leadership to %x", hangs.Round(time.Millisecond), to)
	n.core.Transfer(to)
}
