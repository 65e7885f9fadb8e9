package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// timed is a member whose time a test moves.
type timed struct {
	*rig
	clk *clock.Manual
	fs  *vfs.Mem
}

// withTime runs fn with a member in a bubble of its own.
func withTime(t *testing.T, fn func(t *testing.T, m *timed)) {
	t.Helper()
	// Made outside of the bubble, where the time has no monotonic reading.
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	synctest.Test(t, func(t *testing.T) {
		m := &timed{clk: clk, fs: vfs.NewMem()}
		m.start(t)
		fn(t, m)
		m.stop(t)
	})
}

func (m *timed) start(t *testing.T) {
	t.Helper()
	m.rig = mustStart(t, system{fs: m.fs, clock: m.clk, walBytes: 64 << 10, revlogBytes: 64 << 10})
}

// restart stops the member and starts it again after down.
func (m *timed) restart(t *testing.T, down time.Duration) {
	t.Helper()
	m.stop(t)
	m.clk.Advance(down)
	m.start(t)
}

// pass lets time go by in small steps, once all wait for it; what follows from each has happened
// when it returns.
func (m *timed) pass(d time.Duration) {
	const step = 100 * time.Millisecond
	synctest.Wait()
	for ; d > 0; d -= step {
		m.clk.Advance(min(d, step))
		synctest.Wait()
	}
}

// left is the time that a lease has; -1 if there is none.
func (m *timed) left(id int64) int64 {
	l, err := m.back.TimeToLive(context.Background(), id, false)
	if err != nil {
		return -1
	}
	return l.TTL
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func (m *timed) mustPut(t *testing.T, key string, lease int64) int64 {
	t.Helper()
	rev, err := m.put(key, "x", lease)
	must(t, err)
	return rev
}

// A lease that runs out takes its keys along in one revision, and no others.
func TestLeaseExpires(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		must(t, m.grant(7, 5), m.grant(8, 100))
		for _, key := range []string{"c", "a", "b", "moved"} {
			m.mustPut(t, key, 7)
		}
		m.mustPut(t, "moved", 8)
		last := m.mustPut(t, "free", 0)
		w := m.watch(last + 1)
		defer w.stream.Close()
		m.pass(4 * time.Second)
		if ttl := m.left(7); ttl != 1 {
			t.Errorf("%d s left after 4 of 5", ttl)
		}
		m.pass(900 * time.Millisecond)
		if rev := m.stores.machine.Store().Rev(); rev != last {
			t.Errorf("revision %d before the end", rev)
		}
		m.pass(600 * time.Millisecond)
		must(t, w.take())
		if len(w.events) != 3 {
			t.Fatalf("%d events: %v", len(w.events), w.events)
		}
		for i, key := range []string{"a", "b", "c"} {
			e := w.events[i]
			if string(e.Key) != key || !e.deleted || e.ModRevision != last+1 {
				t.Errorf("event %d is %v", i, e)
			}
		}
		if ttl := m.left(7); ttl != -1 {
			t.Errorf("%d s left after the end", ttl)
		}
		if ttl := m.left(8); ttl != 94 {
			t.Errorf("the other lease has %d s left", ttl)
		}
	})
}

func TestLeaseKeepAlive(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		must(t, m.grant(7, 5))
		for range 10 {
			m.pass(4 * time.Second)
			if ttl, err := m.back.KeepAlive(t.Context(), 7); err != nil || ttl != 5 {
				t.Fatalf("keep alive: %d, %v", ttl, err)
			}
		}
		m.pass(6 * time.Second)
		if _, err := m.back.KeepAlive(t.Context(), 7); !errors.Is(err, cairn.ErrLeaseNotFound) {
			t.Errorf("keep alive of a lease that has ended: %v", err)
		}
	})
}

