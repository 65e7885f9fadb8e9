package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
	"github.com/cairnkv/cairn/e2e"
)

const (
	// backTimeout bounds how long no client is served when a minority is away, and
	// recoverTimeout the same after a fault without quorum has ended.
	backTimeout    = 10 * time.Second
	recoverTimeout = 30 * time.Second

	// A fault goes on for holdMin to holdMax after the service is back: longer than an election.
	holdMin, holdMax = 1200 * time.Millisecond, 2500 * time.Millisecond

	// calm is the time between two faults.
	calm = 300 * time.Millisecond

	// How many of each clients there are besides those of single members, and how many for each.
	roamers, workersOfMember, tenantCount, lockerCount = 2, 2, 2, 3

	// checkTimeout bounds the search for an order of the operations on one key.
	checkTimeout = time.Minute

	readTimeout = time.Minute // for reading the history on
)

// hunt is a cluster under load, with all that its clients have seen.
type hunt struct {
	t        *testing.T
	cluster  *Cluster
	rng      *rand.Rand
	seed     uint64
	recorder *Recorder
	history  *check.History
	epoch    atomic.Int64
	watchers []*watcher
	tenants  []*tenants
	lockers  lockers
	tasks    sync.WaitGroup // clients that change something
	watches  sync.WaitGroup
	served   []time.Duration // of each fault: until the first put of a prober
	gaps     []time.Duration // of each fault: the longest without a write of the clients
}

// newHunt starts a cluster; its clients come with start.
func newHunt(t *testing.T, n int) *hunt {
	rng, seed := newRandom(t)
	foreign := func(key string) bool { return !isKV(key) }
	h := &hunt{t: t, rng: rng, seed: seed, recorder: NewRecorder(foreign),
		history: &check.History{}}
	h.cluster = newCluster(t, n, "--snapshot-count=2000")
	return h
}

// dial returns a client that is closed with the test.
func (h *hunt) dial(endpoints ...string) *clientv3.Client {
	h.t.Helper()
	c, err := e2e.Dial(endpoints...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// start starts all clients; they work until working ends, and the watchers until watching does.
func (h *hunt) start(working, watching context.Context) {
	var clients []*clientv3.Client
	add := func(name string, n int, endpoints ...string) {
		for range n {
			w := &worker{id: len(clients), client: h.dial(endpoints...), recorder: h.recorder,
				epoch: &h.epoch, rng: rand.New(rand.NewPCG(h.seed, uint64(len(clients)+1)))}
			clients = append(clients, w.client)
			h.tasks.Go(func() { w.run(working) })
		}
		w := newWatcher(name, h.dial(endpoints...))
		h.watchers = append(h.watchers, w)
		h.watches.Go(func() { w.run(watching) })
	}
	for _, m := range h.cluster.Members() {
		add(m.Name, workersOfMember, m.Endpoint())
	}
	add("all", roamers, h.cluster.Endpoints()...)
	for i := range tenantCount {
		l := &tenants{clients: clients, number: i, skew: *flagSkew,
			rng: rand.New(rand.NewPCG(h.seed, uint64(1000+i)))}
		h.tenants = append(h.tenants, l)
		h.tasks.Go(func() { l.run(working) })
	}
	for i := range lockerCount {
		rng := rand.New(rand.NewPCG(h.seed, uint64(2000+i)))
		client := h.dial(h.cluster.Members()[i].Endpoint())
		h.tasks.Go(func() { h.lockers.run(working, client, rng) })
	}
}

// must ends the test on an error.
func (h *hunt) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%v (seed %d)", err, h.seed)
	}
}

// strike lets one fault come and go.
func (h *hunt) strike(f Fault) {
	h.t.Helper()
	ctx := h.t.Context()
	scene, err := NewScene(ctx, h.cluster, h.rng)
	h.must(err)
	h.recorder.Gap()
	began := time.Now()
	serving, err := f.Inject(scene)
	if err != nil {
		h.t.Fatalf("%s: %v (seed %d)", f.Name, err, h.seed)
	}
	var served time.Duration
	if len(serving) > 0 {
		if served, err = FirstPut(ctx, serving, backTimeout); err != nil {
			h.t.Errorf("%s: no member serves clients: %v (seed %d)", f.Name, err, h.seed)
		}
	}
	pause(ctx, holdMin+time.Duration(h.rng.Int64N(int64(holdMax-holdMin))))
	if m := AnyAnswers(ctx, h.cluster.apart(serving)); m != nil {
		h.t.Errorf("%s: %s has no quorum, but answers a linearizable read (seed %d)", f.Name,
			m.Name, h.seed)
	}
	ended := time.Now()
	if err := h.cluster.Recover(ctx); err != nil {
		h.t.Fatalf("%s: recover: %v (seed %d)", f.Name, err, h.seed)
	}
	_, err = FirstPut(ctx, h.cluster.Members(), recoverTimeout)
	h.must(err)
	back := time.Since(ended)
	h.must(h.cluster.Healthy(ctx))
	well := time.Since(ended)
	h.epoch.Add(1)
	h.extend()
	// Without a quorum, the time of the fault itself is no pause of the cluster's.
	gap := h.recorder.Gap()
	if len(serving) == 0 {
		gap -= ended.Sub(began)
		served = back
	}
	h.served, h.gaps = append(h.served, served), append(h.gaps, gap)
	h.t.Logf("%6.1f s  %-46s serves after %4d ms, no write for %4d ms, all well %4d ms after its "+
		"end, revision %d", time.Since(h.recorder.began).Seconds(), f.Name, served.Milliseconds(),
		gap.Milliseconds(), well.Milliseconds(), h.history.Revision)
	pause(ctx, calm)
}

