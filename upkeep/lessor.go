// Package upkeep is the leader's duties as pure machines: each is told the time and what happened,
// and answers with what ought to be proposed, or hands it to a function that it was given. Nothing
// here starts a goroutine, reads a clock or knows of a log; package server drives it.
package upkeep

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/lease"
)

// Limits and intervals of the lessor.
const (
	// maxRevokesPerTick bounds the leases that one tick ends (etcd: 1000 a second, ticks of 500
	// ms).
	maxRevokesPerTick = 500
	// maxCheckpointsPerTick bounds the leases in one checkpoint command (etcd: 1000).
	maxCheckpointsPerTick = 1000
	// checkpointInterval is how often the time left of a long lease is written to the log, so that
	// a new leader does not begin its life anew (etcd server/lease,
	// defaultLeaseCheckpointInterval).
	checkpointInterval = 5 * time.Minute
	// revokeRetry is when an ended lease that is still there is revoked again.
	revokeRetry = 3 * time.Second
)

// Lessor keeps the clocks of the leases while this member leads. Its methods are safe for
// concurrent use: clients renew, the applier reports, the owner ticks.
type Lessor struct {
	mu      sync.Mutex
	primary bool
	every   time.Duration // between two checkpoints of a lease
	clocks  map[cairn.LeaseID]*leaseClock
	queue   clockHeap // by next
}

type leaseClock struct {
	lease.Info
	deadline time.Time
	next     time.Time // when the lessor must look at it: its deadline, a checkpoint or a retry
	ended    chan struct{}
	position int // in the heap
}

// NewLessor makes a lessor that keeps no clocks yet. every is the time between two checkpoints of a
// lease, 0: as etcd's.
func NewLessor(every time.Duration) *Lessor {
	if every <= 0 {
		every = checkpointInterval
	}
	return &Lessor{every: every, clocks: make(map[cairn.LeaseID]*leaseClock)}
}

// Promote starts the clocks of all leases: this member leads from now on. A lease goes on with what
// its last checkpoint left it, else with its full time to live. all lists the leases; it is called
// under the lessor's lock, so that no grant falls between the list and the promotion.
func (l *Lessor) Promote(now time.Time, all func() []lease.Info) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopAll()
	l.primary = true
	for _, info := range all() {
		if mutate.On(mutate.LeaseShort) {
			info.Remaining = max(info.TTL/2, 1)
		}
		l.start(now, info)
	}
}

// Demote stops all clocks: another member leads.
func (l *Lessor) Demote() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopAll()
	l.primary = false
}

// Primary says whether this member keeps the clocks.
func (l *Lessor) Primary() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.primary
}

func (l *Lessor) stopAll() {
	for _, c := range l.clocks {
		close(c.ended)
	}
	l.clocks = make(map[cairn.LeaseID]*leaseClock)
	l.queue = nil
}

// Granted starts the clock of a lease that was granted, and of one that was given a new checkpoint
// nothing changes but what is remembered. Without leadership it does nothing.
func (l *Lessor) Granted(now time.Time, info lease.Info) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.primary {
		return
	}
	if c, ok := l.clocks[info.ID]; ok {
		c.Remaining = info.Remaining
		return
	}
	l.start(now, info)
}

func (l *Lessor) start(now time.Time, info lease.Info) {
	left := info.TTL
	if info.Remaining > 0 {
		left = info.Remaining
	}
	c := &leaseClock{Info: info, deadline: now.Add(seconds(left)), ended: make(chan struct{})}
	c.next = l.nextLook(now, c.deadline)
	l.clocks[info.ID] = c
	heap.Push(&l.queue, c)
}

// seconds is n seconds as a duration; lease.MaxTTL fits.
func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// nextLook is the deadline, or the time of the next checkpoint if that comes first.
func (l *Lessor) nextLook(now, deadline time.Time) time.Time {
	if c := now.Add(l.every); c.Before(deadline) {
		return c
	}
	return deadline
}

// Revoked ends the clock of a lease.
func (l *Lessor) Revoked(id cairn.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.clocks[id]; ok {
		delete(l.clocks, id)
		heap.Remove(&l.queue, c.position)
		close(c.ended)
	}
}

