package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
)

var (
	flagServer = flag.String("server", "", "program to test instead of Cairn, built here")
	flagKills  = flag.Int("kills", 8, "how often the process is killed")
	flagSeed   = flag.Uint64("seed", 0, "seed of the load and of the moments of the kills; 0 for "+
		"one that is printed")
)

const (
	writerCount  = 4
	keysOfWriter = 40

	// Between a start and the next kill come at least minAcks and fewer than maxAcks
	// acknowledgements, and then a moment of at most killDelay.
	minAcks, maxAcks = 30, 1000
	killDelay        = 20 * time.Millisecond

	// callTimeout bounds a writer's request, loadTimeout the wait for acknowledgements, and
	// catchUpTimeout that for the watchers at the end.
	callTimeout    = 5 * time.Second
	loadTimeout    = time.Minute
	catchUpTimeout = time.Minute
	pollEvery      = time.Millisecond

	// clientLogEnv sets from which level on etcd's client logs to standard error.
	clientLogEnv = "ETCD_CLIENT_DEBUG"
)

// program returns the server to test.
func program(t *testing.T) string {
	t.Helper()
	if *flagServer != "" {
		return *flagServer
	}
	path, err := Build(t.Context(), "..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// client returns a client that is closed with the test.
func client(t *testing.T, s *Server) *clientv3.Client {
	t.Helper()
	c, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestKill kills the server under load, again and again. After each restart everything that was
// acknowledged must be there; at the end the watches, which went on over all restarts, must have
// seen what the history says.
func TestKill(t *testing.T) {
	seed := *flagSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	t.Setenv(clientLogEnv, "fatal") // the clients' complaints about each kill help nobody
	rng := rand.New(rand.NewPCG(seed, 0))
	s, err := NewServer(program(t), t.TempDir(), "--snapshot-count=300")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	begin := time.Now()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ledger, history := check.NewLedger(), &check.History{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	watchers := startWatchers(ctx, t, s)
	var writers sync.WaitGroup
	writing, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	for i := range writerCount {
		w := &writer{client: client(t, s), ledger: ledger, name: fmt.Sprintf("w%d", i),
			rng: rand.New(rand.NewPCG(seed, uint64(i+1)))}
		writers.Go(func() { w.run(writing) })
	}
	var restarts []time.Duration
	for range *flagKills {
		awaitAcks(t, ledger, minAcks+rng.IntN(maxAcks-minAcks))
		<-time.After(time.Duration(rng.Int64N(int64(killDelay))))
		restarts = append(restarts, kill(t, s, ledger, history))
	}
	awaitAcks(t, ledger, minAcks)
	stopWriting()
	writers.Wait()
	extend(t, s, ledger, history)
	checkWatchers(t, watchers, history)
	reread(t, s, history)
	acked, unknown, _ := ledger.Counts()
	slices.Sort(restarts)
	t.Logf("%d kills in %v: %d requests acknowledged, %d not answered, revision %d, %d events at "+
		"each of %d watches; restart %v in the middle, %v at worst", *flagKills,
		time.Since(begin).Round(time.Millisecond), acked, unknown, history.Revision,
		len(history.Events), len(watchers), restarts[len(restarts)/2].Round(time.Millisecond),
		restarts[len(restarts)-1].Round(time.Millisecond))
}

// awaitAcks waits until n more requests were acknowledged.
func awaitAcks(t *testing.T, l *check.Ledger, n int) {
	t.Helper()
	before, _, _ := l.Counts()
	poll(t, loadTimeout, "acknowledgements", func() bool {
		acked, _, _ := l.Counts()
		return acked >= before+n
	})
}

// poll waits until done holds.
func poll(t *testing.T, timeout time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s in vain", timeout, what)
		}
		<-tick.C
	}
}

// kill ends the server with SIGKILL, starts it again, checks all that was acknowledged before, and
// returns how long the start took.
func kill(t *testing.T, s *Server, l *check.Ledger, h *check.History) time.Duration {
	t.Helper()
	if err := s.Stop(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	extend(t, s, l, h)
	return took
}

// extend reads the history on to where the store is now and holds the ledger against it.
func extend(t *testing.T, s *Server, l *check.Ledger, h *check.History) {
	t.Helper()
	_, _, newest := l.Counts()
	c, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), loadTimeout)
	defer cancel()
	resp, err := c.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatalf("read after the start: %v", err)
	}
	now := resp.Header.Revision
	if now < newest || now < h.Revision {
		t.Fatalf("the store went back to revision %d; %d was acknowledged, %d was read", now,
			newest, h.Revision)
	}
	events, err := ReadHistory(ctx, c, h.Last()+1, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Extend(events, now); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(h); err != nil {
		t.Fatal(err)
	}
}

// reread reads the whole history once more from the first revision: it must be what was read
// piece by piece.
func reread(t *testing.T, s *Server, h *check.History) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), loadTimeout)
	defer cancel()
	events, err := ReadHistory(ctx, client(t, s), 1, h.Revision)
	if err != nil {
		t.Fatal(err)
	}
	everything := func(check.Change) bool { return true }
	if err := h.CheckWatch(events, 1, everything, false); err != nil {
		t.Errorf("the history read from its start: %v", err)
	}
}
