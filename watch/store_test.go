package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
)

// newStoreWorld is a world whose hub reads a store on a disk in memory; the model says what is
// right.
func newStoreWorld(seed uint64) (*world, error) {
	log, err := revlog.Open(vfs.NewMem(), "revlog", revlog.Options{}, revlog.Mark{})
	if err != nil {
		return nil, err
	}
	store, err := mvcc.Open(log, mvcc.FirstRev, mvcc.NeverCompacted)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	m := newModel()
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), m: m, source: storeSource{store, m}, store: store,
		clk: clock.NewManual(time.Unix(1000, 0)), end: log.Close,
	}
	return w, w.open()
}

// storeSource is a store with the model's hook in the middle of a scan.
type storeSource struct {
	*mvcc.Store
	m *model
}

func (s storeSource) Changes(ctx context.Context, from, to int64, maxEvents, maxBytes int,
	fn func(ev *mvcc.Event) error,
) (next int64, err error) {
	n := 0
	return s.Store.Changes(ctx, from, to, maxEvents, maxBytes, func(ev *mvcc.Event) error {
		if hook := s.m.midScan; hook != nil && n == 3 {
			s.m.midScan = nil
			hook()
		}
		n++
		return fn(ev)
	})
}

// commitToStore does in the store what was done in the model.
func (w *world) commitToStore(ws []write) (copies []mvcc.Event) {
	tx := w.store.Begin()
	for _, o := range ws {
		var err error
		if o.delete {
			_, _, err = tx.Delete([]byte(o.key))
		} else {
			_, _, err = tx.Put([]byte(o.key), []byte(o.value), cairn.LeaseID(0))
		}
		w.err = errors.Join(w.err, err)
	}
	tx.End()
	rev, events, err := w.store.Publish()
	w.err = errors.Join(w.err, err)
	if rev != w.m.Rev() {
		w.err = errors.Join(w.err, fmt.Errorf("store at %d, model at %d", rev, w.m.Rev()))
	}
	for _, ev := range events {
		ev.Key, ev.KV = bytes.Clone(ev.Key), bytes.Clone(ev.KV)
		copies = append(copies, ev)
	}
	return copies
}

// compactStore compacts the store where the model is, and does some of the work.
func (w *world) compactStore() {
	err := w.store.Compact(w.m.CompactRev())
	if !errors.Is(err, cairn.ErrCompacted) {
		w.err = errors.Join(w.err, err)
	}
	_, _, err = w.store.Publish()
	w.err = errors.Join(w.err, err)
	w.store.CompactStep(w.rng.IntN(100))
}
