package server

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var faultSeed = flag.Uint64("fault.seed", 0, "the one seed to run; 0: all")

// errIO is what a broken disk says.
var errIO = errors.New("input/output error (injected)")

// failing says whether the member has reported that it cannot go on.
func (r *rig) failing() error {
	select {
	case err := <-r.Failed():
		r.fatal(err)
		return err
	default:
		return nil
	}
}

// Whichever operation the disk fails: the member reports it and no client is told of success that
// does not survive the machine, or it has no consequence at all.
func TestFailedOperation(t *testing.T) {
	seeds := []uint64{*faultSeed}
	if *faultSeed == 0 {
		seeds = seeds[:0]
		for seed := uint64(1); seed <= 40; seed++ {
			seeds = append(seeds, seed)
		}
	}
	failed := 0
	for _, seed := range seeds {
		if failOne(t, seed) {
			failed++
		}
		if t.Failed() {
			t.Fatalf("again: go test ./server -run TestFailedOperation -fault.seed=%d", seed)
		}
	}
	if *faultSeed == 0 && failed < len(seeds)/2 {
		t.Errorf("only %d of %d runs ended by a failure", failed, len(seeds))
	}
}

func failOne(t *testing.T, seed uint64) (failed bool) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 2))
	mem := vfs.NewMem()
	faulty := vfs.NewFaulty(mem)
	r := mustStart(t, smallSystem(faulty), crashArgs...)
	l := newLoad(r)
	history := r.record(t)
	fault := vfs.Fault{
		Nth: 1 + rng.Int64N(1500), Err: errIO, Forever: rng.IntN(2) == 0,
		Short: rng.IntN(2) == 0, After: rng.IntN(4) == 0,
	}
	if kind := rng.IntN(3); kind > 0 { // the ones that are rare
		part := [...]string{"", "checkpoint", "revlog"}[kind]
		fault.Nth = 1 + rng.Int64N(60)
		fault.Match = func(op vfs.Op) bool {
			return op.Kind.Mutates() && strings.Contains(op.Path, part)
		}
	}
	faulty.Inject(fault)
	err := stoppedByFailure(r, func() error { return l.run(4, 200, seed) })
	if faulty.Fired() > 0 { // what works in the background may not have told yet
		what := fmt.Sprintf("seed %d: %d operations failed (%+v): the member ends", seed,
			faulty.Fired(), fault)
		eventually(t, what, func() bool { return r.failing() != nil })
	}
	if err := r.failing(); err != nil && !errors.Is(err, errIO) {
		t.Errorf("the member failed with %v", err)
	}
	if err != nil && !errors.Is(err, cairn.ErrStopped) {
		t.Errorf("a client was told %v", err)
	}
	known := l.known()
	events := history()
	failed = r.failing() != nil
	_ = r.Stop() // the disk is broken: it may complain
	faulty.Clear()
	m := moment{fs: mem.CrashClone(rng), known: known}
	if rng.IntN(2) == 0 {
		m.fs = mem.KillClone()
	}
	r = mustStart(t, smallSystem(m.fs), crashArgs...)
	defer r.stop(t)
	// What was not acknowledged may be there all the same: the history of the first life lacks it.
	if rev := r.stores.machine.Store().Rev(); rev < known.rev {
		t.Fatalf("at revision %d; %d was acknowledged", rev, known.rev)
	}
	r.checkPrefix(t, known, events)
	return failed
}

// stoppedByFailure runs fn; a member that fails meanwhile is stopped, as its process would be.
func stoppedByFailure(r *rig, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case cause := <-r.Failed():
		r.fatal(cause)
		r.node.Stop()
		return <-done
	}
}