// extend reads the history on to where the store is now. Then, some of the time, what everybody has
// seen is compacted.
func (h *hunt) extend() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), readTimeout)
	defer cancel()
	client := h.cluster.Members()[h.rng.IntN(len(h.cluster.Members()))].Client()
	resp, err := client.Get(ctx, "health")
	h.must(err)
	now := resp.Header.Revision
	events, err := e2e.ReadHistory(ctx, client, max(h.history.Revision, 1)+1, now)
	h.must(err)
	h.must(h.history.Extend(events, now))
	if h.rng.IntN(2) == 0 {
		return
	}
	// The values before the events that are still to come have to stay, too.
	at := h.history.Revision
	for _, w := range h.watchers {
		at = min(at, w.position()-2)
	}
	if at > 1 {
		_, err := client.Compact(ctx, at)
		if err != nil && !strings.Contains(err.Error(), "has been compacted") {
			h.must(err)
		}
	}
}

// TestFaults lets one fault after the other come over a cluster under load, and then holds
// everything that any client was told against the history.
func TestFaults(t *testing.T) {
	t.Parallel()
	h := newHunt(t, *flagMembers)
	working, stop := context.WithCancel(t.Context())
	defer stop()
	watching, stopWatching := context.WithCancel(t.Context())
	t.Cleanup(h.watches.Wait)
	t.Cleanup(h.tasks.Wait)
	t.Cleanup(stopWatching)
	t.Cleanup(stop)
	h.start(working, watching)
	pause(t.Context(), calm)
	faults := slices.DeleteFunc(Faults(), func(f Fault) bool {
		return f.Members > *flagMembers || !strings.Contains(f.Name, *flagOnly)
	})
	if len(faults) == 0 {
		t.Fatalf("no fault is called %q", *flagOnly)
	}
	for time.Since(h.recorder.began) < *flagDuration {
		h.rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		for _, f := range faults {
			if time.Since(h.recorder.began) < *flagDuration {
				h.strike(f)
			}
		}
	}
	stop()
	h.tasks.Wait()
	h.settle()
	h.check()
	slices.Sort(h.served)
	slices.Sort(h.gaps)
	middle, last, unit := len(h.gaps)/2, len(h.gaps)-1, time.Millisecond
	t.Logf("%d faults: served again after %v in the middle, %v at worst; no write of any client "+
		"for %v in the middle, %v at worst", len(h.gaps), h.served[middle].Round(unit),
		h.served[last].Round(unit), h.gaps[middle].Round(unit), h.gaps[last].Round(unit))
}

// settle waits until leases have run out and nothing changes any more, and reads the last of the
// history.
func (h *hunt) settle() {
	h.t.Helper()
	ctx, client := h.t.Context(), h.cluster.Members()[0].Client()
	for _, l := range h.tenants {
		h.must(l.checkGone(ctx, client))
	}
	h.must(Retry(ctx, expiryTimeout, func(ctx context.Context) error {
		resp, err := client.Get(ctx, lockPrefix+"/", clientv3.WithPrefix())
		if err == nil && len(resp.Kvs) > 0 {
			err = fmt.Errorf("%s has not expired", resp.Kvs[0].Key)
		}
		return err
	}))
	h.extend()
}

// check holds all that was seen against the history.
func (h *hunt) check() {
	h.t.Helper()
	begin := time.Now()
	ctx := h.t.Context()
	fail := func(what string, err error) {
		if err != nil {
			h.t.Errorf("%s: %v (seed %d)", what, err, h.seed)
		}
	}
	for _, w := range h.watchers {
		fail("watch", w.check(ctx, h.history))
	}
	fail("writes", h.recorder.Ledger.Check(h.history))
	timeline := check.NewTimeline(h.history, isKV)
	ops := timeline.Resolve(h.recorder.Ops())
	fail("answers", timeline.CheckStates(ops))
	fail("order", check.Order(ops))
	fail("linearizability", check.Registers(ops, checkTimeout, h.cluster.dir))
	var leases, renews int
	for _, l := range h.tenants {
		for _, w := range h.watchers {
			fail("leases", l.checkEarly(w.deleted))
		}
		a, b := l.counts()
		leases, renews = leases+a, renews+b
	}
	fail("lock", h.lockers.check(h.history))
	fail("hash", h.cluster.SameHash(ctx, h.history.Revision))
	acked, unknown, _ := h.recorder.Ledger.Counts()
	holders, guarded := h.lockers.counts()
	h.t.Logf("%d operations, %d writes acknowledged and %d not answered, %d events at each of %d "+
		"watches; %d leases kept alive %d times; lock held %d times for %d writes; checked in %v",
		len(h.recorder.Ops()), acked, unknown, len(h.history.Events), len(h.watchers), leases,
		renews, holders, guarded, time.Since(begin).Round(time.Millisecond))
}
