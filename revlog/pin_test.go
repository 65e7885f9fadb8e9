package revlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// lockedOwner is an owner whose index readers may use beside the writer.
type lockedOwner struct {
	mu sync.RWMutex // guards the owner's index and records
	*owner
}

func (o *lockedOwner) Compaction() (done, target int64) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.owner.Compaction()
}

func (o *lockedOwner) Alive(batch []Candidate) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	o.owner.Alive(batch)
}

func (o *lockedOwner) Moved(batch []Move) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owner.Moved(batch)
}

// newest returns the position of a key's newest version.
func (o *lockedOwner) newest(key string) (Pos, cairn.Revision, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	list := o.index[key]
	if len(list) == 0 {
		return 0, cairn.Revision{}, false
	}
	v := list[len(list)-1]
	return v.pos, o.recs[v.at].rev, true
}

// TestPinsUnderReclaim reads through real mappings without locks while files are rewritten and
// unmapped: an unmapped page would be a fault.
func TestPinsUnderReclaim(t *testing.T) {
	const keys = 64
	key := func(i int) string { return fmt.Sprintf("key-%d", i) }
	dir := filepath.Join(t.TempDir(), "revlog")
	log, err := Open(vfs.OS(), dir, Options{SegmentBytes: 16 << 10}, Mark{})
	if err != nil {
		t.Fatal(err)
	}
	o := &lockedOwner{owner: &owner{
		log: log, index: map[string][]version{}, rng: testSeed(t, 1),
	}}
	var stop atomic.Bool
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for i := range 3 {
		wg.Go(func() { errs <- o.read(&stop, rand.New(rand.NewPCG(9, uint64(i))), key, keys) })
	}
	wg.Go(func() { errs <- o.scanAll(&stop) })
	var saved atomic.Pointer[Checkpoint]
	saved.Store(&Checkpoint{})
	wg.Go(func() { errs <- o.reclaimUntil(&stop, &saved) })
	wg.Go(func() {
		for !stop.Load() {
			if err := errors.Join(log.Prepare(), log.Sync()); err != nil {
				errs <- err
				return
			}
			log.Stats()
		}
	})
	for i := 0; log.Stats().Reclaim.Rewrites < 8 && i < 100_000; i++ {
		if err := o.write(key(o.rng.IntN(keys)), i, &saved); err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if s := log.Stats(); s.Reclaim.Rewrites < 8 {
		t.Errorf("too few rewrites: %+v", s)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}

// write puts a key, and now and then checkpoints and compacts.
func (o *lockedOwner) write(key string, i int, saved *atomic.Pointer[Checkpoint]) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.txn(put(key, o.value(100+i%300))); err != nil {
		return err
	}
	if err := o.log.Flush(); err != nil {
		return err
	}
	if i%200 == 0 {
		if err := o.checkpoint(); err != nil {
			return err
		}
		saved.Store(&Checkpoint{Mark: o.saved.mark, CompactRev: o.saved.compactRev})
		o.compact(o.rev - 20)
	}
	o.compactStep(2)
	return nil
}

func (o *lockedOwner) read(
	stop *atomic.Bool, rng *rand.Rand, key func(int) string, keys int,
) error {
	for !stop.Load() {
		pin := o.log.Pin()
		for range 8 {
			k := key(rng.IntN(keys))
			pos, rev, ok := o.newest(k)
			if !ok {
				continue
			}
			for range 4 { // the position stays good, however often the record moves meanwhile
				r, err := o.log.Read(pos)
				if err != nil {
					return err
				}
				if want := put(k, nil).kv; r.Rev != rev || !bytes.HasPrefix(r.KV, want) {
					return fmt.Errorf("read %v %q, want %v of %q", r.Rev, r.KV, rev, k)
				}
			}
		}
		pin.Release()
	}
	return nil
}

func (o *lockedOwner) scanAll(stop *atomic.Bool) error {
	for !stop.Load() {
		var last cairn.Revision
		err := o.log.Scan(last, 1<<62, func(_ Pos, r Record) (bool, error) {
			if !last.Less(r.Rev) {
				return false, fmt.Errorf("scan: %v after %v", r.Rev, last)
			}
			last = r.Rev
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *lockedOwner) reclaimUntil(stop *atomic.Bool, saved *atomic.Pointer[Checkpoint]) error {
	for !stop.Load() {
		if _, err := o.log.ReclaimStep(o, *saved.Load(), 4<<10); err != nil {
			return err
		}
	}
	return nil
}

// TestPinHoldsMapping checks when a file that was replaced is unmapped.
func TestPinHoldsMapping(t *testing.T) {
	fs := vfs.NewMem()
	o, err := newOwner(fs, Options{SegmentBytes: MinSegmentBytes}, testSeed(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if err := o.txn(put("key", o.value(1000))); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.log.Flush(); err != nil {
		t.Fatal(err)
	}
	before := o.log.Pin()
	pos := o.index["key"][0].pos
	want, err := o.log.Read(pos)
	if err != nil {
		t.Fatal(err)
	}
	rev := want.Rev
	if err := o.settle(); err != nil {
		t.Fatal(err)
	}
	after := o.log.Pin()
	if o.log.Stats().PinnedBytes == 0 {
		t.Fatal("nothing is kept for the pin")
	}
	if r, err := o.log.Read(pos); err != nil || r.Rev != rev {
		t.Fatal(r.Rev, err)
	}
	if err := o.log.Close(); !errors.Is(err, ErrPinned) {
		t.Fatal(err)
	}
	o.log.failed.Store(nil) // as if it had not been closed
	before.Release()
	if _, err := o.reclaimStep(); err != nil {
		t.Fatal(err)
	}
	if n := o.log.Stats().PinnedBytes; n != 0 {
		t.Fatalf("%d bytes kept for a pin that was taken later", n)
	}
	if _, err := o.log.Read(pos); !errors.Is(err, ErrStale) {
		t.Fatal(err)
	}
	after.Release()
}

// TestPinEpochs compares the counters with the definition, one random step at a time.
func TestPinEpochs(t *testing.T) {
	rng := testSeed(t, 5)
	var p pins
	type held struct {
		pin   Pin
		epoch uint64
	}
	var pinned []held
	for range 10_000 {
		switch rng.IntN(3) {
		case 0:
			pinned = append(pinned, held{p.pin(), p.epoch.Load()})
		case 1:
			if n := len(pinned); n > 0 {
				i := rng.IntN(n)
				pinned[i].pin.Release()
				pinned[i] = pinned[n-1]
				pinned = pinned[:n-1]
			}
		case 2:
			e := p.epoch.Load()
			want := true
			for _, h := range pinned {
				want = want && h.epoch == e
			}
			if p.advance() != want {
				t.Fatalf("epoch %d, pins %v: advance is %v", e, pinned, !want)
			}
		}
		if p.free() != (len(pinned) == 0) {
			t.Fatal("free is wrong")
		}
	}
}