// Renewal is the outcome of Renew.
type Renewal struct {
	TTL int64 // seconds from now on; 0: the lease is not there
	// Ending is set when the lease has run out and is being revoked: it is closed when it is gone,
	// or when this member stops leading.
	Ending <-chan struct{}
	// ClearCheckpoint says that the log holds a time left which is wrong from now on: propose a
	// checkpoint of 0 for the lease before the client is told.
	ClearCheckpoint bool
}

// Renew gives a lease its full time to live again. ErrNotLeader without leadership.
func (l *Lessor) Renew(now time.Time, id cairn.LeaseID) (Renewal, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.primary {
		return Renewal{}, cairn.ErrNotLeader
	}
	c, ok := l.clocks[id]
	if !ok {
		return Renewal{}, nil
	}
	if !now.Before(c.deadline) {
		return Renewal{Ending: c.ended}, nil
	}
	if mutate.On(mutate.RenewForgotten) && c.ID%4 == 0 {
		return Renewal{TTL: c.TTL}, nil
	}
	c.deadline = now.Add(seconds(c.TTL))
	c.next = l.nextLook(now, c.deadline)
	heap.Fix(&l.queue, c.position)
	clear := c.Remaining > 0 && !mutate.On(mutate.RemainingStays)
	return Renewal{TTL: c.TTL, ClearCheckpoint: clear}, nil
}

// Remaining is the time a lease has left in whole seconds, rounded as etcd does (down); -1 when it
// has run out, is not there, or this member does not lead.
func (l *Lessor) Remaining(now time.Time, id cairn.LeaseID) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.clocks[id]
	if !ok || !now.Before(c.deadline) {
		return -1
	}
	return int64(c.deadline.Sub(now) / time.Second)
}

// ByDeadline returns the leases in the order in which they run out (etcd's LeaseLeases), those
// without a clock first in their given order.
func (l *Lessor) ByDeadline(all []lease.Info) []lease.Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	deadline := func(i lease.Info) time.Time {
		if c, ok := l.clocks[i.ID]; ok {
			return c.deadline
		}
		return time.Time{}
	}
	slices.SortStableFunc(all, func(a, b lease.Info) int {
		return deadline(a).Compare(deadline(b))
	})
	return all
}

// Checkpoint is the time that a lease has left, in seconds, to be written to the log.
type Checkpoint struct {
	ID        cairn.LeaseID
	Remaining int64
}

// Tick returns the leases to revoke now and gives propose the checkpoints to propose, if there are
// any; both are bounded. A lease that is still there after a while is returned again.
//
// propose is called under the lessor's lock: it queues the checkpoints before it returns, and must
// neither block nor call the lessor. A renewal that has a checkpoint to take back thus comes behind
// it in the log; before it, it would take back nothing.
func (l *Lessor) Tick(now time.Time, propose func([]Checkpoint)) (revoke []cairn.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var checkpoints []Checkpoint
	for len(l.queue) > 0 && !l.queue[0].next.After(now) &&
		len(revoke) < maxRevokesPerTick && len(checkpoints) < maxCheckpointsPerTick {
		c := l.queue[0]
		if !now.Before(c.deadline) {
			revoke = append(revoke, c.ID)
			c.next = now.Add(revokeRetry)
		} else {
			left := int64((c.deadline.Sub(now) + time.Second - 1) / time.Second)
			checkpoints = append(checkpoints, Checkpoint{c.ID, left})
			c.Remaining = left // a renewal from now on has to take it back
			c.next = l.nextLook(now, c.deadline)
		}
		heap.Fix(&l.queue, 0)
	}
	if len(checkpoints) > 0 {
		propose(checkpoints)
	}
	return revoke
}

// clockHeap orders clocks by when they must be looked at.
type clockHeap []*leaseClock

func (h clockHeap) Len() int { return len(h) }
func (h clockHeap) Less(i, j int) bool {
	if h[i].next.Equal(h[j].next) {
		return h[i].ID < h[j].ID
	}
	return h[i].next.Before(h[j].next)
}
func (h clockHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}
func (h *clockHeap) Push(x any) {
	c := x.(*leaseClock)
	c.position = len(*h)
	*h = append(*h, c)
}
func (h *clockHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	*h = old[:len(old)-1]
	return c
}
