package upkeep

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/lease"
)

var start = time.Unix(1_000_000, 0)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func leases(all ...lease.Info) func() []lease.Info {
	return func() []lease.Info { return all }
}

// tick is Tick with both answers.
func tick(l *Lessor, now time.Time) (revoke []cairn.LeaseID, checkpoints []Checkpoint) {
	revoke = l.Tick(now, func(c []Checkpoint) { checkpoints = append(checkpoints, c...) })
	return revoke, checkpoints
}

func TestLessorLife(t *testing.T) {
	l := NewLessor(0)
	if _, err := l.Renew(at(0), 1); !errors.Is(err, cairn.ErrNotLeader) {
		t.Fatalf("renewing without leadership: %v", err)
	}
	l.Granted(at(0), lease.Info{ID: 1, TTL: 10})
	l.Promote(at(0), leases(lease.Info{ID: 2, TTL: 10}, lease.Info{ID: 3, TTL: 100, Remaining: 4}))
	l.Granted(at(1), lease.Info{ID: 4, TTL: 2})
	if got := l.Remaining(at(1), 1); got != -1 {
		t.Errorf("a lease that the promotion did not name has %d s left", got)
	}
	if r, _ := tick(l, at(2.9)); len(r) != 0 {
		t.Errorf("revoked early: %v", r)
	}
	if r, _ := tick(l, at(3)); !slices.Equal(r, []int64{4}) {
		t.Errorf("at 3 s: %v", r)
	}
	if r, _ := tick(l, at(4)); !slices.Equal(r, []int64{3}) {
		t.Errorf("at 4 s, by its checkpoint: %v", r)
	}
	renewal, err := l.Renew(at(4.5), 4)
	if err != nil || renewal.TTL != 0 || renewal.Ending == nil {
		t.Fatalf("renewing a lease that ran out: %+v, %v", renewal, err)
	}
	l.Revoked(4)
	select {
	case <-renewal.Ending:
	default:
		t.Error("the end of the lease was not told")
	}
	if r, _ := tick(l, at(7)); !slices.Equal(r, []int64{3}) {
		t.Errorf("a revocation that did not happen is not asked for again: %v", r)
	}
	if renewal, err = l.Renew(at(9), 2); err != nil || renewal.TTL != 10 {
		t.Fatalf("renew: %+v, %v", renewal, err)
	}
	if got := l.Remaining(at(10.5), 2); got != 8 {
		t.Errorf("8.5 s left are told as %d", got)
	}
	l.Demote()
	if r, _ := tick(l, at(1000)); len(r) != 0 {
		t.Errorf("revoked without leadership: %v", r)
	}
}

func TestLessorCheckpoints(t *testing.T) {
	l := NewLessor(0)
	l.Promote(at(0), leases(lease.Info{ID: 1, TTL: 1000}, lease.Info{ID: 2, TTL: 299}))
	l.Revoked(2)
	if _, c := tick(l, at(299)); len(c) != 0 {
		t.Errorf("before the interval: %v", c)
	}
	if _, c := tick(l, at(300)); !slices.Equal(c, []Checkpoint{{1, 700}}) {
		t.Errorf("at the interval: %v", c)
	}
	l.Granted(at(300), lease.Info{ID: 1, TTL: 1000, Remaining: 700})
	if r, err := l.Renew(at(310), 1); err != nil || !r.ClearCheckpoint || r.TTL != 1000 {
		t.Errorf("a renewal after a checkpoint: %+v, %v", r, err)
	}
	l.Granted(at(310), lease.Info{ID: 1, TTL: 1000})
	if r, err := l.Renew(at(311), 1); err != nil || r.ClearCheckpoint {
		t.Errorf("a renewal after the checkpoint is cleared: %+v, %v", r, err)
	}
}

// TestLessorRenewsUnderCheckpoint: a renewal after a checkpoint was handed out, and before it is
// applied, takes it back.
func TestLessorRenewsUnderCheckpoint(t *testing.T) {
	l := NewLessor(0)
	l.Promote(at(0), leases(lease.Info{ID: 1, TTL: 1000}))
	if _, c := tick(l, at(300)); len(c) != 1 {
		t.Fatalf("at the interval: %v", c)
	}
	if r, err := l.Renew(at(300.1), 1); err != nil || !r.ClearCheckpoint {
		t.Errorf("a renewal while a checkpoint is under way: %+v, %v", r, err)
	}
}

