package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/vfs"
)

// A checkpoint is made when anything was applied for some time, and only then.
func TestCheckpointByAge(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		m.passIn(checkpointAge+time.Second, time.Second)
		first := m.saved.Load().index // of what the start itself applied
		m.passIn(2*checkpointAge, time.Second)
		if got := m.saved.Load().index; got != first {
			t.Errorf("an idle member made a checkpoint at %d, after %d", got, first)
		}
		m.mustPut(t, "a", 0)
		m.passIn(checkpointAge+time.Second, time.Second)
		if got := m.saved.Load().index; got != first+1 {
			t.Errorf("the checkpoint is at %d, want %d", got, first+1)
		}
	})
}

// passIn is pass in steps of another length.
func (m *timed) passIn(d, step time.Duration) {
	for ; d > 0; d -= step {
		m.clk.Advance(min(d, step))
		synctest.Wait()
	}
}

func TestAutoCompaction(t *testing.T) {
	for _, c := range []struct {
		mode, retention string
		wait            time.Duration
		want            int64
	}{
		{"revision", "10", 5*time.Minute + 2*time.Second, 91},
		{"periodic", "10m", 11 * time.Minute, 101},
	} {
		withTime(t, func(t *testing.T, m *timed) {
			m.stop(t)
			m.rig = mustStart(t, system{fs: m.fs, clock: m.clk},
				"--auto-compaction-mode="+c.mode, "--auto-compaction-retention="+c.retention)
			for range 100 {
				m.mustPut(t, "a", 0)
			}
			m.passIn(c.wait, time.Second)
			if got := m.stores.machine.Store().CompactRev(); got != c.want {
				t.Errorf("%s %s: compacted %d, want %d", c.mode, c.retention, got, c.want)
			}
			if _, err := m.get("a", "", 20); !errors.Is(err, cairn.ErrCompacted) {
				t.Errorf("%s: a read below: %v", c.mode, err)
			}
			if err := m.back.WaitCompacted(t.Context(), c.want); err != nil {
				t.Error(err)
			}
		})
	}
}

// The quota counts what is retained: writes are refused at it, and taken again when a compaction
// has let go of enough and the alarm is disarmed; a restart forgets neither.
func TestQuota(t *testing.T) {
	fs := vfs.NewMem()
	args := []string{"--quota-backend-bytes=100000"}
	r := mustStart(t, smallSystem(fs), args...)
	acked := r.writeUntilRefused(t, "a")
	if n := len(acked); n < 250 || n > 310 {
		t.Errorf("%d puts of about 350 bytes fitted into 100,000", n)
	}
	eventually(t, "NOSPACE", r.alarmed)
	r.refuses(t)
	r.stop(t)
	r = mustStart(t, smallSystem(fs), args...)
	defer func() { r.stop(t) }()
	if !r.alarmed() {
		t.Error("the restart forgot the alarm")
	}
	r.refuses(t)
	must(t, r.disarm())
	if _, err := r.put("b", strings.Repeat("x", 1000), 0); !errors.Is(err, cairn.ErrNoSpace) {
		t.Errorf("disarmed, with as much data as before: %v", err)
	}
	eventually(t, "NOSPACE again", r.alarmed)
	if _, _, err := r.delete("a00100", "b"); err != nil {
		t.Fatal(err)
	}
	must(t, r.compact(r.stores.machine.Store().Rev()))
	must(t, r.back.WaitCompacted(t.Context(), r.stores.machine.Store().Rev()))
	must(t, r.disarm())
	if _, err := r.put("b", strings.Repeat("x", 1000), 0); err != nil {
		t.Errorf("after the compaction: %v", err)
	}
	if s := r.back.Status(); s.QuotaBytes != 100_000 || s.InUseBytes > 60_000 {
		t.Errorf("status %+v", s)
	}
}

// Damage that the work in the background meets stops writes, and says where it is.
func TestDamageMetByReclaim(t *testing.T) {
	fs := vfs.NewMem()
	var logged lockedBuffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	r, err := startLogged(smallSystem(fs), log, crashArgs...)
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop(t)
	value := strings.Repeat("v", 200)
	for i := range 300 {
		if _, err := r.put(fmt.Sprintf("k%03d", i), fmt.Sprint(i)+value, 0); err != nil {
			t.Fatal(err)
		}
	}
	name := flipValue(t, fs, "17"+value)
	if _, _, err := r.delete("k020", "l"); err != nil {
		t.Fatal(err)
	}
	must(t, r.compact(r.stores.machine.Store().Rev()))
	eventually(t, "CORRUPT", func() bool {
		return r.stores.machine.Alarms().Active(alarm.Corrupt)
	})
	if text := logged.String(); !strings.Contains(text, name) || !strings.Contains(text, "offset") {
		t.Errorf("the log does not name %s: %s", name, text)
	}
	if _, err := r.put("a", "b", 0); !errors.Is(err, cairn.ErrCorrupt) {
		t.Errorf("put: %v", err)
	}
	if got, err := r.get("k016", "", 0); err != nil || len(got.Kvs) != 1 {
		t.Errorf("a whole record: %v, %v", got, err)
	}
	if _, err := r.get("k017", "", 0); !errors.Is(err, cairn.ErrDamaged) {
		t.Errorf("the damaged record: %v", err)
	}
	if err := r.failing(); err != nil {
		t.Error(err)
	}
}

// With --unsafe-no-fsync a power failure loses what it loses, and the member starts all the same
// with a state that it once had.
func TestUnsafeNoFsync(t *testing.T) {
	args := append([]string{"--unsafe-no-fsync"}, crashArgs...)
	rng := rand.New(rand.NewPCG(6, 6))
	fs := vfs.NewMem()
	r := mustStart(t, smallSystem(fs), args...)
	l := newLoad(r)
	l.ahead = 60
	history := r.record(t)
	c := &camera{rng: rng, fs: fs, known: l.known, odds: 100, limit: 25, kinds: map[string]int{}}
	fs.SetHook(c.hook)
	must(t, l.run(4, 200, 6))
	fs.SetHook(nil)
	events := history()
	r.stop(t)
	for _, m := range c.moments {
		r := mustStart(t, smallSystem(m.fs), args...)
		rev := r.check(t, facts{rev: 1}, events)
		if got, err := r.put("more", "x", 0); err != nil || got != rev+1 {
			t.Fatalf("a put after the crash: revision %d, %v", got, err)
		}
		r.stop(t)
	}
}

// Who waits for something when the member stops is told so.
func TestStopTellsWhoWaits(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		errs := make(chan error, 2)
		go func() { errs <- m.back.WaitCompacted(t.Context(), 1000) }()
		ctx, cancel := context.WithCancel(t.Context())
		synctest.Wait()
		cancel()
		go func() { errs <- m.back.WaitCompacted(ctx, 1000) }()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		m.stop(t)
		if _, err := m.put("a", "b", 0); !errors.Is(err, cairn.ErrStopped) {
			t.Errorf("put: %v", err)
		}
		if _, err := m.get("a", "", 0); !errors.Is(err, cairn.ErrStopped) {
			t.Errorf("get: %v", err)
		}
		m.start(t)
		m.clk.Advance(time.Second)
	})
}
