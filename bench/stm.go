package bench

import (
	"errors"
	"fmt"
	"slices"
)

// Isolation is how strictly a software transaction is kept from the others.
type Isolation string

// Isolations, as clientv3/concurrency has them.
const (
	ReadCommitted        Isolation = "c"  // reads are not checked
	RepeatableReads      Isolation = "r"  // what was read must be unchanged at the commit
	Serializable         Isolation = "s"  // besides, all is read at one revision
	SerializableSnapshot Isolation = "ss" // besides, what is written must be unchanged since then
)

// Locker is what is held around each software transaction.
type Locker string

// Lockers, as etcd's benchmark names them.
const (
	NoLock     Locker = "stm"         // nothing
	ClientLock Locker = "lock-client" // a mutex of clientv3/concurrency: keys and watches
	RPCLock    Locker = "lock-rpc"    // the server's lock service
)

// STM makes software transactions: some keys are read, a part of them is overwritten, and all is
// committed if nobody else has changed anything meanwhile, else tried again. An operation is a
// transaction with all its attempts, and with its lock.
type STM struct {
	Keys         int // how many there are; default: 1
	PerTxn       int // how many a transaction reads; default: 1
	WritePercent int // of those, how many it overwrites
	ValueSize    int // bytes
	Isolation    Isolation
	Locker       Locker
}

// Verb is "stm".
func (STM) Verb() string { return "stm" }

type stmPlan struct {
	STM
	keys   *keys
	values *values
}

// stmKeySize is etcd's benchmark's.
const stmKeySize = 16

func (s STM) build(_ *Options, seed uint64) (plan, error) {
	s.Keys, s.PerTxn = max(s.Keys, 1), max(s.PerTxn, 1)
	if s.Isolation == "" {
		s.Isolation = RepeatableReads
	}
	if s.Locker == "" {
		s.Locker = NoLock
	}
	all := []Isolation{ReadCommitted, RepeatableReads, Serializable, SerializableSnapshot}
	if !slices.Contains(all, s.Isolation) {
		return nil, fmt.Errorf("isolation %q: c, r, s and ss are possible", s.Isolation)
	}
	if !slices.Contains([]Locker{NoLock, ClientLock, RPCLock}, s.Locker) {
		return nil, fmt.Errorf("locker %q: %s, %s and %s are possible", s.Locker, NoLock,
			ClientLock, RPCLock)
	}
	if s.PerTxn > s.Keys {
		return nil, fmt.Errorf("%d keys of a transaction, there are %d", s.PerTxn, s.Keys)
	}
	if s.WritePercent < 0 || s.WritePercent > 100 {
		return nil, fmt.Errorf("%d %% of keys to overwrite", s.WritePercent)
	}
	keys, err := Keys{Size: stmKeySize, Space: s.Keys}.build()
	if err != nil {
		return nil, err
	}
	values, err := newValues(s.ValueSize, seed)
	return &stmPlan{STM: s, keys: keys, values: values}, err
}

func (p *stmPlan) series() []string { return []string{"stm"} }

// stmState is a client's transaction.
type stmState struct {
	lock  *lock // nil: NoLock
	keys  []uint64
	reads int     // keys that were read in this attempt
	mods  []int64 // their mod revisions
	first int64   // revision of the attempt's first read
	phase phase
	part  []byte // of a message, while it is made
}

// phase is what a client waits for the answer of.
type phase int

const (
	idlePhase phase = iota
	lockPhase
	readPhase
	commitPhase
	unlockPhase
)

func (p *stmPlan) prepare(c *client, msg []byte) (request, bool) {
	if c.state == nil {
		st := &stmState{}
		if p.Locker != NoLock {
			st.lock = newLock(p.Locker)
		}
		c.state = st
	}
	st := c.state.(*stmState)
	if st.lock == nil || st.lock.lease != 0 {
		return request{}, false
	}
	return request{method: grantMethod, msg: appendUint(msg, 1, lockTTL)}, true
}