// To renew a lease that has run out waits for its end, so that who hears of it finds no keys.
func TestLeaseKeepAliveTooLate(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		m.pass(200 * time.Millisecond)
		must(t, m.grant(7, 5)) // ends at 5.2 s, which is seen at 5.5 s
		m.mustPut(t, "a", 7)
		m.pass(5100 * time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		impatient, patient := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := m.back.KeepAlive(ctx, 7)
			impatient <- err
		}()
		go func() {
			_, err := m.back.KeepAlive(t.Context(), 7)
			if got, getErr := m.get("a", "", 0); getErr != nil || len(got.Kvs) > 0 {
				err = errors.Join(fmt.Errorf("the key is there: %v, %v", got, getErr), err)
			}
			patient <- err
		}()
		synctest.Wait()
		if len(impatient)+len(patient) > 0 {
			t.Fatal("it did not wait")
		}
		cancel()
		if err := <-impatient; !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		m.pass(300 * time.Millisecond)
		if err := <-patient; err == nil || err.Error() != cairn.ErrLeaseNotFound.Text {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A restart gives a lease its full time again, or what the last checkpoint of it left.
func TestLeaseRestart(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		must(t, m.grant(1, 60), m.grant(2, 1000), m.grant(3, 1000))
		m.mustPut(t, "short", 1)
		m.mustPut(t, "long", 2)
		m.pass(50 * time.Second)
		m.restart(t, time.Hour)
		if ttl := m.left(1); ttl != 60 {
			t.Errorf("without a checkpoint %d s are left, want all 60", ttl)
		}
		if ttl := m.left(2); ttl != 1000 {
			t.Errorf("without a checkpoint %d s are left, want all 1000", ttl)
		}
		m.pass(301 * time.Second) // the checkpoints come after 300 s
		if ttl := m.left(1); ttl != -1 {
			t.Errorf("the short lease has %d s left", ttl)
		}
		if ttl, err := m.back.KeepAlive(t.Context(), 3); err != nil || ttl != 1000 {
			t.Fatalf("keep alive: %d, %v", ttl, err)
		}
		m.pass(99 * time.Second)
		m.restart(t, time.Minute)
		if ttl := m.left(2); ttl != 700 {
			t.Errorf("after the checkpoint %d s are left, want 700", ttl)
		}
		if ttl := m.left(3); ttl != 1000 {
			t.Errorf("renewed after the checkpoint %d s are left, want 1000", ttl)
		}
		m.pass(701 * time.Second)
		got, err := m.get("long", "", 0)
		if err != nil || len(got.Kvs) > 0 {
			t.Errorf("the long lease's key outlives it: %v, %v", got, err)
		}
		if ttl := m.left(3); ttl < 290 || ttl > 299 {
			t.Errorf("%d s are left of 1000 after 701", ttl)
		}
	})
}

// What a checkpoint of a lease left is in the checkpoints of the state, too.
func TestLeaseCheckpointInImage(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		must(t, m.grant(2, 1000))
		m.pass(301 * time.Second)
		must(t, m.makeCheckpoint(t.Context()))
		m.restart(t, 0)
		if ttl := m.left(2); ttl != 700 {
			t.Errorf("%d s are left, want 700", ttl)
		}
	})
}

// The wall clock may be set at will: no lease ends sooner or later.
func TestLeaseClockJumps(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		must(t, m.grant(7, 60), m.grant(8, 60))
		const day = 24 * time.Hour
		for i, jump := range []time.Duration{day, -2 * day, 3650 * day, -7300 * day} {
			m.clk.JumpWall(jump)
			m.pass(10 * time.Second)
			if ttl, want := m.left(7), int64(60-10*(i+1)); ttl != want {
				t.Errorf("after a jump by %v %d s are left, want %d", jump, ttl, want)
			}
			if ttl, err := m.back.KeepAlive(t.Context(), 8); err != nil || ttl != 60 {
				t.Errorf("after a jump by %v: keep alive: %d, %v", jump, ttl, err)
			}
		}
		m.pass(19 * time.Second)
		if ttl := m.left(7); ttl != 1 {
			t.Errorf("%d s are left a second before the end", ttl)
		}
		m.clk.JumpWall(-time.Hour)
		m.pass(1500 * time.Millisecond)
		if ttl := m.left(7); ttl != -1 {
			t.Errorf("%d s are left after the end", ttl)
		}
		if ttl := m.left(8); ttl != 39 {
			t.Errorf("the renewed lease has %d s left", ttl)
		}
	})
}

// Many leases that end at once: each tick ends a bounded number, other requests go between, and
// all are gone soon.
func TestLeasesExpireTogether(t *testing.T) {
	const leases, perTick = 10_000, 500
	withTime(t, func(t *testing.T, m *timed) {
		var wg sync.WaitGroup
		propose := func(kind command.Kind, req proto.Message) {
			b, err := proto.Marshal(req)
			must(t, err)
			wg.Add(1)
			m.back.Propose(kind, b, func(_ []byte, err error) {
				if err != nil {
					t.Error(err)
				}
				wg.Done()
			})
		}
		for id := int64(1); id <= leases; id++ {
			propose(command.LeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: 10})
		}
		wg.Wait()
		for id := int64(1); id <= leases; id++ {
			propose(command.Put, &pb.PutRequest{Key: fmt.Appendf(nil, "k%d", id), Lease: id})
		}
		wg.Wait()
		before := m.stores.machine.Store().Rev()
		m.pass(9900 * time.Millisecond)
		table := m.stores.machine.Leases()
		if table.Len() != leases {
			t.Fatalf("%d leases before the end", table.Len())
		}
		for tick := 0; table.Len() > 0; tick++ {
			had := table.Len()
			m.pass(500 * time.Millisecond)
			if gone := had - table.Len(); gone > perTick || tick > leases/perTick+2 {
				t.Fatalf("tick %d ended %d leases, %d are left", tick, gone, table.Len())
			}
			m.mustPut(t, "between", 0)
			before++
		}
		if rev := m.stores.machine.Store().Rev(); rev != before+leases {
			t.Errorf("%d revisions for %d leases with keys", rev-before, leases)
		}
		if got, err := m.get("k", "l", 0); err != nil || len(got.Kvs) > 0 {
			t.Errorf("keys are left: %d, %v", len(got.GetKvs()), err)
		}
	})
}
