package node

import (
	"slices"
	"sync"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/internal/mutate"
	"go.etcd.io/raft/v3"
)

// Limits of the way in.
const (
	// maxEntryBytes ends a batch: the entry that reaches it is not added to.
	maxEntryBytes = 1 << 20
	// maxQueuedProposals and maxQueuedBytes bound what waits to be proposed; beyond it a client
	// is told ErrTooManyRequests at once.
	maxQueuedProposals = 1 << 17
	maxQueuedBytes     = 256 << 20
	// maxUnsynced bounds the appends handed to the writer and not durable: one that is being
	// synced and one that waits. What arrives meanwhile gathers into a larger entry.
	maxUnsynced = 2
	// maxUnapplied bounds committed entries that are not applied (etcd's maxGapBetweenApply-
	// AndCommitIndex is 5000 single requests).
	maxUnapplied = 5000
	// maxForwarded bounds the entries under way to the leader of which nothing was heard. What
	// arrives meanwhile gathers into a larger entry.
	maxForwarded = 16
)

type proposal struct {
	kind    command.Kind
	request []byte
	done    Done
	at      time.Time
	term    uint64 // in which alone it may be proposed, by the leader; 0: in any, by anyone
}

// proposalQueue holds requests until the loop makes entries of them.
type proposalQueue struct {
	mu     sync.Mutex
	items  []proposal
	bytes  int
	closed bool
}

// put queues a proposal, or answers it. It says whether it is the first: then someone must be
// woken.
func (q *proposalQueue) put(p proposal) (first bool) {
	q.mu.Lock()
	var err error
	switch {
	case q.closed:
		err = cairn.ErrStopped
	case len(q.items) >= maxQueuedProposals || q.bytes+len(p.request) > maxQueuedBytes:
		err = cairn.ErrTooManyRequests
	default:
		q.items = append(q.items, p)
		q.bytes += len(p.request)
	}
	first = err == nil && len(q.items) == 1
	q.mu.Unlock()
	if err != nil {
		p.done(nil, err)
	}
	return first
}