func (p *stmPlan) next(c *client, msg []byte) request {
	st := c.state.(*stmState)
	if st.phase == idlePhase {
		p.begin(c, st)
	}
	switch st.phase {
	case lockPhase:
		return st.lock.acquire(msg)
	case unlockPhase:
		return st.lock.release(msg)
	case commitPhase:
		return p.commit(c, st, msg)
	}
	c.scratch[0] = p.keys.append(c.scratch[0][:0], st.keys[st.reads])
	read := rangeRequest{key: c.scratch[0]}
	if p.Isolation == Serializable || p.Isolation == SerializableSnapshot {
		// As clientv3/concurrency: all later reads are at the first one's revision.
		read.rev, read.serializable = st.first, st.first > 0
	}
	return request{method: rangeMethod, msg: read.append(msg)}
}

// begin picks the keys of the next transaction.
func (p *stmPlan) begin(c *client, st *stmState) {
	st.keys = st.keys[:0]
	for len(st.keys) < p.PerTxn {
		if k := p.keys.pick(c.rng); !slices.Contains(st.keys, k) {
			st.keys = append(st.keys, k)
		}
	}
	p.again(st)
	if st.lock != nil {
		st.phase = lockPhase
	}
}

// again begins an attempt.
func (p *stmPlan) again(st *stmState) {
	st.reads, st.mods, st.first, st.phase = 0, st.mods[:0], 0, readPhase
}

// commit makes the transaction that writes if nothing has changed.
func (p *stmPlan) commit(c *client, st *stmState, msg []byte) request {
	writes := p.PerTxn * p.WritePercent / 100
	for i, k := range st.keys {
		key := p.keys.append(c.scratch[0][:0], k)
		c.scratch[0] = key
		if p.Isolation != ReadCommitted {
			msg, st.part = appendCompare(msg, st.part, key, cmpMod, cmpEqual, st.mods[i])
		}
		if i < writes && p.Isolation == SerializableSnapshot {
			msg, st.part = appendCompare(msg, st.part, key, cmpMod, cmpLess, st.first+1)
		}
	}
	for _, k := range st.keys[:writes] {
		c.scratch[0] = p.keys.append(c.scratch[0][:0], k)
		c.scratch[1] = appendPut(c.scratch[1][:0], c.scratch[0], p.values.pick(c.rng), 0)
		msg = appendOp(msg, txnSuccess, opPut, c.scratch[1])
	}
	return request{method: txnMethod, msg: msg}
}

func (p *stmPlan) reply(c *client, msg []byte) (more bool, err error) {
	st := c.state.(*stmState)
	switch st.phase {
	case idlePhase:
		st.lock.lease, _, err = decodeLease(msg)
		return false, err
	case lockPhase:
		held, err := st.lock.acquired(msg)
		if held {
			st.phase = readPhase
		}
		return true, err
	case readPhase:
		resp, err := decodeRange(msg)
		st.mods = append(st.mods, resp.first.mod)
		if st.first == 0 {
			st.first = resp.rev
		}
		if st.reads++; st.reads == p.PerTxn {
			st.phase = commitPhase
		}
		return true, err
	case commitPhase:
		resp, err := decodeTxn(msg)
		if err != nil {
			return false, err
		}
		if !resp.succeeded {
			p.again(st)
			return true, nil
		}
		if st.lock != nil {
			st.phase = unlockPhase
			return true, nil
		}
	}
	st.phase = idlePhase
	return false, nil
}

// streamed takes what the watch of a lock brings.
func (p *stmPlan) streamed(c *client, msg []byte) (over bool, err error) {
	return c.state.(*stmState).lock.watched(msg)
}

func (p *stmPlan) leaseOf(c *client) int64 {
	st, ok := c.state.(*stmState)
	if !ok || st.lock == nil {
		return 0
	}
	return st.lock.lease
}

// failed is told of an operation that broke off. Who holds the lock, or waits in its queue, would
// keep all others waiting, so a failure under a lock ends the run.
func (p *stmPlan) failed(c *client) error {
	st := c.state.(*stmState)
	if st.lock != nil {
		return errors.New("an operation has failed that competes for the lock")
	}
	st.phase = idlePhase
	return nil
}
