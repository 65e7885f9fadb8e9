package node

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/mutate"
	"go.etcd.io/raft/v3"
)

// readRetry is how often a read point that got no answer is asked for again (etcd: 500 ms).
const readRetry = 500 * time.Millisecond

// readQueue joins reads into read-index rounds: all that wait when a round begins share it, one
// round is under way at a time, and who comes later waits for the next.
type readQueue struct {
	timeout time.Duration
	id      uint64 // of this member: the leader tells the rounds of all members apart

	mu      sync.Mutex
	waiting []reader // no round yet
	closed  bool

	// Guarded by Node.turn:
	round   []reader // share the round under way
	context uint64   // of the round under way, or the last one
	asked   time.Time
	begun   bool        // the round has begun in this pass, and its point was not asked for yet
	last    uint64      // entry of this member's log when the round began
	term    uint64      // then
	ready   []readyRead // read point known, state not there yet
}

type reader struct {
	done func(error)
	at   time.Time
}

type readyRead struct {
	index   uint64
	readers []reader
}

// newReadQueue makes a queue; first numbers its rounds, as proposals are numbered.
func newReadQueue(timeout time.Duration, id, first uint64) *readQueue {
	return &readQueue{timeout: timeout, id: id, context: first}
}

// contextBytes is the length of what names a round: member and number.
const contextBytes = 16

func (q *readQueue) name() []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, contextBytes), q.id)
	return binary.LittleEndian.AppendUint64(b, q.context)
}

func (q *readQueue) put(done func(error), now time.Time) {
	q.mu.Lock()
	closed := q.closed
	if !closed {
		q.waiting = append(q.waiting, reader{done, now})
	}
	q.mu.Unlock()
	if closed {
		done(cairn.ErrStopped)
	}
}

// beginReads begins a round if someone waits. It comes before the proposals of the pass, since an
// entry that is proposed after the round began can prove what the round has to.
func (n *Node) beginReads(now time.Time) {
	q := n.reads
	if len(q.round) > 0 {
		return
	}
	q.mu.Lock()
	q.round, q.waiting = q.waiting, nil
	q.mu.Unlock()
	if len(q.round) > 0 {
		s := n.core.Status()
		q.context++
		q.begun, q.asked, q.last, q.term = true, now, n.core.LastIndex(), s.Term
	}
}

// stepReads asks for the point of a round that has begun, asks again if there was no answer, and
// answers the reads whose point the state has reached. A leader that proposes anyway asks nobody:
// when an entry is committed that it appended after the round began, a quorum has told it since
// that it leads. more says that proposals wait.
func (n *Node) stepReads(now time.Time, more bool) {
	q := n.reads
	s := n.core.Status()
	last := q.last
	if mutate.On(mutate.ReadProofEdge) {
		last--
	}
	switch {
	case len(q.round) == 0:
	case s.IsLeader && s.Term == q.term && s.Commit > last:
		q.ready = append(q.ready, readyRead{s.Commit, q.round})
		q.round = nil
	case q.begun && s.IsLeader && (more || n.core.LastIndex() > q.last):
		// The entry under way will tell.
	case q.begun:
		n.askRead(now)
	case now.Sub(q.asked) >= readRetry:
		n.askRead(now)
		if n.cfg.SlowRead != nil {
			n.cfg.SlowRead()
		}
	}
	q.begun = false
	applied := n.applied.Load()
	if mutate.On(mutate.ReadBeforeApplied) {
		applied = n.core.Status().Commit
	}
	for len(q.ready) > 0 && q.ready[0].index <= applied {
		readers := q.ready[0].readers
		n.together(func() { answer(readers, nil) })
		q.ready = q.ready[1:]
	}
}

func (n *Node) askRead(now time.Time) {
	n.reads.asked = now
	if n.core.Status().Leader != raft.None {
		n.core.ReadIndex(n.reads.name())
	}
}

// readPoints takes the answers to rounds; an answer to an earlier asking of the same round is as
// good.
func (n *Node) readPoints(states []raft.ReadState) {
	q := n.reads
	for _, s := range states {
		named := bytes.Equal(s.RequestCtx, q.name()) || mutate.On(mutate.ReadAnyRound)
		if len(q.round) > 0 && named {
			q.ready = append(q.ready, readyRead{s.Index, q.round})
			q.round = nil
		}
	}
}

// expireReads answers the reads that waited too long.
func (n *Node) expireReads(now time.Time) (failed int) {
	q := n.reads
	late := func(readers []reader) []reader {
		i := 0
		for i < len(readers) && now.Sub(readers[i].at) > q.timeout {
			i++
		}
		answer(readers[:i], cairn.ErrTimeout)
		failed += i
		return readers[i:]
	}
	q.round = late(q.round)
	for i := range q.ready {
		q.ready[i].readers = late(q.ready[i].readers)
	}
	return failed
}

// leaderLost fails the round under way: its point may never come.
func (q *readQueue) leaderLost() {
	answer(q.round, cairn.ErrLeaderChanged)
	q.round = nil
}

// failAll answers all readers; those that come later are told ErrStopped. The loop has ended.
func (q *readQueue) failAll(err error) {
	q.mu.Lock()
	waiting := q.waiting
	q.waiting, q.closed = nil, true
	q.mu.Unlock()
	answer(waiting, err)
	answer(q.round, err)
	for _, r := range q.ready {
		answer(r.readers, err)
	}
	q.round, q.ready = nil, nil
}

func answer(readers []reader, err error) {
	for _, r := range readers {
		r.done(err)
	}
}
