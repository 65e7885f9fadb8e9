package watch

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/wire"
)

// model is a store with all its past in memory: the Source of the hub under test, and the truth
// that clients compare with. It forgets nothing, but answers as a compacted store does.
type model struct {
	mu      sync.Mutex
	rev     int64
	compact int64
	events  []mvcc.Event
	keys    map[string][]version // in revision order
	// midScan, if set, is called once in the middle of a Changes, with mu free.
	midScan func()
	failAt  int64 // Changes and PrevKV fail with fail at this revision
	fail    error
}

type version struct {
	rev, create, version int64
	kv                   []byte // nil for a tombstone
}

func newModel() *model { return &model{rev: 1, keys: make(map[string][]version)} }

// write is one change of a transaction.
type write struct {
	key    string
	value  string
	delete bool
}

// commit applies a transaction and returns its events; none if it changes nothing.
func (m *model) commit(ws ...write) []mvcc.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := len(m.events)
	for _, w := range ws {
		rev := cairn.Revision{Main: m.rev + 1, Sub: int64(len(m.events) - from)}
		vs := m.keys[w.key]
		v := version{rev: rev.Main, create: rev.Main, version: 1}
		live := len(vs) > 0 && vs[len(vs)-1].kv != nil
		if live {
			v.create, v.version = vs[len(vs)-1].create, vs[len(vs)-1].version+1
		}
		ev := mvcc.Event{Rev: rev, Key: []byte(w.key), Delete: w.delete, Create: !w.delete && !live}
		kv := cairn.KeyValue{Key: ev.Key, ModRevision: rev.Main}
		switch {
		case w.delete && !live:
			continue
		case !w.delete:
			kv.Value, kv.CreateRevision, kv.Version = []byte(w.value), v.create, v.version
			v.kv = wire.AppendKeyValue(nil, &kv)
		}
		ev.KV = wire.AppendKeyValue(nil, &kv)
		m.keys[w.key] = append(vs, v)
		m.events = append(m.events, ev)
	}
	if len(m.events) > from {
		m.rev++
	}
	return slices.Clip(m.events[from:])
}

func (m *model) compactTo(rev int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.compact = max(m.compact, min(rev, m.rev))
}

func (m *model) Rev() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rev
}

func (m *model) CompactRev() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.compact
}

// Changes loses the events below a compaction that happens while it runs, as the worst store may.
func (m *model) Changes(_ context.Context, from, to int64, maxEvents, maxBytes int,
	fn func(ev *mvcc.Event) error,
) (next int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from < m.compact {
		return from, cairn.ErrCompacted
	}
	n, size, last := 0, 0, int64(0)
	for i := m.first(from); i < len(m.events); i++ {
		ev := &m.events[i]
		if ev.Rev.Main > to {
			break
		}
		if n > 0 && ev.Rev.Main > last && (n >= maxEvents || size >= maxBytes) {
			return ev.Rev.Main, nil
		}
		if m.fail != nil && ev.Rev.Main == m.failAt {
			return ev.Rev.Main, m.fail
		}
		if hook := m.midScan; hook != nil && n == 3 {
			m.midScan = nil
			m.mu.Unlock()
			hook()
			m.mu.Lock()
		}
		last = ev.Rev.Main
		n++
		size += len(ev.KV)
		if ev.Rev.Main >= m.compact {
			m.mu.Unlock()
			err := fn(ev)
			m.mu.Lock()
			if err != nil {
				return last, err
			}
		}
	}
	return to + 1, nil
}

// first is the index of the first event at or after rev.
func (m *model) first(rev int64) int {
	i, _ := slices.BinarySearchFunc(m.events, rev, func(ev mvcc.Event, rev int64) int {
		if ev.Rev.Main < rev {
			return -1
		}
		return 1
	})
	return i
}

func (m *model) PrevKV(ev *mvcc.Event) (kv []byte, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil && ev.Rev.Main == m.failAt {
		return nil, false, m.fail
	}
	if ev.Rev.Main-1 < m.compact {
		return nil, false, nil
	}
	kv = m.before(ev)
	return kv, kv != nil, nil
}

// before is the KeyValue of ev's key just before ev, whatever was compacted.
func (m *model) before(ev *mvcc.Event) []byte {
	vs := m.keys[string(ev.Key)]
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i].rev < ev.Rev.Main {
			return vs[i].kv
		}
	}
	return nil
}

// wants says whether a watcher created by r gets ev, revisions aside.
func wants(r *CreateRequest, ev *mvcc.Event) bool {
	if ev.Delete && r.NoDelete || !ev.Delete && r.NoPut {
		return false
	}
	key := r.Key
	if len(key) == 0 {
		key = []byte{0}
	}
	switch {
	case len(r.End) == 0:
		return bytes.Equal(ev.Key, key)
	case len(r.End) == 1 && r.End[0] == 0:
		return bytes.Compare(ev.Key, key) >= 0
	}
	return bytes.Compare(ev.Key, key) >= 0 && bytes.Compare(ev.Key, r.End) < 0
}

// expected is the events that the watcher has to get, in order.
func (m *model) expected(r *CreateRequest, from, to int64) []*mvcc.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var evs []*mvcc.Event
	for i := m.first(from); i < len(m.events) && m.events[i].Rev.Main <= to; i++ {
		if wants(r, &m.events[i]) {
			evs = append(evs, &m.events[i])
		}
	}
	return evs
}

// randomTxn makes a transaction over a few keys, so that watchers and versions meet.
func randomTxn(rng *rand.Rand) []write {
	keys := rng.Perm(12)
	n := 1
	if rng.IntN(4) == 0 {
		n += rng.IntN(6)
	}
	ws := make([]write, n)
	for i := range ws {
		ws[i] = write{
			key:    fmt.Sprintf("%c/%d", 'a'+keys[i]%3, keys[i]/3),
			value:  string(bytes.Repeat([]byte{'v'}, rng.IntN(60))),
			delete: rng.IntN(4) == 0,
		}
		if rng.IntN(40) == 0 {
			ws[i].value = string(bytes.Repeat([]byte{'V'}, 700))
		}
	}
	return ws
}