// TestLessorProposesBeforeRenewals: no renewal comes between a checkpoint and its proposal. It
// would propose first what takes the checkpoint back.
func TestLessorProposesBeforeRenewals(t *testing.T) {
	l := NewLessor(0)
	l.Promote(at(0), leases(lease.Info{ID: 1, TTL: 1000}, lease.Info{ID: 2, TTL: 300}))
	calls := 0
	revoke := l.Tick(at(300), func(c []Checkpoint) {
		calls++
		if !slices.Equal(c, []Checkpoint{{1, 700}}) {
			t.Errorf("to propose: %v", c)
		}
		if l.mu.TryLock() {
			l.mu.Unlock()
			t.Error("a renewal need not wait until the checkpoint is proposed")
		}
	})
	if calls != 1 || !slices.Equal(revoke, []int64{2}) {
		t.Errorf("%d proposals, revoked %v", calls, revoke)
	}
	l.Tick(at(301), func(c []Checkpoint) { t.Errorf("to propose, when nothing is due: %v", c) })
}

// A lease is revoked never before its deadline, and in the tick after it at the latest.
func TestLessorModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := NewLessor(0)
		l.Promote(at(0), leases())
		deadlines := map[int64]time.Time{}
		now := at(0)
		for range 300 {
			id := rng.Int64N(20) + 1
			switch rng.IntN(4) {
			case 0:
				if _, ok := deadlines[id]; !ok {
					ttl := rng.Int64N(400) + 1
					l.Granted(now, lease.Info{ID: id, TTL: ttl})
					deadlines[id] = now.Add(seconds(ttl))
				}
			case 1:
				r, err := l.Renew(now, id)
				d, ok := deadlines[id]
				alive := ok && now.Before(d)
				if err != nil || (r.TTL > 0) != alive {
					t.Fatalf("seed %d: renew %d: %+v, %v; alive %v", seed, id, r, err, alive)
				}
				if alive {
					deadlines[id] = now.Add(seconds(r.TTL))
				}
			default:
				now = now.Add(time.Duration(rng.Int64N(int64(30 * time.Second))))
				revoked, _ := tick(l, now)
				for id, d := range deadlines {
					if got := slices.Contains(revoked, id); got != !now.Before(d) {
						t.Fatalf("seed %d: lease %d due %v at %v: revoked %v",
							seed, id, d, now, got)
					}
				}
				for _, id := range revoked {
					l.Revoked(id)
					delete(deadlines, id)
				}
			}
		}
	}
}

func TestCompactor(t *testing.T) {
	c := NewCompactor(CompactRevision, 0, 100)
	for _, s := range []struct {
		minute, rev, want int64
		leader            bool
	}{
		{0, 1000, 0, true}, {4, 1000, 0, true}, {5, 1000, 900, true}, {10, 1000, 0, true},
		{15, 1100, 0, false}, {20, 1200, 1100, true},
	} {
		got := c.Tick(start.Add(time.Duration(s.minute)*time.Minute), s.rev, s.leader)
		if got != s.want {
			t.Errorf("revision mode, minute %d: %d, want %d", s.minute, got, s.want)
		}
		c.Done(got)
	}
	// Periodic: one revision a minute, keep 30 minutes; etcd's first run comes after a period,
	// the next ones every period.
	c = NewCompactor(CompactPeriodic, 30*time.Minute, 0)
	var runs [][2]int64
	for m := range int64(100) {
		if got := c.Tick(start.Add(time.Duration(m)*time.Minute), m+1, true); got != 0 {
			runs = append(runs, [2]int64{m, got})
			c.Done(got)
		}
	}
	if want := [][2]int64{{30, 1}, {60, 31}, {90, 61}}; !slices.Equal(runs, want) {
		t.Errorf("periodic mode: %v, want %v", runs, want)
	}
	if got := NewCompactor(CompactPeriodic, 0, 0).Tick(at(1e6), 1e6, true); got != 0 {
		t.Errorf("switched off: %d", got)
	}
}
