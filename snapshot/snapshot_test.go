package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

// pair is a leader and a follower that is behind.
func pair(t *testing.T, seed uint64, ops, behind int) (w *world, leader, follower *member) {
	t.Helper()
	t.Logf("seed %d", seed)
	w = &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), keys: 100, size: 300}
	w.add(ops)
	leader, follower = w.member(), w.member()
	leader.apply(ops)
	follower.apply(ops - behind)
	follower.checkpoint()
	return w, leader, follower
}

// incoming opens a follower's staging and asks for what it needs.
func (m *member) incoming(opts Options) (*Incoming, Have) {
	m.w.t.Helper()
	in, err := Open(m.fs, stagingDir, opts)
	m.w.check(err)
	have, err := in.Have(m.store.Rev(), m.store.CompactRev())
	m.w.check(err)
	return in, have
}

// TestSendsTheRest counts the bytes for a follower that has most of it.
func TestSendsTheRest(t *testing.T) {
	w := &world{t: t, rng: rand.New(rand.NewPCG(1, 8))}
	for i := range 10_000 {
		w.ops = append(w.ops, op{changes: []change{{
			key: fmt.Appendf(nil, "key-%05d", i), value: bytes.Repeat([]byte{'v'}, 200),
		}}})
	}
	leader, follower := w.member(), w.member()
	leader.apply(10_000)
	follower.apply(9_000)
	w.check(leader.store.Compact(leader.store.Rev() - 10))
	_, _, err := leader.store.Publish()
	w.check(err)
	all, _, err := leader.stream(Have{Base: mvcc.FirstRev, CompactRev: -1})
	w.check(err)
	_, have := follower.incoming(Options{})
	rest, stats, err := leader.stream(have)
	w.check(err)
	most := len(all)/10 + 2*9_000
	t.Logf("%d bytes for all, %d for a tenth: %+v", len(all), len(rest), stats)
	if len(rest) > most || stats.Kept != 9_000 || stats.Records != 1_000 {
		t.Errorf("%d bytes, at most %d: %+v", len(rest), most, stats)
	}
}

