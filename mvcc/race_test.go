package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/wire"
)

// The history of the race test is a formula, so that readers can tell what they must see without
// a model that they share with the writer: at revision r the key number r mod raceKeys is put, or
// deleted where raceDelete says so.
const (
	raceKeys = 2500  // more than two chunks
	raceRevs = 8_000 // at least; until something was reclaimed
)

func raceKey(n int64) []byte    { return fmt.Appendf(nil, "race/%05d", n) }
func raceDelete(rev int64) bool { return rev > raceKeys && rev*2654435761%7 == 0 }

// raceKV is what a reader at rev sees of key n; ok is false if it is not there.
func raceKV(n, rev int64) (kv cairn.KeyValue, ok bool) {
	newest := rev - (rev-n+raceKeys)%raceKeys
	if newest < FirstRev+1 || raceDelete(newest) {
		return kv, false
	}
	create, version := newest, int64(1)
	for r := newest - raceKeys; r > FirstRev && !raceDelete(r); r -= raceKeys {
		create, version = r, version+1
	}
	return cairn.KeyValue{Key: raceKey(n), Value: fmt.Appendf(nil, "%064d", newest),
		CreateRevision: create, ModRevision: newest, Version: version}, true
}

// raceRange is the reply to a range over everything at rev.
func raceRange(h cairn.Header, rev int64, limit int) []byte {
	out := wire.AppendHeader(nil, &h)
	count := 0
	for n := range int64(raceKeys) {
		kv, ok := raceKV(n, rev)
		if !ok {
			continue
		}
		if count++; count <= limit {
			out = wire.AppendKV(out, wire.RangeKVs, wire.AppendKeyValue(nil, &kv))
		}
	}
	out = wire.AppendBool(out, wire.RangeMore, count > limit)
	return wire.AppendVarint(out, wire.RangeCount, uint64(count))
}

