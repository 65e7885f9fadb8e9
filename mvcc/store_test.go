package mvcc

import (
	"bytes"
	"context"
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
	t     *testing.T
	r     *rand.Rand
	fs    *vfs.Mem
	log   *revlog.Log
	s     *Store
	m     *model
	saved revlog.Checkpoint
	keys  int
	// What the model does at the next Publish.
	pending []Event
}

func testOptions() revlog.Options { return revlog.Options{SegmentBytes: revlog.MinSegmentBytes} }

func newSuite(t *testing.T, seed uint64) *suite {
	t.Helper()
	t.Logf("seed %d", seed)
	b := &suite{t: t, r: rand.New(rand.NewPCG(seed, 11)), fs: vfs.NewMem(), m: newModel()}
	b.keys = 1 + b.r.IntN(60)
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
}

func (b *suite) reopen() {
	b.t.Helper()
	b.checkpoint()
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
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
	for range b.r.IntN(6) {
		key := b.key()
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

// request is a random range.
func (b *suite) request(now int64) *cairn.RangeRequest {
	r := &cairn.RangeRequest{Key: b.key()}
	r.End = b.end(r.Key)
	if b.r.IntN(3) == 0 {
		r.Key = []byte{0}
	}
	if b.r.IntN(2) == 0 {
		r.Revision = b.r.Int64N(now+4) - 1
	}
	r.Limit = b.r.Int64N(12) - 1
	r.CountOnly = b.r.IntN(10) == 0
	r.KeysOnly = b.r.IntN(4) == 0
	if b.r.IntN(2) == 0 {
		r.SortOrder = cairn.SortOrder(b.r.IntN(3))
		r.SortTarget = cairn.SortTarget(b.r.IntN(5))
	}
	for _, f := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision,
		&r.MaxCreateRevision} {
		if b.r.IntN(8) == 0 {
			*f = b.r.Int64N(now + 1)
		}
	}
	return r
}

// checkRange compares a random range by a reader whose newest revision is now.
func (b *suite) checkRange(reader Reader, now int64) {
	b.t.Helper()
	if reader.Rev() != now {
		b.t.Fatalf("Rev %d, want %d", reader.Rev(), now)
	}
	r := b.request(now)
	h := cairn.Header{ClusterID: 3, Revision: now}
	want, wantErr := b.m.rangeAt(now, b.m.compact, h, r)
	got, err := reader.AppendRange([]byte("before"), &h, r)
	b.same(r, got, err, append([]byte("before"), want...), wantErr)
	var keys []cairn.KeyValue
	reader.Ascend(r.Key, r.End, func(key []byte, v Version) bool {
		kv := cairn.KeyValue{Key: key, CreateRevision: v.Create, ModRevision: v.Rev.Main,
			Version: v.Version, Lease: v.Lease}
		keys = append(keys, kv)
		b.checkKV(reader, v, now, key)
		return true
	})
	for _, kv := range b.m.at(now) {
		if !inRange(kv.Key, r.Key, r.End) {
			continue
		}
		kv.Value = nil
		if len(keys) == 0 || fmt.Sprint(keys[0]) != fmt.Sprint(kv) {
			b.t.Fatalf("Ascend at %d of %+v: want %+v, got %+v", now, r, kv, keys)
		}
		keys = keys[1:]
	}
	if len(keys) != 0 {
		b.t.Fatalf("Ascend found %+v", keys)
	}
}

func (b *suite) checkKV(reader Reader, v Version, now int64, key []byte) {
	b.t.Helper()
	kv, err := reader.KV(v)
	c, _ := b.m.last(key, now)
	if want := wire.AppendKeyValue(nil, &c.kv); err != nil || !bytes.Equal(kv, want) {
		b.t.Fatalf("KV of %q at %d: %q %v, want %q", key, now, kv, err, want)
	}
	if got, ok := reader.Get(key); !ok || got != v {
		b.t.Fatalf("Get(%q) = %+v %v, want %+v", key, got, ok, v)
	}
}

func (b *suite) same(r *cairn.RangeRequest, got []byte, err error, want []byte, wantErr error) {
	b.t.Helper()
	if !errors.Is(err, wantErr) || err == nil && !bytes.Equal(got, want) {
		b.t.Fatalf("range %+v:\n got %q %v\nwant %q %v", r, got, err, want, wantErr)
	}
}

// read compares what readers see now, which is after a Publish.
func (b *suite) read() {
	b.t.Helper()
	view := b.s.View()
	defer view.Close()
	b.checkRange(view, b.m.rev)
	r := b.request(b.m.rev)
	want, wantErr := b.m.rangeAt(b.m.rev, b.m.compact, cairn.Header{Revision: b.m.rev}, r)
	got, err := b.s.AppendRange(context.Background(), nil, &cairn.Header{}, r)
	b.same(r, got, err, want, wantErr)
	b.stream()
}

// stream compares the merged pieces of a stream.
func (b *suite) stream() {
	b.t.Helper()
	r := &cairn.RangeRequest{Key: []byte{0}, End: b.end([]byte{0}), Limit: b.r.Int64N(30),
		KeysOnly: b.r.IntN(3) == 0, CountOnly: b.r.IntN(9) == 0}
	if b.r.IntN(2) == 0 {
		r.Revision = b.r.Int64N(b.m.rev + 2)
	}
	h := cairn.Header{Revision: b.m.rev}
	want, wantErr := b.m.rangeAt(b.m.rev, b.m.compact, h, r)
	var kvs, rest []byte
	err := b.s.StreamRange(context.Background(), &cairn.Header{}, r, b.r.IntN(400),
		func(piece []byte) error {
			if rest != nil {
				b.t.Fatal("a piece after the last one")
			}
			if len(piece) > 0 && piece[0] == wire.HeaderField<<3|2 {
				n := len(wire.AppendHeader(nil, &h))
				if !bytes.Equal(piece[:n], wire.AppendHeader(nil, &h)) {
					b.t.Fatalf("header %x", piece[:n])
				}
				rest, piece = piece[:n], piece[n:]
			}
			kvs = append(kvs, piece...)
			return nil
		})
	b.same(r, append(slices.Clip(rest), kvs...), err, want, wantErr)
}

// history compares events, the versions before them, what is retained, and the hash.
func (b *suite) history() {
	b.t.Helper()
	ctx := context.Background()
	from := b.r.Int64N(b.m.rev + 3)
	var want []change
	for _, c := range b.m.history {
		if c.rev.Main >= from {
			want = append(want, c)
		}
	}
	for next := from; next <= b.m.rev; {
		maxEvents := 1 + b.r.IntN(20)
		at := next
		var err error
		got := 0
		next, err = b.s.Changes(ctx, at, b.m.rev+5, maxEvents, 1<<20, func(ev *Event) error {
			b.checkEvent(ev, &want[0])
			want = want[1:]
			got++
			return nil
		})
		if at < b.m.compact {
			if !errors.Is(err, cairn.ErrCompacted) || next != at {
				b.t.Fatalf("Changes from %d, compacted %d: %d %v", at, b.m.compact, next, err)
			}
			return
		}
		if err != nil || next <= at {
			b.t.Fatalf("Changes from %d: %d %v", at, next, err)
		}
		if len(want) > 0 && want[0].rev.Main < next || got > maxEvents+5 {
			b.t.Fatalf("Changes from %d ended at %d after %d events", at, next, got)
		}
	}
	if len(want) > 0 {
		b.t.Fatalf("%d events are missing", len(want))
	}
	b.checkHash(b.r.Int64N(b.m.rev + 2))
}

func (b *suite) checkEvent(ev *Event, c *change) {
	b.t.Helper()
	kv := c.kv
	if c.tomb {
		kv.ModRevision = c.rev.Main
	}
	b.sameEvent(ev, &Event{Rev: c.rev, Key: kv.Key, Delete: c.tomb,
		Create: !c.tomb && kv.CreateRevision == c.rev.Main, KV: wire.AppendKeyValue(nil, &kv)})
	prev, ok, err := b.s.PrevKV(ev)
	before, had := b.m.last(kv.Key, c.rev.Main-1)
	had = had && !before.tomb && !ev.Create && c.rev.Main-1 >= b.m.compact
	if err != nil || ok != had || had && !bytes.Equal(prev, wire.AppendKeyValue(nil, &before.kv)) {
		b.t.Fatalf("PrevKV of %+v: %q %v %v, want %+v %v", ev, prev, ok, err, before, had)
	}
}

func (b *suite) checkHash(rev int64) {
	b.t.Helper()
	ctx := context.Background()
	hash, hashRev, compactRev, err := b.s.HashKV(ctx, rev)
	at := rev
	if rev == 0 {
		at = b.m.rev
	}
	if rev > 0 && rev < b.m.compact {
		if !errors.Is(err, cairn.ErrCompacted) {
			b.t.Fatalf("HashKV(%d): %v", rev, err)
		}
		return
	}
	if rev > b.m.rev {
		if !errors.Is(err, cairn.ErrFutureRev) {
			b.t.Fatalf("HashKV(%d): %v", rev, err)
		}
		return
	}
	if err != nil || hash != b.m.hash(at) || hashRev != at || compactRev != b.m.compact {
		b.t.Fatalf("HashKV(%d) = %08x at %d, %d, %v", rev, hash, hashRev, compactRev, err)
	}
	want := b.m.retained(at)
	err = b.s.Retained(ctx, at, func(r revlog.Record) error {
		if len(want) == 0 || r.Rev != want[0].rev || r.Tombstone != want[0].tomb ||
			!bytes.Equal(r.KV, wire.AppendKeyValue(nil, &want[0].kv)) {
			return fmt.Errorf("record %+v, want %+v", r, want)
		}
		want = want[1:]
		return nil
	})
	if err != nil || len(want) > 0 {
		b.t.Fatalf("Retained(%d): %v, %d missing", at, err, len(want))
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
	for seed := range uint64(30) {
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
					b.reclaim(20)
				case 3:
					b.checkStats()
				case 4:
					b.reopen()
				default:
					b.s.CompactStep(b.r.IntN(30))
				}
			}
			for rev := max(b.m.compact-1, 0); rev <= b.m.rev; rev += 1 + b.r.Int64N(20) {
				b.checkHash(rev)
			}
		})
	}
}
