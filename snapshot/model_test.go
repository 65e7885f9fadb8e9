package snapshot

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "replay one seed of TestAgainstPlainFollower")
	seedsFlag = flag.Int("seeds", 120, "number of seeds of TestAgainstPlainFollower")
)

// transfers counts what happened in all seeds.
type transfers struct {
	streams, broken, resumed, crashed, moved, older, overtaken, sections int
	kept, deleted                                                        int64
}

// TestAgainstPlainFollower lets a follower stay behind a leader again and again, and brings it up
// by snapshots that break, are resumed and survive crashes; a plain follower applies everything.
// All three must show the same. Replay a failure with -run TestAgainstPlainFollower -seed N.
func TestAgainstPlainFollower(t *testing.T) {
	var total transfers
	run := func(seed uint64) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			newTrial(t, seed, &total).run()
		})
	}
	if *seedFlag != 0 {
		run(*seedFlag)
		return
	}
	for seed := range uint64(*seedsFlag) {
		if run(seed + 1); t.Failed() {
			return
		}
	}
	t.Logf("%+v", total)
	if total.broken == 0 || total.resumed == 0 || total.crashed == 0 || total.moved == 0 ||
		total.kept == 0 || total.deleted == 0 || total.overtaken == 0 || total.sections < 3 {
		t.Errorf("a case was never met: %+v", total)
	}
}

// trial is one seed.
type trial struct {
	*world
	leader, plain, follower *member
	in                      *Incoming
	total                   *transfers
}

func newTrial(t *testing.T, seed uint64, total *transfers) *trial {
	rng := rand.New(rand.NewPCG(seed, 5))
	w := &world{t: t, rng: rng, keys: 10 << rng.IntN(5), size: 20 << rng.IntN(6)}
	return &trial{
		world: w, leader: w.member(), plain: w.member(), follower: w.member(), total: total,
	}
}

func (tr *trial) run() {
	for range 3 {
		tr.advance(tr.rng.IntN(300))
		tr.follower.apply(len(tr.ops) - tr.rng.IntN(1+min(len(tr.ops), 40)))
		tr.follower.live(tr.rng.IntN(100))
		tr.advance(tr.rng.IntN(400))
		if tr.rng.IntN(3) == 0 {
			tr.leader.rest() // tombstones are gone now
		}
		tr.follow()
	}
	tr.advance(100)
	tr.follower.apply(len(tr.ops))
	tr.compare(tr.leader, tr.follower)
	tr.compare(tr.plain, tr.follower)
	tr.follower.rest()
	tr.follower.reopen()
	tr.compare(tr.plain, tr.follower)
	for _, m := range []*member{tr.leader, tr.plain, tr.follower} {
		tr.check(m.log.Close())
	}
}

// advance makes history that the follower does not see.
func (tr *trial) advance(n int) {
	for n > 0 {
		step := min(n, 1+tr.rng.IntN(40))
		n -= step
		tr.add(step)
		for _, m := range []*member{tr.leader, tr.plain} {
			m.apply(len(tr.ops))
			m.live(tr.rng.IntN(80))
		}
	}
}

// open opens the follower's staging.
func (tr *trial) open() {
	var err error
	tr.in, err = Open(tr.follower.fs, stagingDir, Options{ID: storeID})
	tr.check(err)
}

// follow brings the follower up.
func (tr *trial) follow() {
	tr.open()
	for {
		if _, ok := tr.in.Complete(); ok && tr.rng.IntN(4) > 0 {
			break
		}
		tr.transfer()
		if tr.rng.IntN(3) == 0 {
			tr.advance(tr.rng.IntN(60))
		}
		if tr.rng.IntN(5) == 0 {
			tr.crash()
		}
		if tr.rng.IntN(6) == 0 && tr.follower.applied < len(tr.ops) { // it got some entries yet
			tr.total.moved++
			tr.follower.apply(tr.follower.applied + tr.rng.IntN(len(tr.ops)-tr.follower.applied))
		}
	}
	h, _ := tr.in.Complete()
	if tr.follower.store.Rev() > h.Rev || tr.follower.store.CompactRev() > h.CompactRev {
		_, err := tr.in.Graft(tr.follower.store)
		if !errors.Is(err, mvcc.ErrStale) {
			tr.t.Fatalf("a graft of what is older: %v", err)
		}
		tr.total.overtaken++
		tr.check(tr.in.Remove())
		return
	}
	tr.graft(h)
	if tr.rng.IntN(2) == 0 { // without a checkpoint a restart has to do it again
		tr.total.crashed++
		tr.follower.restart(tr.follower.fs.CrashClone(tr.rng))
		tr.open()
		if again, ok := tr.in.Complete(); !ok || again != h {
			tr.t.Fatalf("%+v %v is staged after a crash, want %+v", again, ok, h)
		}
		tr.graft(h)
	}
	tr.follower.checkpoint()
	tr.check(tr.in.Remove())
	tr.caughtUp(h)
}

