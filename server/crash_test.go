package server

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnkv/cairn/server/datadir"
	"github.com/cairnkv/cairn/vfs"
)

var (
	crashSeed  = flag.Uint64("crash.seed", 0, "the one seed to run; 0: all")
	crashSeeds = flag.Uint64("crash.seeds", 6, "how many seeds to run")
)

// crashArgs make checkpoints, and with them all that follows from them, come all the time.
var crashArgs = []string{"--snapshot-count=25"}

// moment is a disk as a crash left it, and what was acknowledged before.
type moment struct {
	step  int64
	op    vfs.Op
	kind  string
	fs    *vfs.Mem
	known facts
}

// camera takes clones of a disk at random steps.
type camera struct {
	mu      sync.Mutex
	rng     *rand.Rand
	fs      *vfs.Mem
	known   func() facts
	long    atomic.Int64 // checkpoints seen
	odds    int          // one in how many steps is taken
	limit   int
	step    int64
	kinds   map[string]int // of operations seen
	moments []moment
}

// rareOdds is how much more often the steps are taken that change what a restart finds: they are
// few among the writes and syncs.
const rareOdds = 10

// longCheckpoint is how long some checkpoints take to be there: what may not overtake one gets a
// chance to. The crash comes at the end of it.
const longCheckpoint = 10 * time.Millisecond

func (c *camera) hook(op vfs.Op, after bool) {
	kind := kindOf(op)
	long := kind == "checkpoint rename" && !after && c.long.Add(1)%6 == 3
	if long {
		timer := time.NewTimer(longCheckpoint)
		<-timer.C
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step++
	c.kinds[kind]++
	odds := c.odds
	if op.Kind == vfs.OpRename || op.Kind == vfs.OpRemove || op.Kind == vfs.OpSyncDir {
		odds = max(odds/rareOdds, 1)
	}
	if !long && c.rng.IntN(odds) != 0 || len(c.moments) >= c.limit {
		return
	}
	m := moment{step: c.step, op: op, kind: "power failure", known: c.known()}
	if c.rng.IntN(4) == 0 {
		m.kind, m.fs = "kill", c.fs.KillClone()
	} else {
		m.fs = c.fs.CrashClone(c.rng)
	}
	c.moments = append(c.moments, m)
}

// kindOf names the part of the data directory that an operation concerns, and what it does.
func kindOf(op vfs.Op) string {
	part := strings.TrimPrefix(op.Path, "data/")
	part, _, _ = strings.Cut(part, "/")
	return part + " " + op.Kind.String()
}

// After a crash at any moment all that was acknowledged is there: revisions, hashes, leases, the
// events of a watch; also when the restart is struck by a crash, and once more after that.
func TestCrash(t *testing.T) {
	if *crashSeed != 0 {
		crashRun(t, *crashSeed)
		return
	}
	for seed := uint64(1); seed <= *crashSeeds; seed++ {
		crashRun(t, seed)
	}
}

func crashRun(t *testing.T, seed uint64) {
	t.Helper()
	again := fmt.Sprintf("go test ./server -run TestCrash -crash.seed=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewMem()
	r := mustStart(t, smallSystem(fs), crashArgs...)
	l := newLoad(r)
	l.ahead = 60
	history := r.record(t)
	c := &camera{rng: rng, fs: fs, known: l.known, odds: 150, limit: 15,
		kinds: map[string]int{}}
	fs.SetHook(c.hook)
	if err := l.run(4, 400, seed); err != nil {
		t.Fatalf("%s: %v", again, err)
	}
	fs.SetHook(nil)
	events := history()
	l.checkWritten(t, events)
	r.check(t, l.known(), events)
	select {
	case err := <-r.Failed():
		t.Fatalf("%s: %v", again, err)
	default:
	}
	r.stop(t)
	for _, want := range []string{"checkpoint rename", "revlog rename", "revlog remove",
		"wal rename", "wal sync", "revlog sync"} {
		if !containsPrefix(c.kinds, want) {
			t.Errorf("%s: the load never did %q: %v", again, want, c.kinds)
		}
	}
	c.moments = append(c.moments, moment{step: c.step, kind: "stop", fs: fs.KillClone(),
		known: l.known()})
	for _, m := range c.moments {
		if !t.Run(fmt.Sprintf("seed%d/step%d", seed, m.step), func(t *testing.T) {
			m.reopen(t, rng, events, 2)
		}) {
			t.Fatalf("a %s at step %d (%v %s); again: %s", m.kind, m.step, m.op.Kind, m.op.Path,
				again)
		}
	}
}

func containsPrefix(kinds map[string]int, prefix string) bool {
	for k := range kinds {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

// reopen restarts from the disk and checks; and the same from a disk that a crash during that
// restart leaves, depth times.
func (m moment) reopen(t *testing.T, rng *rand.Rand, history []*pbEvent, depth int) {
	t.Helper()
	c := &camera{rng: rng, fs: m.fs, known: func() facts { return m.known }, odds: 10, limit: 1,
		kinds: map[string]int{}}
	if depth > 0 {
		m.fs.SetHook(c.hook)
	}
	r := mustStart(t, smallSystem(m.fs), crashArgs...)
	m.fs.SetHook(nil)
	rev := r.check(t, m.known, history)
	hash, err := r.back.HashKV(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	atRest, restRev, compactRev, err := datadir.HashKV(context.Background(), m.fs, "data", 0, 1)
	if err != nil || atRest != hash.Hash || restRev != rev || compactRev != hash.CompactRev {
		t.Fatalf("the hash at rest is %08x at %d, compacted %d, %v; it ran with %08x at %d, "+
			"compacted %d", atRest, restRev, compactRev, err, hash.Hash, rev, hash.CompactRev)
	}
	r = mustStart(t, smallSystem(m.fs), crashArgs...)
	if got := r.check(t, m.known, history); got != rev {
		t.Fatalf("a second restart is at revision %d, the first was at %d", got, rev)
	}
	if got, err := r.put("more", "x", 0); err != nil || got != rev+1 {
		t.Fatalf("a put after the crash: revision %d, %v; want %d", got, err, rev+1)
	}
	r.stop(t)
	for _, next := range c.moments {
		next.reopen(t, rng, history, depth-1)
	}
}
