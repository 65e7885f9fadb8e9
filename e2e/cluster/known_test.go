package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/check"
	"github.com/cairnkv/cairn/e2e"
)

// scenario is a bug that etcd has had, as a test of real processes: what made it come out there is
// done here, and the promise that it broke is checked.
type scenario struct {
	name    string // the issue
	text    string // what went wrong
	members int
	flags   []string
	run     func(*known)
}

// brisk makes leaders change quickly, for scenarios with several members.
var brisk = []string{"--heartbeat-interval=100", "--election-timeout=600"}

// with returns brisk and more flags.
func with(flags ...string) []string { return slices.Concat(brisk, flags) }

// knownScenarios are the bugs that etcd's robustness tests have reproduced, but #14571, which is
// about authentication.
func knownScenarios() []scenario {
	return slices.Concat(crashScenarios(), snapshotScenarios(), watchScenarios(),
		compactionScenarios(), pauseScenarios())
}

// TestKnown runs every scenario, on a cluster of its own.
func TestKnown(t *testing.T) {
	t.Parallel()
	for _, s := range knownScenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			k := newKnown(t, s)
			s.run(k)
			for _, m := range k.cluster.Members() {
				if !m.Running() && !m.ended {
					k.fail(fmt.Errorf("%s has ended by itself: see %s", m.Name, m.dir))
				}
			}
		})
	}
}

// known is the rig of a scenario: the cluster, and what its writers have tried and were told.
type known struct {
	*testing.T
	scenario scenario
	ctx      context.Context
	cluster  *Cluster
	rng      *rand.Rand
	seed     uint64
	clients  uint64 // that there were, each with random numbers of its own
	ledger   *check.Ledger
	history  *check.History
	began    time.Time
	snapped  int // times that a member was seen to get a snapshot
}

func newKnown(t *testing.T, s scenario) *known {
	k := &known{T: t, scenario: s, ctx: t.Context(), ledger: check.NewLedger(),
		history: &check.History{}}
	k.rng, k.seed = newRandom(t)
	k.ledger.Foreign = isForeign
	k.cluster = newCluster(t, s.members, s.flags...)
	k.began = time.Now()
	return k
}

// must ends the test on an error.
func (k *known) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatalf("%s: %s (seed %d)", k.scenario.text, short(err), k.seed)
	}
}

// fail notes an error, and the test goes on.
func (k *known) fail(err error) {
	k.Helper()
	if err != nil {
		k.Errorf("%s: %s (seed %d)", k.scenario.text, short(err), k.seed)
	}
}

// padding is what fills values up.
const padding = "."

// short is the text of an error without what fills values up.
func short(err error) string {
	return regexp.MustCompile(regexp.QuoteMeta(padding)+"{9,}").ReplaceAllString(err.Error(), "...")
}

// tell prints what was done, and held.
func (k *known) tell(format string, args ...any) {
	k.Helper()
	if k.Failed() {
		return
	}
	took := time.Since(k.began).Round(time.Millisecond)
	k.Logf("%s, after %v", fmt.Sprintf(format, args...), took)
}

// cairn says whether a member is one of Cairn: it has records where they belong.
func (k *known) cairn(m *Member) bool {
	_, err := os.Stat(recordsOf(m))
	return err == nil
}

// rounds is how often something is done that is done n times by default.
func (k *known) rounds(n int) int { return n * *flagRounds }

// random returns random numbers for one more client.
func (k *known) random() *rand.Rand {
	k.clients++
	return rand.New(rand.NewPCG(k.seed, k.clients))
}

// dial returns a client that is closed with the test.
func (k *known) dial(endpoints ...string) *clientv3.Client {
	k.Helper()
	c, err := e2e.Dial(endpoints...)
	k.must(err)
	k.Cleanup(func() { _ = c.Close() })
	return c
}

// scene looks at the cluster: who leads it, and who follows in random order.
func (k *known) scene() *Scene {
	k.Helper()
	s, err := NewScene(k.ctx, k.cluster, k.rng)
	k.must(err)
	return s
}