// checkPrefix holds a member against a history that may end before the member's does.
func (r *rig) checkPrefix(t *testing.T, known facts, history []*pbEvent) {
	t.Helper()
	store := r.stores.machine.Store()
	compacted := max(store.CompactRev(), 0)
	newest := history[len(history)-1].ModRevision
	if newest < known.rev {
		t.Fatalf("watchers heard of revisions up to %d; %d was acknowledged", newest, known.rev)
	}
	if compacted < known.compact {
		t.Fatalf("compacted %d; %d was acknowledged", compacted, known.compact)
	}
	if newest < compacted {
		t.Fatalf("compacted %d, of which no watcher heard: %d is the last", compacted, newest)
	}
	r.checkHash(t, history, newest, compacted)
	w := r.watch(compacted + 1)
	defer w.stream.Close()
	if store.Rev() > compacted {
		if err := w.until(store.Rev()); err != nil {
			t.Fatal(err)
		}
	}
	var want []*pbEvent
	for _, e := range history {
		if e.ModRevision > compacted {
			want = append(want, e)
		}
	}
	if len(w.events) < len(want) {
		t.Fatalf("%d events, want at least %d", len(w.events), len(want))
	}
	sameEvents(t, w.events[:len(want)], want)
	r.checkLeases(t, known)
}

// roomySystem has segments that take what is under way when the disk is found full, as those of the
// product do.
func roomySystem(fs vfs.FS) system {
	sys := smallSystem(fs)
	sys.walBytes, sys.revlogBytes = 1<<20, 256<<10
	return sys
}

// writeUntilRefused puts until NOSPACE refuses it and returns what was acknowledged.
func (r *rig) writeUntilRefused(t *testing.T, prefix string) map[string]string {
	t.Helper()
	acked := map[string]string{}
	value := strings.Repeat("x", 300)
	for i := range 100_000 {
		key := fmt.Sprintf("%s%05d", prefix, i)
		_, err := r.put(key, value+key, 0)
		if errors.Is(err, cairn.ErrNoSpace) {
			return acked
		}
		if err != nil {
			t.Fatalf("put %d: %v (%v)", i, err, r.failing())
		}
		acked[key] = value + key
	}
	t.Fatal("writes were never refused")
	return nil
}

func (r *rig) holds(t *testing.T, want map[string]string) {
	t.Helper()
	for key, value := range want {
		got, err := r.get(key, "", 0)
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != value {
			t.Fatalf("get %s: %.60v, %v", key, got, err)
		}
	}
}

func (r *rig) alarmed() bool { return r.stores.machine.Alarms().Active(alarm.NoSpace) }

// A disk that becomes full: the alarm is raised, writes are refused with etcd's words, reads,
// deletes, lease revocations and compactions go on; with space again and the alarm disarmed all
// is well, and nothing was lost, also after a restart while it is full.
func TestFullDisk(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) { fillDisk(t, restart) })
	}
}

