package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

const (
	logDir     = "/data/revlog"
	stagingDir = "/data/incoming"
	storeID    = 77
)

// change is a put, or without a value a delete.
type change struct {
	key, value []byte
	lease      cairn.LeaseID
}

// op is an entry of the members' raft log: a transaction, or, without changes, a compaction.
type op struct{ changes []change }

// world is a history and the members that apply it.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	ops  []op
	keys int
	size int // of values, at most
}

// member is a store with the owner's part: what was applied, checkpoints, reclaim.
type member struct {
	w       *world
	fs      *vfs.Mem
	log     *revlog.Log
	store   *mvcc.Store
	applied int // ops
	logged  int // ops that the member has in its own raft log
	saved   saved
}

// saved is a checkpoint.
type saved struct {
	mark            revlog.Mark
	rev, compactRev int64
	applied         int
}

func (w *world) member() *member {
	m := &member{w: w, fs: vfs.NewMem()}
	m.saved = saved{rev: mvcc.FirstRev, compactRev: mvcc.NeverCompacted}
	m.open()
	return m
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func logOptions() revlog.Options {
	return revlog.Options{SegmentBytes: revlog.MinSegmentBytes, LogID: storeID}
}

// open opens the store at the checkpoint.
func (m *member) open() {
	m.w.t.Helper()
	var err error
	m.log, err = revlog.Open(m.fs, logDir, logOptions(), m.saved.mark)
	m.w.check(err)
	if m.saved.rev < m.saved.compactRev {
		m.store, err = mvcc.OpenSalvaged(m.log, m.saved.rev, m.saved.compactRev)
	} else {
		m.store, err = mvcc.Open(m.log, m.saved.rev, m.saved.compactRev)
	}
	m.w.check(err)
	m.applied = m.saved.applied
}

// restart opens the store on another disk, and applies again what the raft log has.
func (m *member) restart(fs *vfs.Mem) {
	m.w.t.Helper()
	m.fs = fs
	m.open()
	m.apply(m.logged)
}

// reopen closes the store and opens it again.
func (m *member) reopen() {
	m.w.t.Helper()
	m.checkpoint()
	m.w.check(m.log.Close())
	m.open()
}

func (m *member) checkpoint() {
	m.w.t.Helper()
	next := saved{m.store.Mark(), m.store.Rev(), m.store.CompactRev(), m.applied}
	m.w.check(m.log.Sync())
	m.saved = next
}

// add makes n more ops.
func (w *world) add(n int) {
	for range n {
		if w.rng.IntN(12) == 0 {
			w.ops = append(w.ops, op{})
			continue
		}
		var o op
		for range 1 + w.rng.IntN(3)*w.rng.IntN(4) {
			c := change{key: w.key()}
			if w.rng.IntN(3) > 0 {
				c.value = make([]byte, 1+w.rng.IntN(w.size))
				c.lease = cairn.LeaseID(w.rng.Int64N(3))
			}
			if !o.has(c.key) {
				o.changes = append(o.changes, c)
			}
		}
		w.ops = append(w.ops, o)
	}
}

func (o *op) has(key []byte) bool {
	for _, c := range o.changes {
		if bytes.Equal(c.key, key) {
			return true
		}
	}
	return false
}

func (w *world) key() []byte {
	n := w.keys
	if w.rng.IntN(2) == 0 {
		n = 1 + n/8
	}
	return fmt.Appendf(nil, "key-%04d", w.rng.IntN(n))
}

// apply applies the ops up to the nth.
func (m *member) apply(n int) {
	m.w.t.Helper()
	for ; m.applied < n; m.applied++ {
		o := &m.w.ops[m.applied]
		if o.changes == nil {
			// How far depends on the state, which is the same on every member.
			err := m.store.Compact(m.store.Rev() - int64(m.applied%9))
			if err != nil && !errors.Is(err, cairn.ErrCompacted) {
				m.w.t.Fatal(err)
			}
		} else {
			tx := m.store.Begin()
			for _, c := range o.changes {
				var err error
				if c.value == nil {
					_, _, err = tx.Delete(c.key)
				} else {
					_, _, err = tx.Put(c.key, c.value, c.lease)
				}
				m.w.check(err)
			}
			tx.End()
		}
		_, _, err := m.store.Publish()
		m.w.check(err)
	}
	m.logged = max(m.logged, n)
}

// live lets the background work of a member go on.
func (m *member) live(steps int) {
	m.w.t.Helper()
	rng := m.w.rng
	for range steps {
		switch rng.IntN(8) {
		case 0:
			m.checkpoint()
		case 1:
			m.w.check(m.log.Prepare())
		case 2:
			m.store.CompactStep(1 + rng.IntN(50))
		default:
			cp := revlog.Checkpoint{Mark: m.saved.mark, CompactRev: m.saved.compactRev}
			_, err := m.store.ReclaimStep(cp, 1<<10)
			m.w.check(err)
		}
	}
}

// rest does all that there is to do for compaction and space.
func (m *member) rest() {
	m.w.t.Helper()
	for range 100_000 {
		m.store.CompactStep(1000)
		m.checkpoint()
		cp := revlog.Checkpoint{Mark: m.saved.mark, CompactRev: m.saved.compactRev}
		state, err := m.store.ReclaimStep(cp, 1<<16)
		m.w.check(err)
		if state == revlog.ReclaimIdle {
			return
		}
	}
	m.w.t.Fatal("reclaim does not come to rest")
}

// source is what the member sends.
func (m *member) source() Source {
	return Source{
		Index: uint64(m.applied), Term: 3, View: m.store.View(),
		Image: fmt.Appendf(nil, "image of %d", m.applied),
	}
}

// stream is what the member sends to who has that.
func (m *member) stream(have Have) ([]byte, Stats, error) {
	var b bytes.Buffer
	limits := Limits{frameBytes: 1 + m.w.rng.IntN(2000)}
	stats, err := Send(context.Background(), &b, m.source(), have, limits)
	return b.Bytes(), stats, err
}

// list is everything that a store shows at rev.
func (m *member) list(rev int64) []byte {
	m.w.t.Helper()
	b, err := m.store.AppendRange(context.Background(), nil, &cairn.Header{},
		&cairn.RangeRequest{Key: []byte{0}, End: []byte{0}, Revision: rev})
	m.w.check(err)
	return b
}

// compare holds all that two stores show against each other.
func (w *world) compare(a, b *member) {
	w.t.Helper()
	rev, floor := a.store.Rev(), a.store.CompactRev()
	if b.store.Rev() != rev || b.store.CompactRev() != floor {
		w.t.Fatalf("revision %d compacted at %d, want %d and %d", b.store.Rev(),
			b.store.CompactRev(), rev, floor)
	}
	ctx := context.Background()
	first := max(floor, mvcc.FirstRev)
	for _, at := range []int64{first, first + 1, rev, first + w.rng.Int64N(rev-first+1),
		first + w.rng.Int64N(rev-first+1)} {
		at = min(at, rev)
		ha, _, _, errA := a.store.HashKV(ctx, at)
		hb, _, _, errB := b.store.HashKV(ctx, at)
		if ha != hb || errA != nil || errB != nil {
			w.t.Fatalf("hash at %d of %d, compacted at %d: %x %v, want %x %v",
				at, rev, floor, hb, errB, ha, errA)
		}
		if la, lb := a.list(at), b.list(at); !bytes.Equal(la, lb) {
			w.t.Fatalf("range at %d of %d, compacted at %d:\n%q, want\n%q", at, rev, floor, lb, la)
		}
	}
	if ra, rb := a.retained(), b.retained(); ra != rb {
		w.t.Fatalf("retained of %d, compacted at %d:\n%s, want\n%s", rev, floor, rb, ra)
	}
	if ea, eb := a.events(first), b.events(first); ea != eb {
		w.t.Fatalf("events from %d:\n%s, want\n%s", first, eb, ea)
	}
	if sa, sb := a.store.Stats().Keys, b.store.Stats().Keys; sa != sb {
		w.t.Fatalf("%d keys, want %d", sb, sa)
	}
}

func (m *member) retained() string {
	m.w.t.Helper()
	var b []byte
	m.w.check(m.store.Retained(context.Background(), 0, func(r revlog.Record) error {
		b = fmt.Appendf(b, "%v %v %.12q\n", r.Rev, r.Tombstone, r.KV)
		return nil
	}))
	return string(b)
}

func (m *member) events(from int64) string {
	m.w.t.Helper()
	var b []byte
	_, err := m.store.Changes(context.Background(), from, m.store.Rev(), 1<<30, 1<<30,
		func(ev *mvcc.Event) error {
			prev, ok, err := m.store.PrevKV(ev)
			b = fmt.Appendf(b, "%v %q %v %v %d; before: %v %d\n",
				ev.Rev, ev.Key, ev.Delete, ev.Create, len(ev.KV), ok, len(prev))
			return err
		})
	m.w.check(err)
	return string(b)
}
