package mvcc

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"
	"sort"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/wire"
)

// change is one change in the model's history.
type change struct {
	rev  cairn.Revision
	tomb bool
	kv   cairn.KeyValue // of a tombstone: the key alone
}

// model is the dumb store: the whole history, never compacted, and etcd's rules written as loops
// over it.
type model struct {
	history []change
	rev     int64
	compact int64
}

func newModel() *model { return &model{rev: FirstRev, compact: NeverCompacted} }

// last is the newest change of a key that is not above rev.
func (m *model) last(key []byte, rev int64) (change, bool) {
	for i := len(m.history) - 1; i >= 0; i-- {
		if c := m.history[i]; c.rev.Main <= rev && bytes.Equal(c.kv.Key, key) {
			return c, true
		}
	}
	return change{}, false
}

// at returns the pairs that are there at rev, in the order of the keys.
func (m *model) at(rev int64) []cairn.KeyValue {
	newest := map[string]change{}
	for _, c := range m.history {
		if c.rev.Main <= rev {
			newest[string(c.kv.Key)] = c
		}
	}
	var out []cairn.KeyValue
	for _, c := range newest {
		if !c.tomb {
			out = append(out, c.kv)
		}
	}
	slices.SortFunc(out, func(a, b cairn.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return out
}

func (m *model) put(rev cairn.Revision, key, value []byte, lease int64) {
	kv := cairn.KeyValue{Key: key, Value: value, CreateRevision: rev.Main, ModRevision: rev.Main,
		Version: 1, Lease: lease}
	if c, ok := m.last(key, math.MaxInt64); ok && !c.tomb {
		kv.CreateRevision, kv.Version = c.kv.CreateRevision, c.kv.Version+1
	}
	m.history = append(m.history, change{rev: rev, kv: kv})
}

func (m *model) delete(rev cairn.Revision, key []byte) bool {
	if c, ok := m.last(key, math.MaxInt64); !ok || c.tomb {
		return false
	}
	m.history = append(m.history, change{rev: rev, tomb: true, kv: cairn.KeyValue{Key: key}})
	return true
}

func inRange(k, key, end []byte) bool {
	switch {
	case len(end) == 0:
		return bytes.Equal(k, key)
	case len(end) == 1 && end[0] == 0:
		return bytes.Compare(k, key) >= 0
	}
	return bytes.Compare(k, key) >= 0 && bytes.Compare(k, end) < 0
}

// rangeAt is the reply to r at the newest revision now (etcd txn/range.go, step by step).
func (m *model) rangeAt(now, compact int64, h cairn.Header, r *cairn.RangeRequest) ([]byte, error) {
	rev := r.Revision
	switch {
	case rev > now:
		return nil, cairn.ErrFutureRev
	case rev <= 0:
		rev = now
	}
	if rev < compact {
		return nil, cairn.ErrCompacted
	}
	var kvs []cairn.KeyValue
	for _, kv := range m.at(rev) {
		if inRange(kv.Key, r.Key, r.End) {
			kvs = append(kvs, kv)
		}
	}
	out := wire.AppendHeader(nil, &h)
	count := len(kvs)
	if r.CountOnly {
		return wire.AppendVarint(out, wire.RangeCount, uint64(count)), nil
	}
	plain := r.SortOrder == cairn.SortNone ||
		r.SortTarget == cairn.SortByKey && r.SortOrder == cairn.SortAscend
	filters := r.MinModRevision|r.MaxModRevision|r.MinCreateRevision|r.MaxCreateRevision != 0
	if r.Limit > 0 && plain && !filters && len(kvs) > int(r.Limit)+1 {
		kvs = kvs[:r.Limit+1]
	}
	kvs = slices.DeleteFunc(kvs, func(kv cairn.KeyValue) bool {
		return r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
			r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision ||
			r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision ||
			r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision
	})
	sortModel(kvs, r)
	more := r.Limit > 0 && len(kvs) > int(r.Limit)
	if more {
		kvs = kvs[:r.Limit]
	}
	for _, kv := range kvs {
		if r.KeysOnly {
			kv.Value = nil
			if r.SortTarget != cairn.SortByValue {
				kv.Lease = 0
			}
		}
		out = wire.AppendKV(out, wire.RangeKVs, wire.AppendKeyValue(nil, &kv))
	}
	out = wire.AppendBool(out, wire.RangeMore, more)
	return wire.AppendVarint(out, wire.RangeCount, uint64(count)), nil
}

type sortKVs struct {
	kvs  []cairn.KeyValue
	less func(a, b *cairn.KeyValue) bool
}

func (s sortKVs) Len() int           { return len(s.kvs) }
func (s sortKVs) Swap(i, j int)      { s.kvs[i], s.kvs[j] = s.kvs[j], s.kvs[i] }
func (s sortKVs) Less(i, j int) bool { return s.less(&s.kvs[i], &s.kvs[j]) }

func sortModel(kvs []cairn.KeyValue, r *cairn.RangeRequest) {
	if r.SortOrder == cairn.SortNone && r.SortTarget == cairn.SortByKey {
		return
	}
	s := sortKVs{kvs, map[cairn.SortTarget]func(a, b *cairn.KeyValue) bool{
		cairn.SortByKey: func(a, b *cairn.KeyValue) bool {
			return bytes.Compare(a.Key, b.Key) < 0
		},
		cairn.SortByVersion: func(a, b *cairn.KeyValue) bool { return a.Version < b.Version },
		cairn.SortByCreate: func(a, b *cairn.KeyValue) bool {
			return a.CreateRevision < b.CreateRevision
		},
		cairn.SortByMod: func(a, b *cairn.KeyValue) bool { return a.ModRevision < b.ModRevision },
		cairn.SortByValue: func(a, b *cairn.KeyValue) bool {
			return bytes.Compare(a.Value, b.Value) < 0
		},
	}[r.SortTarget]}
	switch {
	case r.SortOrder == cairn.SortDescend:
		sort.Sort(sort.Reverse(s))
	case r.SortTarget != cairn.SortByKey:
		sort.Sort(s)
	}
}

// retained is what compaction to the model's compact revision leaves, up to rev.
func (m *model) retained(rev int64) []change {
	newest := map[string]cairn.Revision{}
	for _, c := range m.history {
		if c.rev.Main <= m.compact {
			newest[string(c.kv.Key)] = c.rev
		}
	}
	var out []change
	for _, c := range m.history {
		if c.rev.Main > rev {
			break
		}
		dropped := c.rev.Main <= m.compact && newest[string(c.kv.Key)] != c.rev ||
			c.rev.Main < m.compact && c.tomb
		if !dropped {
			out = append(out, c)
		}
	}
	return out
}

// hash is etcd's HashKV by its own words: Keep(rev), then every record that is left.
func (m *model) hash(rev int64) uint32 {
	keep := map[cairn.Revision]bool{}
	for _, kv := range m.at(rev) {
		c, _ := m.last(kv.Key, rev)
		keep[c.rev] = true
	}
	var b []byte
	for _, c := range m.retained(rev) {
		if c.rev.Main <= m.compact && len(keep) > 0 && !keep[c.rev] {
			continue
		}
		if c.tomb && c.rev.Main == m.compact {
			continue
		}
		b = binary.BigEndian.AppendUint64(b, uint64(c.rev.Main))
		b = append(b, '_')
		b = binary.BigEndian.AppendUint64(b, uint64(c.rev.Sub))
		if c.tomb {
			b = append(b, 't')
		}
		b = wire.AppendKeyValue(b, &c.kv)
	}
	return crc32.Checksum(append([]byte("key"), b...), crc32.MakeTable(crc32.Castagnoli))
}
