package cluster

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// steadyPrefix is of the keys of a steady load, one for each of its clients.
	steadyPrefix = "steady/"

	// steadyTimeout bounds one attempt, steadyTries the attempts for one request, and steadyPause
	// is between two requests of a client.
	steadyTimeout = 15 * time.Second
	steadyTries   = 4
	steadyPause   = 5 * time.Millisecond
)

// Steady is a load like that of a well-written program: each client puts the next number to its
// key, and a request that fails is sent again.
type Steady struct {
	tasks sync.WaitGroup
	stop  context.CancelFunc

	mu      sync.Mutex // guards the fields below
	last    map[string]int
	puts    int
	retried int     // requests that needed a second attempt
	failed  []error // requests that needed more than two
	longest time.Duration
}

// StartSteady starts clients; each of them has one request at a time. Stop ends them.
func StartSteady(ctx context.Context, clients ...*clientv3.Client) *Steady {
	s := &Steady{last: make(map[string]int)}
	ctx, s.stop = context.WithCancel(ctx)
	for i, client := range clients {
		key := fmt.Sprintf("%s%d", steadyPrefix, i)
		s.tasks.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				s.put(client, key, n)
				pause(ctx, steadyPause)
			}
		})
	}
	return s
}

// put sends one request until it succeeds, within bounds.
func (s *Steady) put(client *clientv3.Client, key string, n int) {
	begin := time.Now()
	var errs []error
	for range steadyTries {
		ctx, cancel := context.WithTimeout(context.Background(), steadyTimeout)
		_, err := client.Put(ctx, key, strconv.Itoa(n))
		cancel()
		if err == nil {
			break
		}
		errs = append(errs, fmt.Errorf("after %v: %w", time.Since(begin), err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	s.longest = max(s.longest, time.Since(begin))
	if len(errs) < steadyTries {
		s.last[key] = n
	}
	if len(errs) > 0 {
		s.retried++
	}
	if len(errs) > 1 {
		s.failed = append(s.failed, fmt.Errorf("put %d of %s: %v", n, key, errs))
	}
}

// Longest returns the time of the longest request since the last call, with all its attempts.
func (s *Steady) Longest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.longest
	s.longest = 0
	return d
}

// Stop ends the load, waits for its last requests, and holds what is in the store against them.
// It returns the number of requests, of those that needed a second attempt, and the errors of those
// that needed more.
func (s *Steady) Stop(ctx context.Context, client *clientv3.Client) (puts, retried int,
	failed []error, err error) {
	s.stop()
	s.tasks.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	resp, err := client.Get(ctx, steadyPrefix, clientv3.WithPrefix())
	if err != nil {
		return s.puts, s.retried, s.failed, err
	}
	found := make(map[string]string)
	for _, kv := range resp.Kvs {
		found[string(kv.Key)] = string(kv.Value)
	}
	return s.puts, s.retried, s.failed, s.lost(found)
}

// lost looks for acknowledged puts that are not in the store. s.mu is held.
func (s *Steady) lost(found map[string]string) error {
	for key, n := range s.last {
		// A request that failed after that may have been done.
		if got, err := strconv.Atoi(found[key]); err != nil || got < n {
			return fmt.Errorf("an acknowledged write is lost: %s has %q, but %d was put", key,
				found[key], n)
		}
	}
	return nil
}