// until waits for something to come true.
func (k *known) until(what string, done func() bool) {
	k.Helper()
	if !k.within(healthyTimeout, done) {
		k.Fatalf("%s: waited %v for %s in vain (seed %d)", k.scenario.text, healthyTimeout, what,
			k.seed)
	}
}

// within waits for something to come true for some time, and says whether it has.
func (k *known) within(limit time.Duration, done func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !done(); <-tick.C {
		if time.Now().After(deadline) || k.ctx.Err() != nil {
			return false
		}
	}
	return true
}

// acks waits until n more writes were acknowledged.
func (k *known) acks(n int) {
	k.Helper()
	before, _, _ := k.ledger.Counts()
	k.until("acknowledgements", func() bool {
		acked, _, _ := k.ledger.Counts()
		return acked >= before+n
	})
}

// moment waits for a random time below a bound: where a kill meets the process is left to chance.
func (k *known) moment(below time.Duration) {
	pause(k.ctx, time.Duration(k.rng.Int64N(int64(below))))
}

// recover ends all faults, and returns when each member answers linearizable reads.
func (k *known) recover() {
	k.Helper()
	k.must(k.cluster.Recover(k.ctx))
	k.must(k.cluster.Healthy(k.ctx))
}

// revision is what a member has at least applied when it is asked.
func (k *known) revision(m *Member) (revision int64) {
	k.Helper()
	k.must(Retry(k.ctx, healthyTimeout, func(ctx context.Context) error {
		resp, err := m.Client().Get(ctx, "health")
		if err == nil {
			revision = resp.Header.Revision
		}
		return err
	}))
	return revision
}

// extend reads the history on through a member to where the store is now: it did not go back, and
// all that was acknowledged is in it, under its revision, and nothing that nobody has asked for.
func (k *known) extend(m *Member) int64 {
	k.Helper()
	_, _, newest := k.ledger.Counts()
	now := k.revision(m)
	if now < newest || now < k.history.Revision {
		k.must(fmt.Errorf("%s went back to revision %d: %d was acknowledged, %d was read", m.Name,
			now, newest, k.history.Revision))
	}
	ctx, cancel := context.WithTimeout(k.ctx, readTimeout)
	defer cancel()
	events, err := e2e.ReadHistory(ctx, m.Client(), max(k.history.Revision, 1)+1, now)
	k.must(err)
	k.must(k.history.Extend(events, now))
	k.must(k.ledger.Check(k.history))
	return now
}

// settle reads the history through one member, and holds all members against it: they have the
// same hash, and their keys are what the history makes of them.
func (k *known) settle() {
	k.Helper()
	members := k.cluster.Members()
	now := k.extend(members[k.rng.IntN(len(members))])
	k.must(k.cluster.SameHash(k.ctx, now))
	timeline := check.NewTimeline(k.history, func(string) bool { return true })
	for _, m := range members {
		k.fail(k.audit(m, timeline, now))
	}
}

// audit compares all keys of a member at a revision with the history.
func (k *known) audit(m *Member, timeline *check.Timeline, revision int64) error {
	ctx, cancel := context.WithTimeout(k.ctx, readTimeout)
	defer cancel()
	resp, err := m.Client().Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(revision),
		clientv3.WithSerializable())
	if err != nil {
		return fmt.Errorf("read %s at revision %d: %w", m.Name, revision, err)
	}
	want := timeline.Keys(revision)
	for _, kv := range resp.Kvs {
		key := string(kv.Key)
		if got := value(kv); got != want[key] {
			return fmt.Errorf("%s has %+v under %s at revision %d, not %+v", m.Name, got, key,
				revision, want[key])
		}
		delete(want, key)
	}
	for key, v := range want {
		return fmt.Errorf("%s has nothing under %s at revision %d, not %+v", m.Name, key,
			revision, v)
	}
	return nil
}
