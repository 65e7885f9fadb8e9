package bench

import (
	"errors"
	"fmt"
)

// lockName is what etcd's benchmark calls its lock; lockTTL is how long, in seconds, a lock is held
// at most by a run that was killed.
const (
	lockName = "stmlock"
	lockTTL  = 3600
)

// lock is a client's part of the lock that all clients compete for.
//
// With ClientLock it is the recipe of clientv3/concurrency: each client puts a key of its own below
// the lock's name, bound to its lease; who has the key with the lowest create revision holds the
// lock, the others wait until the one before them is deleted.
type lock struct {
	kind  Locker
	lease int64
	key   []byte // of this client
	rev   int64  // its create revision
	step  lockStep
	ahead []byte // the key that is waited for
	from  int64  // revision that the watch begins at
	parts [2][]byte
}

// lockStep is what is to be sent next while the lock is being acquired.
type lockStep int

const (
	lockEnter lockStep = iota // the own key
	lockLook                  // who is before us?
	lockWait                  // for a deletion
)

func newLock(kind Locker) *lock { return &lock{kind: kind} }

// Keys below the lock's name, and the first that is not.
const (
	lockPrefix = lockName + "/"
	lockEnd    = lockName + "0"
)

// acquire makes the next request on the way to the lock.
func (l *lock) acquire(msg []byte) request {
	if l.kind == RPCLock {
		msg = appendBytes(msg, 1, []byte(lockName))
		return request{method: lockMethod, msg: appendUint(msg, 2, uint64(l.lease))}
	}
	switch l.step {
	case lockLook:
		ahead := rangeRequest{key: []byte(lockPrefix), end: []byte(lockEnd), limit: 1, sorted: true,
			descend: true, maxCreate: l.rev - 1}
		return request{method: rangeMethod, msg: ahead.append(msg)}
	case lockWait:
		create := appendBytes(l.parts[0][:0], 1, l.ahead)
		create = appendUint(create, 3, uint64(l.from))
		l.parts[0] = create
		return request{method: watchMethod, msg: appendMessage(msg, 1, create), stream: true}
	}
	l.key = fmt.Appendf(l.key[:0], "%s%x", lockPrefix, l.lease)
	msg, l.parts[0] = appendCompare(msg, l.parts[0], l.key, cmpCreate, cmpEqual, 0)
	l.parts[0] = appendPut(l.parts[0][:0], l.key, nil, l.lease)
	owner := rangeRequest{key: []byte(lockPrefix), end: []byte(lockEnd), limit: 1, sorted: true}
	own := rangeRequest{key: l.key}
	l.parts[1] = owner.append(l.parts[1][:0])
	msg = appendOp(msg, txnSuccess, opPut, l.parts[0])
	msg = appendOp(msg, txnSuccess, opRange, l.parts[1])
	msg = appendOp(msg, txnFailure, opRange, own.append(nil))
	msg = appendOp(msg, txnFailure, opRange, l.parts[1])
	return request{method: txnMethod, msg: msg}
}

// acquired takes the answer to acquire's request and tells whether the lock is held now.
func (l *lock) acquired(msg []byte) (held bool, err error) {
	if l.kind == RPCLock {
		err = fields(msg, func(f field) error {
			if f.num == 2 {
				l.key = append(l.key[:0], f.bytes...)
			}
			return nil
		})
		return true, err
	}
	if l.step == lockLook {
		resp, err := decodeRange(msg)
		l.step, l.ahead, l.from = lockWait, append(l.ahead[:0], resp.first.key...), resp.rev
		return resp.kvs == 0, err
	}
	resp, err := decodeTxn(msg)
	if err != nil {
		return false, err
	}
	if len(resp.answers) != 2 {
		return false, errors.New("a transaction of two operations has another number of answers")
	}
	l.rev = resp.rev
	if !resp.succeeded {
		own, err := decodeRange(resp.answers[0])
		if err != nil {
			return false, err
		}
		l.rev = own.first.create
	}
	owner, err := decodeRange(resp.answers[1])
	l.step = lockLook
	return owner.kvs == 0 || owner.first.create == l.rev, err
}

// watched takes a message of the watch, and tells whether the key that was waited for is gone.
func (l *lock) watched(msg []byte) (over bool, err error) {
	resp, err := decodeWatch(msg, func(_ []byte, deleted bool) error {
		over = over || deleted
		return nil
	})
	if resp.canceled {
		return false, fmt.Errorf("the watch of a lock was canceled: %s", resp.reason)
	}
	if over {
		l.step = lockLook // somebody else may have been before us, too
	}
	return over, err
}

// release makes the request that gives the lock back.
func (l *lock) release(msg []byte) request {
	l.step = lockEnter
	msg = appendBytes(msg, 1, l.key)
	if l.kind == RPCLock {
		return request{method: unlockMethod, msg: msg}
	}
	return request{method: deleteMethod, msg: msg}
}