func fillDisk(t *testing.T, restart bool) {
	t.Helper()
	fs := vfs.NewMem()
	sys := roomySystem(fs)
	r := mustStart(t, sys, crashArgs...)
	if err := r.grant(7, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := r.put("leased", "x", 7); err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(fs.Used() + 4<<20)
	acked := r.writeUntilRefused(t, "a")
	if len(acked) < 1000 {
		t.Fatalf("only %d puts fitted into 4 MiB", len(acked))
	}
	eventually(t, "NOSPACE", r.alarmed)
	if restart {
		r.stop(t)
		r = mustStart(t, sys, crashArgs...)
	}
	r.refuses(t)
	r.holds(t, acked)
	for i := range 20 {
		key := fmt.Sprintf("a%05d", i)
		if _, n, err := r.delete(key, ""); err != nil || n != 1 {
			t.Fatalf("delete of %s: %d, %v (%v)", key, n, err, r.failing())
		}
		delete(acked, key)
	}
	if _, err := r.revoke(7); err != nil {
		t.Fatalf("revoke: %v", err)
	}
	if got, err := r.get("leased", "", 0); err != nil || len(got.Kvs) != 0 {
		t.Fatalf("the key of a revoked lease: %v, %v", got, err)
	}
	if err := r.compact(r.stores.machine.Store().Rev()); err != nil {
		t.Fatalf("compact: %v", err)
	}
	r.holds(t, acked)
	if err := r.disarm(); err != nil {
		t.Fatal(err)
	}
	// Without more room only what is ready can be used up.
	fs.SetCapacity(1)
	maps.Copy(acked, r.writeUntilRefused(t, "b"))
	eventually(t, "NOSPACE again", r.alarmed)
	fs.SetCapacity(0)
	eventually(t, "room is ready again", func() bool { return !r.back.full.Load() })
	r.refuses(t) // the alarm stands until it is disarmed
	if err := r.disarm(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.put("after", "x", 0); err != nil {
		t.Fatalf("put with space again: %v", err)
	}
	acked["after"] = "x"
	r.holds(t, acked)
	r.stop(t)
	r = mustStart(t, sys, crashArgs...)
	defer r.stop(t)
	r.holds(t, acked)
	if r.alarmed() {
		t.Error("the alarm is back after the restart")
	}
	if err := r.failing(); err != nil {
		t.Error(err)
	}
}

// A disk that becomes full while many write: each write is acknowledged or refused as NOSPACE, and
// with room again they go on; the history has no gap.
func TestFullDiskUnderLoad(t *testing.T) {
	fs := vfs.NewMem()
	r := mustStart(t, roomySystem(fs), crashArgs...)
	history := r.record(t)
	l := newLoad(r)
	l.keys = 50_000 // nothing is overwritten for long: little can be reclaimed
	fs.SetCapacity(fs.Used() + 4<<20)
	if err := l.run(8, 20_000, 1); !errors.Is(err, cairn.ErrNoSpace) || r.failing() != nil {
		t.Fatalf("%v; %v", err, r.failing())
	}
	eventually(t, "NOSPACE", r.alarmed)
	fs.SetCapacity(0)
	eventually(t, "room is ready again", func() bool { return !r.back.full.Load() })
	must(t, r.disarm())
	l.failure = nil
	must(t, l.run(8, 100, 2))
	events := history()
	l.checkWritten(t, events)
	known := l.known()
	r.check(t, known, events)
	r.stop(t)
	r = mustStart(t, roomySystem(fs.KillClone()), crashArgs...)
	defer r.stop(t)
	if rev := r.check(t, known, events); rev != known.rev {
		t.Errorf("revision %d after the restart, want %d", rev, known.rev)
	}
}

// refuses tries what NOSPACE refuses.
func (r *rig) refuses(t *testing.T) {
	t.Helper()
	_, putErr := r.put("refused", "x", 0)
	txnErr := r.do(command.Txn, &pb.TxnRequest{Success: []*pb.RequestOp{{
		Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("refused")}},
	}}}, &pb.TxnResponse{})
	grantErr := r.grant(0xbad, 100)
	for what, err := range map[string]error{"put": putErr, "txn": txnErr, "grant": grantErr} {
		if err == nil || err.Error() != "etcdserver: mvcc: database space exceeded" {
			t.Errorf("%s with a full disk: %v", what, err)
		}
	}
}

// Space comes back by itself on a disk that was full, when most of the data is deleted and
// compacted: no operator makes room.
func TestFullDiskRecoversByCompaction(t *testing.T) {
	fs := vfs.NewMem()
	sys := roomySystem(fs)
	r := mustStart(t, sys, crashArgs...)
	defer r.stop(t)
	fs.SetCapacity(fs.Used() + 8<<20)
	acked := r.writeUntilRefused(t, "a")
	eventually(t, "NOSPACE", r.alarmed)
	full := r.stores.log.Stats().DiskBytes
	for from := 100; from < len(acked); from += 1000 { // in the space that is ready
		to := fmt.Sprintf("a%05d", from+1000)
		if _, _, err := r.delete(fmt.Sprintf("a%05d", from), to); err != nil {
			t.Fatalf("delete up to %s: %v (%v)", to, err, r.failing())
		}
		if err := r.compact(r.stores.machine.Store().Rev()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the next segment is ready", func() bool {
			return r.stores.log.Prepared() || r.failing() != nil
		})
	}
	eventually(t, "the space of what was deleted is free", func() bool {
		return r.stores.log.Stats().DiskBytes < full/2 || r.failing() != nil
	})
	if err := r.failing(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "room is ready again", func() bool { return !r.back.full.Load() })
	if err := r.disarm(); err != nil {
		t.Fatal(err)
	}
	for key := range acked {
		if key >= "a00100" {
			delete(acked, key)
		}
	}
	r.holds(t, acked)
	if more := r.writeUntilRefused(t, "b"); len(more) < 500 {
		t.Errorf("only %d puts after the space came back", len(more))
	}
}