func TestRefused(t *testing.T) {
	w, leader, follower := pair(t, 2, 300, 200)
	in, have := follower.incoming(Options{ID: storeID})
	ctx := context.Background()
	if _, err := Send(ctx, io.Discard, follower.source(), Have{Base: have.Base + 1},
		Limits{}); !errors.Is(err, ErrBehind) {
		t.Errorf("what the sender does not have: %v", err)
	}
	if _, err := Send(ctx, io.Discard, leader.source(), Have{Base: 1, CompactRev: 1 << 40},
		Limits{}); !errors.Is(err, ErrOlder) {
		t.Errorf("compacted less than the receiver: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Send(canceled, io.Discard, leader.source(), have, Limits{}); !errors.Is(err,
		context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	stream, _, err := leader.stream(have)
	w.check(err)
	half := stream[:len(stream)*2/3]
	if err := in.Receive(ctx, bytes.NewReader(half)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a stream: %v", err)
	}
	if err := in.Receive(ctx, bytes.NewReader(stream)); err == nil {
		t.Error("a stream without Have was taken")
	}
	if _, err := in.Graft(follower.store); !errors.Is(err, ErrIncomplete) {
		t.Errorf("graft of half a stream: %v", err)
	}
	have, err = in.Have(follower.store.Rev(), follower.store.CompactRev())
	w.check(err)
	if err := in.Receive(ctx, bytes.NewReader(stream)); !errors.Is(err, ErrFormat) {
		t.Errorf("another base than asked for: %v", err)
	}
	_, err = in.Have(follower.store.Rev(), follower.store.CompactRev())
	w.check(err)
	old := leader.source()
	old.Index = 1
	var b bytes.Buffer
	_, err = Send(ctx, &b, old, have, Limits{})
	w.check(err)
	staged := in.Staged()
	if err := in.Receive(ctx, &b); !errors.Is(err, ErrOlder) || in.Staged() != staged {
		t.Errorf("a lower index than before: %v, %d bytes staged, %d before",
			err, in.Staged(), staged)
	}
}

// TestAnotherStore finds staging that is not for this store.
func TestAnotherStore(t *testing.T) {
	w, leader, follower := pair(t, 3, 300, 200)
	in, have := follower.incoming(Options{ID: 1})
	stream, _, err := leader.stream(have)
	w.check(err)
	w.check(in.Receive(context.Background(), bytes.NewReader(stream)))
	w.check(in.Close())
	in, again := follower.incoming(Options{ID: 1})
	if again.Base <= have.Base {
		t.Errorf("complete staging is not found: %+v", again)
	}
	if !in.Continues(have.Base) || in.Continues(have.Base-1) {
		t.Errorf("staging on revision %d must continue a store there, and none before", have.Base)
	}
	w.check(in.Close())
	if in, again := follower.incoming(Options{ID: 2}); again.Base != have.Base || in.Staged() > 0 {
		t.Errorf("staging of another id: %+v", again)
	}
	in, _ = follower.incoming(Options{ID: 1})
	if have, err := in.Have(mvcc.FirstRev, -1); err != nil || have.Base != mvcc.FirstRev {
		t.Errorf("an older store: %+v, %v", have, err)
	}
}

// TestDiverged grafts onto a store with another history.
func TestDiverged(t *testing.T) {
	w, leader, _ := pair(t, 4, 400, 0)
	other := &world{t: t, rng: rand.New(rand.NewPCG(5, 7)), keys: 100, size: 300}
	other.add(300)
	m := other.member()
	m.apply(200)
	leader.apply(len(w.ops))
	w.check(leader.store.Compact(leader.store.Rev()))
	_, _, err := leader.store.Publish()
	w.check(err)
	in, have := m.incoming(Options{})
	stream, _, err := leader.stream(have)
	w.check(err)
	w.check(in.Receive(context.Background(), bytes.NewReader(stream)))
	before := m.list(0)
	if _, err := in.Graft(m.store); !errors.Is(err, mvcc.ErrDiverged) {
		t.Errorf("graft onto another history: %v", err)
	}
	if got := m.list(0); !bytes.Equal(got, before) {
		t.Error("the store has changed")
	}
}

// TestDamagedStaging flips bits in the staging file: Graft notices, and the rest is asked for.
func TestDamagedStaging(t *testing.T) {
	w, leader, follower := pair(t, 5, 400, 300)
	in, have := follower.incoming(Options{})
	stream, _, err := leader.stream(have)
	w.check(err)
	w.check(in.Receive(context.Background(), bytes.NewReader(stream)))
	path := filepath.Join(stagingDir, fileName)
	for off := int64(preambleBytes); off < in.Staged(); off += 1 + w.rng.Int64N(200) {
		disk := follower.fs.KillClone()
		w.check(vfs.Flip(disk, path, off, uint(w.rng.IntN(8))))
		m := &member{w: w, fs: disk, saved: follower.saved}
		m.open()
		live, err := Open(disk, stagingDir, Options{})
		w.check(err)
		if _, ok := live.Complete(); ok {
			t.Fatalf("the flip at %d was not seen", off)
		}
		have, err := live.Have(m.store.Rev(), m.store.CompactRev())
		w.check(err)
		rest, _, err := leader.stream(have)
		w.check(err)
		w.check(live.Receive(context.Background(), bytes.NewReader(rest)))
		_, err = live.Graft(m.store)
		w.check(err)
		w.compare(leader, m)
		w.check(errors.Join(live.Close(), m.log.Close()))
	}
	w.check(vfs.Flip(follower.fs, path, in.Staged()/2, 1)) // behind the back of an open one
	if _, err := in.Graft(follower.store); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

// TestFailEverywhere fails each operation on the staging file's disk in turn.
func TestFailEverywhere(t *testing.T) {
	w, leader, follower := pair(t, 6, 120, 80)
	w.check(follower.log.Close())
	for _, fault := range []vfs.Fault{{}, {Short: true}, {After: true}, {Err: vfs.ErrNoSpace}} {
		for n := int64(1); ; n++ {
			mem := follower.fs.KillClone()
			faulty := vfs.NewFaulty(mem)
			fault.Nth = n
			faulty.Inject(fault)
			err := bring(leader, faulty, follower.saved)
			if faulty.Fired() == 0 {
				w.check(err)
				break
			}
			if err != nil && !errors.Is(err, vfs.ErrInjected) && !errors.Is(err, vfs.ErrNoSpace) {
				t.Fatalf("%+v: %v does not wrap the cause", fault, err)
			}
			faulty.Clear()
			if err := bring(leader, faulty, follower.saved); err != nil {
				t.Fatalf("%+v, then again: %v", fault, err)
			}
		}
	}
}

// bring receives a snapshot on a disk, with a store opened for it.
func bring(leader *member, disk vfs.FS, at saved) error {
	in, err := Open(disk, stagingDir, Options{})
	if err != nil {
		return err
	}
	defer in.Close()
	have, err := in.Have(at.rev, at.compactRev)
	if err != nil {
		return err
	}
	stream, _, err := leader.stream(have)
	if err != nil {
		return err
	}
	if err := in.Receive(context.Background(), bytes.NewReader(stream)); err != nil {
		return err
	}
	_, err = in.Image()
	return err
}

// TestLittleRoom has a staging file that may not grow, a disk that is full, and one that will be.
func TestLittleRoom(t *testing.T) {
	w, leader, follower := pair(t, 7, 300, 200)
	ctx := context.Background()
	in, have := follower.incoming(Options{MaxBytes: 1000})
	stream, _, err := leader.stream(have)
	w.check(err)
	if err := in.Receive(ctx, bytes.NewReader(stream)); !errors.Is(err, ErrTooLarge) ||
		in.Staged() != 0 {
		t.Errorf("%v, %d bytes staged", err, in.Staged())
	}
	in, _ = follower.incoming(Options{})
	follower.fs.SetCapacity(follower.fs.Used() + int64(len(stream))/2)
	if err := in.Receive(ctx, bytes.NewReader(stream)); !errors.Is(err, vfs.ErrNoSpace) ||
		in.Staged() != 0 {
		t.Errorf("%v, %d bytes staged", err, in.Staged())
	}
	follower.fs.SetCapacity(0)
	in, _ = follower.incoming(Options{})
	w.check(in.Receive(ctx, bytes.NewReader(stream)))
	follower.fs.SetCapacity(follower.fs.Used() + int64(len(stream))/2)
	rev := follower.store.Rev()
	if _, err := in.Graft(follower.store); !errors.Is(err, vfs.ErrNoSpace) ||
		follower.store.Rev() != rev {
		t.Errorf("graft without room: %v", err)
	}
	follower.fs.SetCapacity(0)
	_, err = in.Graft(follower.store)
	w.check(err)
	w.compare(leader, follower)
}

// TestRate measures how long a stream takes.
func TestRate(t *testing.T) {
	_, leader, _ := pair(t, 8, 300, 0)
	synctest.Test(t, func(t *testing.T) {
		const rate = 10_000
		start, sent := time.Now(), 0
		stats, err := Send(t.Context(), io.Discard, leader.source(), Have{Base: 1, CompactRev: -1},
			Limits{BytesPerSecond: rate, Clock: clock.Real(), frameBytes: 500,
				Progress: func(n int) { sent += n }})
		if err != nil || int64(sent) != stats.Bytes {
			t.Fatalf("%d bytes told of, sent %d: %v", sent, stats.Bytes, err)
		}
		took := time.Since(start) + burst
		if want := time.Duration(sent) * time.Second / rate; took < want || took > want*11/10 {
			t.Errorf("%d bytes took %v, want %v", sent, took, want)
		}
	})
}

// TestBesideReaders grafts while others read, compact and reclaim.
func TestBesideReaders(t *testing.T) {
	w, leader, follower := pair(t, 9, 3000, 2000)
	rev := follower.store.Rev()
	old, next := follower.list(0), leader.list(0)
	in, have := follower.incoming(Options{})
	stream, _, err := leader.stream(have)
	w.check(err)
	w.check(in.Receive(t.Context(), bytes.NewReader(stream)))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	each := func(fn func() error) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := fn(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for range 2 {
		each(func() error {
			v := follower.store.View()
			defer v.Close()
			got, err := v.AppendRange(nil, &cairn.Header{Revision: v.Rev()},
				&cairn.RangeRequest{Key: []byte{0}, End: []byte{0}})
			want := next
			if v.Rev() == rev {
				want = old
			}
			if err == nil && !bytes.Equal(got, want) {
				err = fmt.Errorf("at %d, floor %d: %d bytes, want %d",
					v.Rev(), v.CompactRev(), len(got), len(want))
			}
			return err
		})
	}
	each(func() error {
		follower.store.CompactStep(100)
		_, err := follower.store.ReclaimStep(revlog.Checkpoint{
			Mark: follower.saved.mark, CompactRev: follower.saved.compactRev,
		}, 1<<12)
		return err
	})
	_, err = in.Graft(follower.store)
	close(stop)
	wg.Wait()
	w.check(err)
	w.compare(leader, follower)
}

// sample is a small stream with a frame of each kind, for a receiver at revision 3.
func sample() []byte {
	var frames frameWriter
	var sum tally
	h := Header{Index: 5, Term: 1, Rev: 9, CompactRev: 6, Base: 3, ImageBytes: 2}
	kept := cairn.Revision{Main: 2, Sub: 1}
	sum.keep(kept)
	r := record{Record: revlog.Record{Rev: cairn.Revision{Main: 5}, KV: []byte{1, 2}}}
	sum.record(&r.Record)
	image := []byte("ab")
	end := binary.LittleEndian.AppendUint32(nil, crc32.Checksum(image, castagnoli))
	var out []byte
	for _, f := range []struct {
		k kind
		b []byte
	}{
		{kindHeader, h.append(nil)}, {kindKept, mvcc.AppendRevision(nil, cairn.Revision{}, kept)},
		{kindRecords, appendRecord(nil, cairn.Revision{}, &r)}, {kindTally, sum.append(nil)},
		{kindImage, image}, {kindEnd, end},
	} {
		out = append(out, frames.frame(f.k, f.b)...)
	}
	return out
}

// FuzzReceive gives arbitrary bytes to a receiver: no crash, and what it takes as complete is
// complete on disk. The same bytes are the payload of a frame of each kind, too.
func FuzzReceive(f *testing.F) {
	whole := sample()
	for _, b := range [][]byte{nil, whole, whole[:len(whole)/2], whole[frameHeaderBytes:]} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := vfs.NewMem()
		in, err := Open(disk, stagingDir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Have(3, 2); err != nil {
			t.Fatal(err)
		}
		err = in.Receive(t.Context(), bytes.NewReader(b))
		h, ok := in.Complete()
		if (err == nil) != ok || bytes.Equal(b, whole) && !ok {
			t.Fatalf("complete: %v, %v", ok, err)
		}
		again, err := Open(disk, stagingDir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if h2, ok2 := again.Complete(); h2 != h || ok2 != ok {
			t.Fatalf("%+v %v, opened again %+v %v", h, ok, h2, ok2)
		}
		for k := kindHeader; k <= kindEnd; k++ {
			for _, seen := range []kind{0, kindHeader, kindTally} {
				p := parser{h: Header{Base: 3, CompactRev: 6, Rev: 9}, seen: seen}
				if p.frame(k, b) == nil && (p.whole() < p.h.Base || p.whole() > p.h.Rev) {
					t.Fatalf("whole up to %d of %+v", p.whole(), p.h)
				}
			}
		}
		if have, err := DecodeHave(b); err == nil && !bytes.Equal(have.AppendTo(nil), b) {
			t.Fatalf("%+v is not what was encoded", have)
		}
	})
}
