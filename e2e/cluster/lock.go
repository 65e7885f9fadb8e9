package cluster

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/cairnkv/cairn/check"
)

const (
	// lockPrefix is of the keys of those who wait for the one lock; fencedKey is what its holder
	// writes, under the condition that it still is the holder.
	lockPrefix = "lock"
	fencedKey  = "fenced"

	// sessionTTL is the life of a lock whose holder is away, in seconds; writesOfHolder is how
	// often a holder writes at most; lockTimeout bounds the wait for the lock.
	sessionTTL     = 3
	writesOfHolder = 5
	lockTimeout    = 20 * time.Second
)

// lockers take turns at one lock.
type lockers struct {
	mu      sync.Mutex // guards the fields below
	writes  []check.Guarded
	holders int
}

// run takes and releases the lock, with a client of its own, until the context ends.
func (l *lockers) run(ctx context.Context, client *clientv3.Client, rng *rand.Rand) {
	for ctx.Err() == nil {
		if err := l.hold(ctx, client, rng); err != nil {
			pause(ctx, retryWait)
		}
	}
}

// hold takes the lock once, writes some times as its holder, and lets it go, or lets it expire.
func (l *lockers) hold(ctx context.Context, client *clientv3.Client, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	session, err := concurrency.NewSession(client, concurrency.WithTTL(sessionTTL),
		concurrency.WithContext(ctx))
	if err != nil {
		return err
	}
	if rng.IntN(5) == 0 {
		defer session.Orphan()
	} else {
		defer session.Close()
	}
	mutex := concurrency.NewMutex(session, lockPrefix)
	if err := mutex.Lock(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	l.holders++
	l.mu.Unlock()
	for range 1 + rng.IntN(writesOfHolder) {
		call, cancel := context.WithTimeout(ctx, opTimeout)
		resp, err := client.Txn(call).If(mutex.IsOwner()).
			Then(clientv3.OpPut(fencedKey, mutex.Key())).Commit()
		cancel()
		if err != nil || !resp.Succeeded {
			return err // whoever lost the lock may not write, and did not
		}
		l.mu.Lock()
		l.writes = append(l.writes, check.Guarded{
			Holder: mutex.Key(), Revision: resp.Header.Revision,
		})
		l.mu.Unlock()
		pause(ctx, time.Duration(rng.Int64N(int64(retryWait))))
	}
	if rng.IntN(3) > 0 {
		return mutex.Unlock(ctx)
	}
	return nil
}

// check holds the turns against the history.
func (l *lockers) check(h *check.History) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return check.Locks(h, lockPrefix+"/", l.writes)
}

// counts returns how often the lock was held, and how often written under it.
func (l *lockers) counts() (holders, writes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holders, len(l.writes)
}