// Each operation in turn finds no space, once: no client hears anything but success or NOSPACE,
// and the member goes on or says why it cannot.
func TestNoSpaceOnce(t *testing.T) {
	seeds := []uint64{*faultSeed}
	if *faultSeed == 0 {
		seeds = seeds[:0]
		for seed := uint64(1); seed <= 30; seed++ {
			seeds = append(seeds, seed)
		}
	}
	for _, seed := range seeds {
		noSpaceOnce(t, seed)
		if t.Failed() {
			t.Fatalf("again: go test ./server -run TestNoSpaceOnce -fault.seed=%d", seed)
		}
	}
}

func noSpaceOnce(t *testing.T, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	mem := vfs.NewMem()
	faulty := vfs.NewFaulty(mem)
	r := mustStart(t, roomySystem(faulty), crashArgs...)
	l := newLoad(r)
	history := r.record(t)
	// Where a full disk shows: in what allocates. A write into room that is ready has it.
	kinds := [...]vfs.OpKind{vfs.OpAllocate, vfs.OpCreate, vfs.OpWrite, vfs.OpRename}
	kind, parts := kinds[rng.IntN(len(kinds))], [...]string{"checkpoint", "revlog", "wal"}
	part := parts[rng.IntN(len(parts))]
	faulty.Inject(vfs.Fault{
		Match: func(op vfs.Op) bool { return op.Kind == kind && strings.Contains(op.Path, part) },
		Nth:   1 + rng.Int64N(4), Err: errors.Join(vfs.ErrNoSpace, syscall.ENOSPC),
	})
	err := stoppedByFailure(r, func() error { return l.run(4, 200, seed) })
	cause := r.failing()
	if cause == nil && err != nil && !errors.Is(err, cairn.ErrNoSpace) {
		t.Errorf("%v %s: a client was told %v", kind, part, err)
	}
	if cause != nil && !errors.Is(cause, vfs.ErrNoSpace) {
		t.Errorf("%v %s: failed with %v", kind, part, cause)
	}
	if cause != nil && kind != vfs.OpWrite {
		t.Errorf("%v %s: the member ended: %v", kind, part, cause)
	}
	known, events := l.known(), history()
	if cause == nil {
		r.stop(t)
	} else {
		_ = r.Stop()
	}
	faulty.Clear()
	r = mustStart(t, smallSystem(mem.CrashClone(rng)), crashArgs...)
	defer r.stop(t)
	r.checkPrefix(t, known, events)
}

// While the disk is full writes are refused before the alarm stands, so that what is ready is left
// for deletes; and taken again as soon as there is room.
func TestRefusedBeforeAlarm(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		must(t, m.grant(7, 1000))
		m.mustPut(t, "a", 7)
		m.back.full.Store(true)
		m.refuses(t)
		if m.alarmed() {
			t.Error("the alarm is raised already")
		}
		if _, n, err := m.delete("a", ""); err != nil || n != 1 {
			t.Errorf("delete: %d, %v", n, err)
		}
		if _, err := m.revoke(7); err != nil {
			t.Errorf("revoke: %v", err)
		}
		if err := m.compact(m.stores.machine.Store().Rev()); err != nil {
			t.Errorf("compact: %v", err)
		}
		m.pass(prepareTick)
		m.mustPut(t, "a", 0)
	})
}
