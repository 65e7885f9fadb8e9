package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/wire"
)

const testDir = "revlog"

// suite is a store under test and the model beside it.
type suite struct {
	t    *testing.T
	r    *rand.Rand
	fs   *vfs.Mem
	log  *revlog.Log
	s    *Store
	m    *model
	keys int
	// A transaction may change a key twice. The API refuses that: of the revision that was
	// compacted, a watch would not see the first change.
	twice bool
	// The last checkpoint, and the model as it was then.
	saved      revlog.Checkpoint
	savedModel model
	// What the model does at the next Publish.
	pending []Event
}

func testOptions() revlog.Options { return revlog.Options{SegmentBytes: revlog.MinSegmentBytes} }

func newSuite(t *testing.T, seed uint64) *suite {
	t.Helper()
	t.Logf("seed %d", seed)
	b := &suite{t: t, r: rand.New(rand.NewPCG(seed, 11)), fs: vfs.NewMem(), m: newModel()}
	b.keys, b.twice = 1+b.r.IntN(60), b.r.IntN(2) == 0
	b.saved.CompactRev, b.savedModel = b.m.compact, *b.m
	b.open(revlog.Mark{})
	t.Cleanup(func() {
		if err := b.log.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *suite) open(mark revlog.Mark) {
	b.t.Helper()
	var err error
	if b.log, err = revlog.Open(b.fs, testDir, testOptions(), mark); err != nil {
		b.t.Fatal(err)
	}
	if b.s, err = Open(b.log, b.m.rev, b.m.compact); err != nil {
		b.t.Fatal(err)
	}
}

// checkpoint makes the state durable, as a checkpoint does.
func (b *suite) checkpoint() {
	b.t.Helper()
	mark := b.s.Mark()
	if err := b.log.Sync(); err != nil {
		b.t.Fatal(err)
	}
	b.saved = revlog.Checkpoint{Mark: mark, CompactRev: b.s.CompactRev()}
	b.savedModel = *b.m
}

func (b *suite) reopen() {
	b.t.Helper()
	b.checkpoint()
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.open(b.saved.Mark)
}

// crash goes on from what a power failure leaves, at the last checkpoint.
func (b *suite) crash() {
	b.t.Helper()
	clone := b.fs.CrashClone(b.r)
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.fs = clone
	*b.m = b.savedModel
	b.m.history = slices.Clip(b.m.history)
	b.open(b.saved.Mark)
}

func (b *suite) key() []byte {
	i := b.r.IntN(b.keys)
	if i%7 == 3 {
		return bytes.Repeat(fmt.Appendf(nil, "%d/", i), 60*i%500+1)
	}
	return fmt.Appendf(nil, "k%02d", i)
}

func (b *suite) end(key []byte) []byte {
	switch b.r.IntN(5) {
	case 0:
		return nil
	case 1:
		return []byte{0}
	case 2:
		return append(append([]byte(nil), key...), 0)
	}
	return b.key()
}

// write does one transaction of up to five changes; none may take place.
func (b *suite) write() {
	b.t.Helper()
	tx := b.s.Begin()
	rev := cairn.Revision{Main: b.m.rev + 1}
	written := map[string]bool{}
	for range b.r.IntN(6) {
		key := b.key()
		if written[string(key)] && !b.twice {
			continue
		}
		written[string(key)] = true
		before, was := b.m.last(key, b.m.rev+1)
		was = was && !before.tomb
		var prev Version
		var had bool
		var err error
		if b.r.IntN(3) == 0 {
			prev, had, err = tx.Delete(key)
			if had {
				b.m.delete(rev, key)
				kv := cairn.KeyValue{Key: key, ModRevision: rev.Main}
				b.pending = append(b.pending, Event{Rev: rev, Key: key, Delete: true,
					KV: wire.AppendKeyValue(nil, &kv)})
				rev.Sub++
			}
		} else {
			value := bytes.Repeat([]byte{byte(b.r.IntN(4))}, b.r.IntN(8)*b.r.IntN(30))
			lease := b.r.Int64N(3)
			prev, had, err = tx.Put(key, value, lease)
			b.m.put(rev, key, value, lease)
			kv := b.m.history[len(b.m.history)-1].kv
			b.pending = append(b.pending, Event{Rev: rev, Key: key, Create: !was,
				KV: wire.AppendKeyValue(nil, &kv)})
			rev.Sub++
		}
		if err != nil {
			b.t.Fatal(err)
		}
		want := Version{Rev: before.rev, Create: before.kv.CreateRevision,
			Version: before.kv.Version, Lease: before.kv.Lease, Pos: prev.Pos}
		if had != was || had && prev != want {
			b.t.Fatalf("previous version of %q is %+v %v, want %+v %v", key, prev, had, before, was)
		}
		b.checkRange(tx, rev.Main-b2i(rev.Sub == 0))
	}
	if rev.Sub > 0 {
		b.m.rev++
	}
	if tx.Rev() != b.m.rev {
		b.t.Fatalf("Rev %d in the transaction, want %d", tx.Rev(), b.m.rev)
	}
	tx.End()
	if b.s.AppliedRev() != b.m.rev {
		b.t.Fatalf("AppliedRev %d, want %d", b.s.AppliedRev(), b.m.rev)
	}
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (b *suite) publish() {
	b.t.Helper()
	rev, events, err := b.s.Publish()
	if err != nil || rev != b.m.rev || b.s.Rev() != rev {
		b.t.Fatalf("Publish: revision %d, want %d (%v)", rev, b.m.rev, err)
	}
	if len(events) != len(b.pending) {
		b.t.Fatalf("%d events, want %d", len(events), len(b.pending))
	}
	for i := range events {
		b.sameEvent(&events[i], &b.pending[i])
	}
	b.pending = nil
}

func (b *suite) sameEvent(got, want *Event) {
	b.t.Helper()
	if got.Rev != want.Rev || !bytes.Equal(got.Key, want.Key) || got.Delete != want.Delete ||
		got.Create != want.Create || !bytes.Equal(got.KV, want.KV) {
		b.t.Fatalf("event %+v, want %+v", got, want)
	}
}

func (b *suite) compact() {
	b.t.Helper()
	rev := b.r.Int64N(b.m.rev+3) - 1
	if b.r.IntN(3) == 0 {
		rev = b.m.rev
	}
	err := b.s.Compact(rev)
	switch {
	case rev <= b.m.compact:
		if !errors.Is(err, cairn.ErrCompacted) {
			b.t.Fatalf("Compact(%d) after %d: %v", rev, b.m.compact, err)
		}
	case rev > b.m.rev:
		if !errors.Is(err, cairn.ErrFutureRev) {
			b.t.Fatalf("Compact(%d) at %d: %v", rev, b.m.rev, err)
		}
	case err != nil:
		b.t.Fatal(err)
	default:
		b.m.compact = rev
	}
	if got := b.s.CompactRev(); got != b.m.compact {
		b.t.Fatalf("CompactRev %d, want %d", got, b.m.compact)
	}
}

func (b *suite) reclaim(steps int) {
	b.t.Helper()
	for range steps {
		state, err := b.s.ReclaimStep(b.saved, 1<<12)
		if err != nil {
			b.t.Fatal(err)
		}
		if state != revlog.ReclaimWorked {
			return
		}
	}
}

// checkStats compares the counts once no compaction is under way.
func (b *suite) checkStats() {
	b.t.Helper()
	for !b.s.CompactStep(1 + b.r.IntN(50)) {
	}
	if b.s.CompactedRev() != b.m.compact {
		b.t.Fatalf("CompactedRev %d, want %d", b.s.CompactedRev(), b.m.compact)
	}
	st := b.s.Stats()
	left := b.m.retained(b.m.rev)
	keys := map[string]bool{}
	var live int64 // bytes of records: a header of 24, padded to 8
	for _, c := range left {
		keys[string(c.kv.Key)] = true
		live += int64(24+wire.SizeKeyValue(&c.kv)+7) &^ 7
	}
	if got := b.log.Stats().LiveBytes(); got < live {
		b.t.Fatalf("the log counts %d bytes as live, the index needs %d", got, live)
	}
	if st.Keys != len(b.m.at(b.m.rev)) || st.Versions != len(left) || st.IndexKeys != len(keys) {
		b.t.Fatalf("%+v, want %d versions of %d keys", st, len(left), len(keys))
	}
}

// TestAgainstModel is one applier's life, checked at each step against the model.
func TestAgainstModel(t *testing.T) {
	rewrites, crashes := int64(0), 0
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			b := newSuite(t, seed)
			for range 80 {
				for range 1 + b.r.IntN(3) {
					b.write()
				}
				if b.r.IntN(10) == 0 {
					b.compact()
				}
				b.publish()
				b.read()
				switch b.r.IntN(12) {
				case 0:
					b.history()
				case 1:
					b.checkpoint()
				case 2:
					b.checkpoint()
					b.reclaim(60)
				case 3:
					b.checkStats()
				case 4:
					b.reopen()
				case 5:
					rewrites += b.log.Stats().Reclaim.Rewrites
					crashes++
					b.crash()
					b.read()
				default:
					b.s.CompactStep(b.r.IntN(30))
				}
			}
			for rev := max(b.m.compact-1, 0); rev <= b.m.rev; rev += 1 + b.r.Int64N(20) {
				b.checkHash(rev)
			}
		})
	}
	if rewrites < 10 || crashes < 50 {
		t.Errorf("%d rewrites, %d crashes: too few to prove anything", rewrites, crashes)
	}
	t.Logf("%d rewrites, %d crashes", rewrites, crashes)
}