// transfer does one try.
func (tr *trial) transfer() {
	f := tr.follower
	before := len(tr.in.sections)
	have, err := tr.in.Have(f.store.Rev(), f.store.CompactRev())
	tr.check(err)
	b, err := DecodeHave(have.AppendTo(nil))
	if err != nil || b.Base != have.Base || b.CompactRev != have.CompactRev {
		tr.t.Fatalf("%+v comes back as %+v, %v", have, b, err)
	}
	from := tr.leader
	if tr.rng.IntN(4) == 0 {
		from = tr.plain
	}
	stream, stats, err := from.stream(have)
	if errors.Is(err, ErrOlder) || errors.Is(err, ErrBehind) {
		tr.total.older++
		return
	}
	tr.check(err)
	tr.total.streams++
	tr.total.kept += stats.Kept
	if have.Base > f.store.Rev() {
		tr.total.resumed++
	}
	n := len(stream)
	if tr.rng.IntN(2) == 0 {
		n = tr.rng.IntN(n)
	}
	err = tr.in.Receive(context.Background(), bytes.NewReader(stream[:n]))
	if n == len(stream) {
		tr.check(err)
		return
	}
	tr.total.broken++
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		tr.t.Fatalf("a stream cut at %d of %d: %v", n, len(stream), err)
	}
	if len(tr.in.sections) > before {
		tr.total.sections = max(tr.total.sections, len(tr.in.sections))
	}
}

// crash restarts the follower as after a power failure, in the middle of a transfer.
func (tr *trial) crash() {
	tr.total.crashed++
	tr.follower.restart(tr.follower.fs.CrashClone(tr.rng))
	tr.open()
}

// graft grafts while a view is open, and looks at the result.
func (tr *trial) graft(h Header) {
	f := tr.follower
	view := f.store.View()
	before := f.list(0)
	stats, err := tr.in.Graft(f.store)
	if err != nil {
		tr.t.Fatalf("graft %+v on %d, %d: %v", h, view.Rev(), view.CompactRev(), err)
	}
	tr.total.deleted += stats.Deleted
	if got := listView(tr, view); !bytes.Equal(got, before) {
		tr.t.Fatalf("a view of %d from before shows\n%q, not\n%q", view.Rev(), got, before)
	}
	f.store.CompactStep(tr.rng.IntN(100))
	if got := listView(tr, view); !bytes.Equal(got, before) {
		tr.t.Fatalf("a view of %d shows after compaction\n%q, not\n%q", view.Rev(), got, before)
	}
	view.Close()
	if image, err := tr.in.Image(); err != nil ||
		string(image) != fmt.Sprintf("image of %d", h.Index) {
		tr.t.Fatalf("image %q, %v of %+v", image, err, h)
	}
	f.applied = int(h.Index)
}

// caughtUp compares the follower with one that applied the same ops.
func (tr *trial) caughtUp(h Header) {
	same := tr.world.member()
	same.apply(int(h.Index))
	f := tr.follower
	tr.compare(same, f)
	f.reopen()
	tr.compare(same, f)
	if tr.rng.IntN(2) == 0 {
		f.rest()
		f.reopen()
		tr.compare(same, f)
	}
	tr.check(same.log.Close())
	f.logged = f.applied
}

func listView(tr *trial, v *mvcc.View) []byte {
	b, err := v.AppendRange(nil, &cairn.Header{Revision: v.Rev()},
		&cairn.RangeRequest{Key: []byte{0}, End: []byte{0}})
	tr.check(err)
	return b
}
