package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/cairnkv/cairn/e2e"
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

// guarded is a write that was done under the condition that the lock was held.
type guarded struct {
	holder   string // its key
	revision int64
}

// lockers take turns at one lock.
type lockers struct {
	mu      sync.Mutex // guards the fields below
	writes  []guarded
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
		l.writes = append(l.writes, guarded{mutex.Key(), resp.Header.Revision})
		l.mu.Unlock()
		pause(ctx, time.Duration(rng.Int64N(int64(retryWait))))
	}
	if rng.IntN(3) > 0 {
		return mutex.Unlock(ctx)
	}
	return nil
}

// check replays the history: at each write the writer's key must have been the oldest of the lock,
// and the turns of two holders must not overlap.
func (l *lockers) check(h *e2e.History) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	sort.Slice(l.writes, func(i, j int) bool { return l.writes[i].revision < l.writes[j].revision })
	waiting := make(map[string]int64) // key -> revision of creation
	over := make(map[string]bool)     // holders whose turn is over
	last, next := "", 0
	for _, e := range h.Events {
		if strings.HasPrefix(e.Key, lockPrefix+"/") {
			if e.Delete {
				delete(waiting, e.Key)
			} else if waiting[e.Key] == 0 {
				waiting[e.Key] = e.Revision
			}
		}
		if next == len(l.writes) || e.Revision != l.writes[next].revision {
			continue
		}
		holder := l.writes[next].holder
		next++
		for key, created := range waiting {
			if waiting[holder] == 0 || created < waiting[holder] {
				return fmt.Errorf("at revision %d %s wrote as the lock's holder, but %s has it",
					e.Revision, holder, key)
			}
		}
		if holder != last {
			over[last] = true
			last = holder
		}
		if over[holder] {
			return fmt.Errorf("at revision %d %s wrote as the lock's holder again, after another",
				e.Revision, holder)
		}
	}
	if next < len(l.writes) {
		return fmt.Errorf("the write of revision %d under the lock is not in the history",
			l.writes[next].revision)
	}
	return nil
}

// counts returns how often the lock was held, and how often written under it.
func (l *lockers) counts() (holders, writes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holders, len(l.writes)
}