// TestReadersRace lets readers of every kind run beside the applier, compaction, checkpoints and
// reclaim. Each reply must be that of its revision, whole.
func TestReadersRace(t *testing.T) {
	fs := vfs.NewMem()
	log, err := revlog.Open(fs, testDir, revlog.Options{SegmentBytes: 64 << 10}, revlog.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(log, FirstRev, NeverCompacted)
	if err != nil {
		t.Fatal(err)
	}
	race := &race{t: t, log: log, s: s}
	var wg sync.WaitGroup
	wg.Go(race.apply)
	wg.Go(race.compact)
	wg.Go(race.reclaim)
	for seed, read := range []func(*rand.Rand) int64{
		race.point, race.list, race.view, race.stream, race.changes, race.hash,
	} {
		wg.Go(func() { race.loop(uint64(seed), read) })
	}
	wg.Wait()
	if log.Stats().Reclaim.Rewrites == 0 {
		t.Error("nothing was reclaimed")
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// race is the state of one run.
type race struct {
	t     *testing.T
	log   *revlog.Log
	s     *Store
	done  atomic.Bool
	saved atomic.Pointer[revlog.Checkpoint]
}

func (r *race) fail(format string, args ...any) {
	if !r.done.Swap(true) {
		r.t.Errorf(format, args...)
	}
}

func (r *race) apply() {
	defer r.done.Store(true)
	rng := rand.New(rand.NewPCG(1, 21))
	for rev := int64(FirstRev + 1); !r.done.Load(); rev++ {
		if rev > raceRevs && rev%256 == 0 && r.s.Rev() == rev-1 &&
			(r.log.Stats().Reclaim.Rewrites > 0 || rev > 100*raceRevs) {
			return
		}
		tx := r.s.Begin()
		key := raceKey(rev % raceKeys)
		var err error
		if raceDelete(rev) {
			if _, had, _ := tx.Delete(key); !had { // a revision is needed all the same
				_, _, err = tx.Put([]byte("aside"), nil, 0)
			}
		} else {
			_, _, err = tx.Put(key, fmt.Appendf(nil, "%064d", rev), 0)
		}
		tx.End()
		if err == nil && rng.IntN(300) == 0 {
			if err = r.s.Compact(rev - rng.Int64N(2000)); errors.Is(err, cairn.ErrCompacted) {
				err = nil
			}
		}
		if rng.IntN(4) == 0 || rev%256 == 255 {
			_, _, err2 := r.s.Publish()
			err = errors.Join(err, err2)
		}
		if err == nil && rng.IntN(100) == 0 && r.s.Rev() == rev {
			mark, compactRev := r.s.Mark(), r.s.CompactRev()
			if err = r.log.Sync(); err == nil {
				r.saved.Store(&revlog.Checkpoint{Mark: mark, CompactRev: compactRev})
			}
		}
		if err != nil {
			r.fail("apply revision %d: %v", rev, err)
		}
	}
}

func (r *race) compact() {
	for !r.done.Load() {
		r.s.CompactStep(64)
	}
}

func (r *race) reclaim() {
	for !r.done.Load() {
		if cp := r.saved.Load(); cp != nil {
			if _, err := r.s.ReclaimStep(*cp, 8<<10); err != nil {
				r.fail("reclaim: %v", err)
			}
		}
	}
}

// loop reads until the applier is done. A read returns the revision that it was asked for, which
// may have been compacted in the meantime.
func (r *race) loop(seed uint64, read func(*rand.Rand) int64) {
	rng := rand.New(rand.NewPCG(seed, 22))
	reads := 0
	for ; !r.done.Load(); reads++ {
		read(rng)
	}
	if reads == 0 {
		r.fail("reader %d did not read", seed)
	}
}

// old is a revision that exists and is not compacted yet, 0 now and then.
func (r *race) old(rng *rand.Rand) int64 {
	low := max(r.s.CompactRev(), FirstRev)
	return max(low+rng.Int64N(max(r.s.Rev()-low, 1)), 1) * rng.Int64N(2)
}

// reply compares a reply's bytes. Its header has the revision that it was read at.
func (r *race) reply(
	what string, got []byte, asked int64, want func(h cairn.Header, rev int64) []byte,
) {
	h := headerOf(got)
	rev := asked
	if rev == 0 {
		rev = h.Revision
	}
	if w := want(h, rev); !bytes.Equal(got, w) {
		r.fail("%s at %d of %d: %d bytes, want %d", what, asked, h.Revision, len(got), len(w))
	}
}

// headerOf decodes the header at the front of a response.
func headerOf(b []byte) (h cairn.Header) {
	if len(b) >= 2 && int(b[1]) <= len(b)-2 {
		_ = wire.DecodeHeader(b[2:2+int(b[1])], &h)
	}
	return h
}

func (r *race) point(rng *rand.Rand) int64 {
	n, asked := rng.Int64N(raceKeys), r.old(rng)
	got, err := r.s.AppendRange(context.Background(), nil, &cairn.Header{},
		&cairn.RangeRequest{Key: raceKey(n), Revision: asked})
	if errors.Is(err, cairn.ErrCompacted) && asked > 0 {
		return asked
	}
	if err != nil {
		r.fail("get: %v", err)
		return asked
	}
	r.reply("get", got, asked, func(h cairn.Header, rev int64) []byte {
		out := wire.AppendHeader(nil, &h)
		if kv, ok := raceKV(n, rev); ok {
			out = wire.AppendKV(out, wire.RangeKVs, wire.AppendKeyValue(nil, &kv))
			out = wire.AppendVarint(out, wire.RangeCount, 1)
		}
		return out
	})
	return asked
}

var raceAll = cairn.RangeRequest{Key: []byte("race/"), End: []byte("race0")}

func (r *race) list(rng *rand.Rand) int64 {
	q := raceAll
	q.Revision, q.Limit = r.old(rng), 1+rng.Int64N(2*raceKeys)
	got, err := r.s.AppendRange(context.Background(), nil, &cairn.Header{}, &q)
	if errors.Is(err, cairn.ErrCompacted) && q.Revision > 0 {
		return q.Revision
	}
	if err != nil {
		r.fail("list: %v", err)
		return q.Revision
	}
	r.reply("list", got, q.Revision, func(h cairn.Header, rev int64) []byte {
		return raceRange(h, rev, int(q.Limit))
	})
	return q.Revision
}

// view reads twice through one view, with compactions in between.
func (r *race) view(rng *rand.Rand) int64 {
	v := r.s.View()
	defer v.Close()
	q := raceAll
	q.Revision = max(v.CompactRev(), v.Rev()-rng.Int64N(1000), 1)
	h := cairn.Header{Revision: v.Rev()}
	want := raceRange(h, q.Revision, raceKeys)
	for range 2 {
		got, err := v.AppendRange(nil, &h, &q)
		q.Limit = raceKeys
		if err != nil || !bytes.Equal(got, want) {
			r.fail("view of %d at %d: %v, %d bytes, want %d",
				v.Rev(), q.Revision, err, len(got), len(want))
		}
	}
	return 0
}

func (r *race) stream(rng *rand.Rand) int64 {
	q := raceAll
	q.Revision = r.old(rng)
	var kvs, end []byte
	err := r.s.StreamRange(context.Background(), &cairn.Header{ClusterID: 1}, &q, 4<<10,
		func(piece []byte) error {
			if len(piece) > 0 && piece[0] == wire.HeaderField<<3|2 {
				n := 2 + int(piece[1])
				end, piece = bytes.Clone(piece[:n]), piece[n:]
			}
			kvs = append(kvs, piece...)
			return nil
		})
	if errors.Is(err, cairn.ErrCompacted) {
		return q.Revision
	}
	if err != nil {
		r.fail("stream: %v", err)
		return q.Revision
	}
	r.reply("stream", append(end, kvs...), q.Revision, func(h cairn.Header, rev int64) []byte {
		return raceRange(h, rev, raceKeys)
	})
	return q.Revision
}

func (r *race) changes(rng *rand.Rand) int64 {
	from := max(r.old(rng), FirstRev+1)
	at := from
	next, err := r.s.Changes(context.Background(), from, from+200, 100, 1<<20,
		func(ev *Event) error {
			if ev.Rev.Main != at {
				return fmt.Errorf("event of %d, want %d", ev.Rev.Main, at)
			}
			kv, ok := raceKV(at%raceKeys, at)
			if ok && !bytes.Equal(ev.KV, wire.AppendKeyValue(nil, &kv)) {
				return fmt.Errorf("event %+v, want %+v", ev, kv)
			}
			before, had := raceKV(at%raceKeys, at-1)
			prev, ok, err := r.s.PrevKV(ev)
			if err != nil || ok && (!had || !bytes.Equal(prev, wire.AppendKeyValue(nil, &before))) {
				if string(ev.Key) != "aside" {
					return fmt.Errorf("before %+v: %q %v", ev, prev, err)
				}
			}
			at++
			return nil
		})
	if err != nil && !errors.Is(err, cairn.ErrCompacted) || err == nil && next != at {
		r.fail("changes from %d: next %d after %d: %v", from, next, at, err)
	}
	return from
}

func (r *race) hash(_ *rand.Rand) int64 {
	ctx := context.Background()
	v := r.s.View()
	defer v.Close()
	first, err := v.hash(ctx, v.rev)
	if err != nil {
		r.fail("hash: %v", err)
	}
	if second, err := v.hash(ctx, v.rev); err != nil || second != first {
		r.fail("hash at %d: %08x, then %08x %v", v.rev, first, second, err)
	}
	return 0
}