func (q *proposalQueue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// take returns all items and leaves the memory of spare in their place.
func (q *proposalQueue) take(spare []proposal) []proposal {
	clear(spare)
	q.mu.Lock()
	items := q.items
	q.items, q.bytes = spare[:0], 0
	q.mu.Unlock()
	return items
}

func (q *proposalQueue) close() {
	q.mu.Lock()
	items := q.items
	q.items, q.closed = nil, true
	q.mu.Unlock()
	for _, p := range items {
		p.done(nil, cairn.ErrStopped)
	}
}

// proposer makes entries of the queue; guarded by Node.turn.
type proposer struct {
	builder  command.Builder
	backlog  []proposal // taken from the queue, not yet proposed
	bound    bool       // some of the backlog are bound to a term
	changes  []proposal // of the configuration
	spare    []proposal
	sequence uint64
}

// propose makes entries of what waits, as far as the pipeline has room.
func (n *Node) propose() {
	p := &n.proposer
	for {
		if len(p.backlog) == 0 {
			p.backlog = n.proposals.take(p.spare)
			p.spare = p.backlog[:0]
			p.bound = slices.ContainsFunc(p.backlog, func(q proposal) bool { return q.term != 0 })
		}
		if p.bound {
			n.dropStale(p)
		}
		if len(p.backlog) == 0 || !n.hasRoom() {
			return
		}
		p.builder.Reset()
		count := 0
		for count < len(p.backlog) && count < command.MaxCommands &&
			(count == 0 || p.builder.Bytes()+len(p.backlog[count].request) <= maxEntryBytes) {
			p.builder.Add(p.backlog[count].kind, p.backlog[count].request)
			count++
		}
		sequence := p.sequence + 1
		all, batch := p.backlog, p.backlog[:count]
		n.waiting.add(sequence, batch, n.cfg.Clock.Now().Add(n.cfg.RequestTimeout))
		p.backlog = all[count:] // first: if raft panics, who waits is told once
		err := n.core.Propose(p.builder.Build(n.cfg.ID, sequence))
		if err != nil {
			n.waiting.remove(sequence)
			p.backlog = all
			if !isDropped(err) {
				n.fatal(err)
			}
			return // no leader, or too much uncommitted: what waits is tried again
		}
		p.sequence = sequence
		clear(batch)
		n.handOut()
	}
}

// dropStale refuses the proposals of a leader that are no longer its: another member may have
// decided otherwise since.
func (n *Node) dropStale(p *proposer) {
	s := n.core.Status()
	kept := p.backlog[:0]
	for i, q := range p.backlog {
		if q.term != 0 && !mutate.On(mutate.LostTermCheck) && (!s.IsLeader || s.Term != q.term) {
			q.done(nil, cairn.ErrNotLeader)
			continue
		}
		if len(kept) < i {
			p.backlog[len(kept)] = q
		}
		kept = p.backlog[:len(kept)+1]
	}
	clear(p.backlog[len(kept):])
	p.backlog = kept
}

// hasRoom says whether another entry may be proposed now.
func (n *Node) hasRoom() bool {
	s := n.core.Status()
	if s.Leader == raft.None || s.Commit-min(n.applied.Load(), s.Commit) > maxUnapplied {
		return false
	}
	if !s.IsLeader {
		return n.waiting.entries() < maxForwarded
	}
	return n.unsynced.Load() < maxUnsynced
}

// expireBacklog answers requests that waited too long for a leader or for room.
func (n *Node) expireBacklog(now time.Time) (clients int) {
	for _, list := range []*[]proposal{&n.proposer.backlog, &n.proposer.changes} {
		late := 0
		for late < len(*list) && now.Sub((*list)[late].at) > n.cfg.RequestTimeout {
			(*list)[late].done(nil, cairn.ErrTimeout)
			late++
		}
		*list = (*list)[late:]
		clients += late
	}
	return clients
}

// waitTable holds the clients of entries under way, by sequence number. Guarded by mu: the loop
// adds and expires, the applier takes.
type waitTable struct {
	mu      sync.Mutex
	batches map[uint64]*waitingBatch
	order   []*waitingBatch // by deadline
	free    []*waitingBatch
}

type waitingBatch struct {
	sequence uint64
	deadline time.Time
	done     []Done
	gone     bool // answered
	hastened bool // the leader that it was under way to is gone
}

func newWaitTable() *waitTable {
	return &waitTable{batches: make(map[uint64]*waitingBatch)}
}

func (t *waitTable) add(sequence uint64, batch []proposal, deadline time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b *waitingBatch
	if last := len(t.free) - 1; last >= 0 {
		b, t.free = t.free[last], t.free[:last]
	} else {
		b = new(waitingBatch)
	}
	*b = waitingBatch{sequence: sequence, deadline: deadline, done: b.done[:0]}
	for i := range batch {
		b.done = append(b.done, batch[i].done)
	}
	t.batches[sequence] = b
	t.order = append(t.order, b)
}

// remove forgets a batch that was not proposed after all; its clients stay with the caller.
func (t *waitTable) remove(sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b, ok := t.batches[sequence]; ok {
		delete(t.batches, sequence)
		t.order = t.order[:len(t.order)-1]
		t.free = append(t.free, b)
	}
}

// take returns the clients of a batch and forgets it; nil when they were answered. The caller
// gives the batch back with release.
func (t *waitTable) take(sequence uint64) *waitingBatch {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, ok := t.batches[sequence]
	if !ok {
		return nil
	}
	delete(t.batches, sequence)
	return b
}

// release marks a batch as answered.
func (t *waitTable) release(b *waitingBatch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b.gone = true
	clear(b.done)
	t.trim()
}

// trim forgets answered batches at the head of the order.
func (t *waitTable) trim() {
	for len(t.order) > 0 && t.order[0].gone {
		t.free = append(t.free, t.order[0])
		t.order = t.order[1:]
	}
}

// expire answers the batches whose time is over.
func (t *waitTable) expire(now time.Time) (clients int) {
	t.mu.Lock()
	var late []*waitingBatch
	for _, b := range t.order {
		if !now.After(b.deadline) {
			break
		}
		if _, ok := t.batches[b.sequence]; ok {
			delete(t.batches, b.sequence)
			late = append(late, b)
		}
	}
	t.mu.Unlock()
	for _, b := range late {
		err := cairn.ErrTimeout
		if b.hastened {
			err = cairn.ErrTimeoutLeaderFailed
		}
		for _, done := range b.done {
			done(nil, err)
		}
		clients += len(b.done)
		t.release(b)
	}
	return clients
}

// hasten brings the deadlines of all batches forward to at.
func (t *waitTable) hasten(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.order {
		if b.deadline.After(at) {
			b.deadline, b.hastened = at, true
		}
	}
}

// entries is the number of entries under way.
func (t *waitTable) entries() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.batches)
}

func (t *waitTable) len() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.batches {
		n += len(b.done)
	}
	return n
}

func (t *waitTable) failAll(err error) {
	t.mu.Lock()
	order := t.order
	live := t.batches
	t.order, t.batches = nil, make(map[uint64]*waitingBatch)
	t.mu.Unlock()
	for _, b := range order {
		if _, ok := live[b.sequence]; !ok {
			continue
		}
		for _, done := range b.done {
			done(nil, err)
		}
	}
}
