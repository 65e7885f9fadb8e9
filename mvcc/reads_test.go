package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/wire"
)

// What the package promises to others.
var (
	_ Reader       = (*View)(nil)
	_ Reader       = (*Tx)(nil)
	_ revlog.Index = (*recordIndex)(nil)
)

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
	b.pieces(r, want, wantErr)
	b.stream()
}

// pieces compares a range that is measured first and then written piece by piece, and one that has
// a budget.
func (b *suite) pieces(r *cairn.RangeRequest, want []byte, wantErr error) {
	b.t.Helper()
	size, got := -1, []byte(nil)
	err := b.s.WriteRange(context.Background(), &cairn.Header{}, r,
		func(n int) error { size = n; return nil },
		func(piece []byte) error { got = append(got, piece...); return nil })
	b.same(r, got, err, want, wantErr)
	if err == nil && size != len(got) {
		b.t.Fatalf("range %+v: %d bytes were announced, %d came", r, size, len(got))
	}
	budget := Budget{Keys: 1 + b.r.IntN(2*chunkKeys), Bytes: b.r.IntN(400)}
	got, err = b.s.AppendRangeWithin(context.Background(), nil, &cairn.Header{}, r, budget)
	if errors.Is(err, ErrLong) {
		if len(got) != 0 || len(r.End) == 0 {
			b.t.Fatalf("range %+v, budget %+v: %d bytes and %v", r, budget, len(got), err)
		}
		return
	}
	b.same(r, got, err, want, wantErr)
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
	if from == b.m.compact && b.twice {
		from++
	}
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
