package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// facts are what clients know at a moment: it must be so after any crash from then on.
type facts struct {
	rev     int64          // the newest acknowledged revision
	compact int64          // the newest acknowledged compaction
	leases  map[int64]bool // acknowledged: granted (true) or revoked (false)
}

// load is a number of clients that write at random, and what they were told.
type load struct {
	r       *rig
	keys    int
	ahead   uint64 // log entries that clients may be ahead of the checkpoint; 0: any number
	mu      sync.Mutex
	facts   facts
	ending  map[int64]bool // leases whose revocation was asked for
	written map[int64]string
	failure error
}

func newLoad(r *rig) *load {
	return &load{r: r, keys: 30, facts: facts{leases: map[int64]bool{}, rev: 1},
		ending: map[int64]bool{}, written: map[int64]string{}}
}

// record watches everything from now on; what it returns ends the watch and gives all events up to
// the newest revision. The first one is a put of its own: the watch is not behind when it returns.
func (r *rig) record(t *testing.T) (history func() []*pbEvent) {
	t.Helper()
	w := r.watch(2)
	rev, err := r.put("first", "", 0)
	if err == nil {
		err = w.until(rev)
	}
	if err != nil {
		t.Fatal(err)
	}
	ended, result := make(chan struct{}), make(chan error, 1)
	go func() { result <- w.follow(ended, r.stores.machine.Store().Rev) }()
	return func() []*pbEvent {
		t.Helper()
		close(ended)
		err := <-result
		w.stream.Close()
		if err != nil {
			t.Fatal(err)
		}
		return w.events
	}
}

// known copies the facts; leases that are just being revoked are in neither state.
func (l *load) known() facts {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.facts
	f.leases = maps.Clone(f.leases)
	for id := range l.ending {
		if f.leases[id] {
			delete(f.leases, id)
		}
	}
	return f
}

// run has n clients do ops operations each. It ends early when one of them fails.
func (l *load) run(n, ops int, seed uint64) error {
	var wg sync.WaitGroup
	for c := range n {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(c)))
			var leases []int64
			for i := range ops {
				l.wait()
				var err error
				leases, err = l.step(rng, leases, fmt.Sprintf("%d/%d/", c, i))
				if err != nil {
					l.mu.Lock()
					l.failure = errors.Join(l.failure, err)
					l.mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return l.failure
}

// wait slows the clients down to the work in the background.
func (l *load) wait() {
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	r := l.r
	for l.ahead > 0 && r.node.Status().Applied > r.saved.Load().index+l.ahead && !l.failed() {
		<-tick.C
	}
}

func (l *load) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure != nil
}

func (l *load) key(rng *rand.Rand) string { return l.name(rng.IntN(l.keys)) }

// name is the key of a number; in order as the numbers.
func (l *load) name(i int) string {
	if l.keys <= 100 {
		return fmt.Sprintf("k%02d", i%l.keys)
	}
	return fmt.Sprintf("k%05d", i%l.keys)
}

// step does one operation. tag makes its values unlike all others.
func (l *load) step(rng *rand.Rand, leases []int64, tag string) ([]int64, error) {
	switch p := rng.IntN(100); {
	case p < 60:
		var lease int64
		if len(leases) > 0 && rng.IntN(3) == 0 {
			lease = leases[rng.IntN(len(leases))]
		}
		key, value := l.key(rng), tag+strings.Repeat("v", rng.IntN(500))
		rev, err := l.r.put(key, value, lease)
		l.acked(rev, key+"="+value, err)
		return leases, err
	case p < 75:
		return leases, l.txn(rng, tag)
	case p < 83:
		from := l.key(rng)
		rev, deleted, err := l.r.delete(from, from+"5")
		if deleted == 0 {
			return leases, err
		}
		l.acked(rev, "", err)
		return leases, err
	case p < 90 && len(leases) < 4:
		id := rng.Int64N(1<<60) + 1
		err := l.r.grant(id, 1000+rng.Int64N(1000))
		l.lease(id, true, err)
		return append(leases, id), err
	case p < 93 && len(leases) > 0:
		id := leases[0]
		l.mu.Lock()
		l.ending[id] = true
		l.mu.Unlock()
		_, err := l.r.revoke(id)
		l.lease(id, false, err)
		return leases[1:], err
	}
	return leases, l.compact(rng)
}

// txn writes three keys and deletes one.
func (l *load) txn(rng *rand.Rand, tag string) error {
	at := rng.IntN(l.keys)
	var ops []*pb.RequestOp
	for i := range 4 {
		key := []byte(l.name(at + i))
		op := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
			Key: key, Value: []byte(tag + "txn"),
		}}}
		if i == 2 {
			op = &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
				RequestDeleteRange: &pb.DeleteRangeRequest{Key: key},
			}}
		}
		ops = append(ops, op)
	}
	var reply pb.TxnResponse
	err := l.r.do(command.Txn, &pb.TxnRequest{Success: ops}, &reply)
	l.acked(reply.GetHeader().GetRevision(), l.name(at)+"="+tag+"txn", err)
	return err
}

// compact gives up all but some revisions. That others have compacted more is no error.
func (l *load) compact(rng *rand.Rand) error {
	rev := l.known().rev - rng.Int64N(40)
	if rev <= 1 {
		return nil
	}
	err := l.r.compact(rev)
	if errors.Is(err, cairn.ErrCompacted) {
		return nil
	}
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.facts.compact = max(l.facts.compact, rev)
	}
	return err
}

