package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// leasePrefix is of keys that live as long as their leases.
	leasePrefix = "lease/"

	// leaseTTL is what is asked for; keepAliveEvery is how often a lease is kept alive, and
	// leaseLife for how long at most.
	leaseTTL       = 5 * time.Second
	keepAliveEvery = 400 * time.Millisecond
	leaseLife      = 12 * time.Second

	// leaseTries bounds the attempts to take back a lease.
	leaseTries = 5

	// expiryTimeout bounds how long an abandoned lease may live once all is well: its time, that of
	// a new leader that begins anew, and some.
	expiryTimeout = 2*leaseTTL + 10*time.Second
)

// tenant is a lease with its key, as its client knows it.
type tenant struct {
	id      clientv3.LeaseID
	key     string
	until   time.Time // it may not go before
	revoked bool      // by its client, or that tried to
}

// tenants grants leases, puts a key with each, keeps it alive for a while through members at
// random, and then takes it back or leaves it to expire.
type tenants struct {
	clients []*clientv3.Client
	rng     *rand.Rand
	number  int     // of this one among its like
	skew    float64 // by which part members' clocks are wrong at most

	mu     sync.Mutex // guards all
	all    []*tenant
	renews int
}

// run takes one lease after the other until the context ends.
func (l *tenants) run(ctx context.Context) {
	for ctx.Err() == nil {
		t, err := l.grant(ctx)
		if err != nil {
			pause(ctx, retryWait)
			continue
		}
		end := time.Now().Add(time.Duration(l.rng.Int64N(int64(leaseLife))))
		for ctx.Err() == nil && time.Now().Before(end) {
			pause(ctx, keepAliveEvery)
			l.renew(ctx, t)
		}
		if l.rng.IntN(3) == 0 {
			l.revoke(ctx, t)
		}
	}
}

// pause waits, but not longer than the context.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// client returns one of the clients.
func (l *tenants) client() *clientv3.Client { return l.clients[l.rng.IntN(len(l.clients))] }

// grant takes a lease and puts its key.
func (l *tenants) grant(ctx context.Context) (*tenant, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	begin := time.Now()
	resp, err := l.client().Grant(ctx, int64(leaseTTL/time.Second))
	if err != nil {
		return nil, err
	}
	t := &tenant{id: resp.ID, key: fmt.Sprintf("%s%d-%x", leasePrefix, l.number, resp.ID),
		until: l.promised(begin, resp.TTL)}
	if _, err := l.client().Put(ctx, t.key, "", clientv3.WithLease(t.id)); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, t)
	return t, nil
}

// renew keeps a lease alive once. An answer is a promise that counts from before the question.
func (l *tenants) renew(ctx context.Context, t *tenant) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	begin := time.Now()
	resp, err := l.client().KeepAliveOnce(ctx, t.id)
	if err != nil {
		return // the lease may go when its last promise has run out
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.until = l.promised(begin, resp.TTL)
	l.renews++
}

// promised is when a lease may end for which somebody asked at a time: clocks may be fast.
func (l *tenants) promised(begin time.Time, ttl int64) time.Time {
	return begin.Add(time.Duration(float64(ttl) * float64(time.Second) / (1 + l.skew)))
}

// revoke takes a lease back: its key is gone with the answer.
func (l *tenants) revoke(ctx context.Context, t *tenant) {
	l.mu.Lock()
	t.revoked = true
	l.mu.Unlock()
	for range leaseTries {
		call, cancel := context.WithTimeout(ctx, opTimeout)
		_, err := l.client().Revoke(call, t.id)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		pause(ctx, retryWait)
	}
}

// checkEarly looks for keys that went although their leases were promised to live. deleted tells
// when somebody saw a key's end, which is after it was.
func (l *tenants) checkEarly(deleted func(key string) (time.Time, bool)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.all {
		if at, ok := deleted(t.key); ok && !t.revoked && at.Before(t.until) {
			return fmt.Errorf("lease %x expired %v before the time that was promised", t.id,
				t.until.Sub(at))
		}
	}
	return nil
}

// checkGone waits until all keys are gone. Nobody keeps a lease alive any more.
func (l *tenants) checkGone(ctx context.Context, client *clientv3.Client) error {
	return Retry(ctx, expiryTimeout, func(ctx context.Context) error {
		resp, err := client.Get(ctx, fmt.Sprintf("%s%d-", leasePrefix, l.number),
			clientv3.WithPrefix())
		if err == nil && len(resp.Kvs) > 0 {
			err = fmt.Errorf("%s and %d more have not expired", resp.Kvs[0].Key, len(resp.Kvs)-1)
		}
		return err
	})
}

// counts returns how many leases there were and how often one was kept alive.
func (l *tenants) counts() (leases, renews int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all), l.renews
}