// acked notes that revision rev holds "key=value" (if that is not "").
func (l *load) acked(rev int64, pair string, err error) {
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.facts.rev = max(l.facts.rev, rev)
	if pair == "" {
		return
	}
	if other, ok := l.written[rev]; ok {
		l.failure = errors.Join(l.failure,
			fmt.Errorf("revision %d was given to %.20q and %.20q", rev, other, pair))
	}
	l.written[rev] = pair
}

func (l *load) lease(id int64, there bool, err error) {
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.facts.leases[id] = there
	delete(l.ending, id)
}

// checkWritten holds a full history against what the clients were told.
func (l *load) checkWritten(t *testing.T, history []*pbEvent) {
	t.Helper()
	pairs := map[int64][]string{}
	for _, e := range history {
		pairs[e.ModRevision] = append(pairs[e.ModRevision], string(e.Key)+"="+string(e.Value))
	}
	for rev, pair := range l.written {
		if !slices.Contains(pairs[rev], pair) {
			t.Errorf("revision %d was acknowledged with %.40q; the watch had %.60q",
				rev, pair, pairs[rev])
		}
	}
}

// check holds a restarted member against what was known before the crash and the history of the
// member that went on. It returns the member's revision.
func (r *rig) check(t *testing.T, known facts, history []*pbEvent) int64 {
	t.Helper()
	store := r.stores.machine.Store()
	rev, compacted := store.Rev(), max(store.CompactRev(), 0)
	if rev < known.rev || compacted < known.compact {
		t.Fatalf("at revision %d, compacted %d; acknowledged were %d and %d",
			rev, compacted, known.rev, known.compact)
	}
	if newest := history[len(history)-1].ModRevision; rev > newest {
		t.Fatalf("at revision %d; the history ends at %d", rev, newest)
	}
	r.checkHash(t, history, rev, compacted)
	var want []*pbEvent
	for _, e := range history {
		if e.ModRevision > compacted && e.ModRevision <= rev {
			want = append(want, e)
		}
	}
	w := r.watch(compacted + 1)
	defer w.stream.Close()
	if len(want) > 0 {
		if err := w.until(rev); err != nil {
			t.Fatal(err)
		}
	}
	sameEvents(t, w.events, want)
	r.checkLeases(t, known)
	return rev
}

func sameEvents(t *testing.T, got, want []*pbEvent) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].deleted != want[i].deleted || got[i].String() != want[i].String() {
			t.Fatalf("event %d is %.200v, want %.200v", i, got[i], want[i])
		}
	}
}

// checkHash compares HashKV with that of a store into which the history is put one by one.
func (r *rig) checkHash(t *testing.T, history []*pbEvent, rev, compacted int64) {
	t.Helper()
	want, err := replayed(history, rev, compacted)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.back.HashKV(context.Background(), rev)
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash != want {
		t.Fatalf("HashKV %08x at revision %d, compacted %d; a replay has %08x",
			got.Hash, rev, compacted, want)
	}
}

// replayed is the hash of a new store with the history up to rev.
func replayed(history []*pbEvent, rev, compacted int64) (hash uint32, err error) {
	log, err := revlog.Open(vfs.NewMem(), "log", revlog.Options{}, revlog.Mark{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	store, err := mvcc.Open(log, mvcc.FirstRev, mvcc.NeverCompacted)
	if err != nil {
		return 0, err
	}
	for i := 0; i < len(history) && history[i].ModRevision <= rev; {
		tx := store.Begin()
		at := history[i].ModRevision
		for ; i < len(history) && history[i].ModRevision == at; i++ {
			if e := history[i]; e.deleted {
				_, _, err = tx.Delete(e.Key)
			} else {
				_, _, err = tx.Put(e.Key, e.Value, e.Lease)
			}
			if err != nil {
				return 0, err
			}
		}
		tx.End()
		if _, _, err := store.Publish(); err != nil {
			return 0, err
		}
	}
	if compacted > 0 {
		if err := store.Compact(compacted); err != nil {
			return 0, err
		}
		if _, _, err := store.Publish(); err != nil {
			return 0, err
		}
		for !store.CompactStep(1000) {
		}
	}
	hash, _, _, err = store.HashKV(context.Background(), rev)
	return hash, err
}

// checkLeases looks for the leases that must be there, and holds each one's keys against the store.
func (r *rig) checkLeases(t *testing.T, known facts) {
	t.Helper()
	leases := r.stores.machine.Leases()
	for id, there := range known.leases {
		if _, ok := leases.Lookup(id); ok != there {
			t.Errorf("lease %x is there: %v; acknowledged: %v", id, ok, there)
		}
	}
	all, err := r.get(everything, everything, 0)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[int64][]string{}
	for _, kv := range all.Kvs {
		if kv.Lease != 0 {
			keys[kv.Lease] = append(keys[kv.Lease], string(kv.Key))
		}
	}
	for _, info := range leases.All() {
		if got := leases.Keys(info.ID); !slices.Equal(got, keys[info.ID]) {
			t.Errorf("lease %x has the keys %q; the store says %q", info.ID, got, keys[info.ID])
		}
		delete(keys, info.ID)
	}
	for id, names := range keys {
		t.Errorf("the keys %q are of lease %x, which is not there", names, id)
	}
}
