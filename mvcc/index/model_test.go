package index

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is the dumb index: all versions of every key in a sorted map.
type model struct {
	keys    map[string][]Version // oldest first
	rev     int64
	compact int64
	pos     uint64
	dead    map[uint64]bool
}

func newModel() *model {
	return &model{keys: map[string][]Version{}, rev: 1, dead: map[uint64]bool{}}
}

func (m *model) at(key string, rev int64) (Version, bool) {
	vs := m.keys[key]
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i].Main <= rev {
			return vs[i], true
		}
	}
	return Version{}, false
}

// next is a random version that may follow for key; ok is false where a tombstone has nothing to
// end.
func (m *model) next(r *rand.Rand, key string, sub uint32) (v Version, ok bool) {
	m.pos++
	v = Version{Main: m.rev, Sub: sub, Pos: m.pos}
	last, had := m.at(key, m.rev)
	alive := had && !last.Tombstone
	if alive && r.IntN(3) == 0 {
		v.Tombstone = true
		return v, true
	}
	v.Create, v.Version, v.Lease = m.rev, 1, r.Int64N(3)
	if alive {
		v.Create, v.Version = last.Create, last.Version+1
	}
	return v, true
}

// compaction applies the rule as it is written down, key by key.
func (m *model) compaction(rev int64) {
	m.compact = rev
	for key, vs := range m.keys {
		newest := -1
		for i, v := range vs {
			if v.Main <= rev {
				newest = i
			}
		}
		keep := max(newest, 0)
		if newest >= 0 && vs[newest].Tombstone && vs[newest].Main < rev {
			keep = newest + 1
		}
		for _, v := range vs[:keep] {
			m.dead[v.Pos] = true
		}
		if m.keys[key] = vs[keep:]; len(m.keys[key]) == 0 {
			delete(m.keys, key)
		}
	}
}

// randomKey draws from n keys, some of which are long enough for every way to store one.
func randomKey(r *rand.Rand, n int) []byte {
	i := r.IntN(n)
	key := fmt.Appendf(nil, "/registry/%03d", i)
	switch i % 11 {
	case 0:
		return fmt.Appendf(nil, "%d", i)
	case 1:
		return append(key, bytes.Repeat([]byte{'x'}, i*7%1500)...)
	}
	return key
}

// compare checks all that the index says at rev against the model.
func compare(t *testing.T, x *Index, m *model, rev int64) {
	t.Helper()
	names := slices.Sorted(maps.Keys(m.keys))
	i, there := 0, 0
	x.Ascend(nil, nil, func(id uint32) bool {
		if i >= len(names) || names[i] != string(x.Key(id)) {
			t.Fatalf("key %d is %q", i, x.Key(id))
		}
		if got := x.Find([]byte(names[i])); got != id {
			t.Fatalf("Find(%q) = %d, want %d", names[i], got, id)
		}
		v, ok := x.At(id, rev)
		want, wantOK := m.at(names[i], rev)
		if v != want || ok != wantOK {
			t.Fatalf("At(%q, %d) = %+v %v, want %+v %v", names[i], rev, v, ok, want, wantOK)
		}
		if live := ok && !v.Tombstone; x.liveAt(id, rev) != live {
			t.Fatalf("liveAt(%q, %d) is not %v", names[i], rev, live)
		} else if live {
			there++
		}
		i++
		return true
	})
	if i != len(names) || x.Len() != len(names) {
		t.Fatalf("%d keys, Len %d, want %d", i, x.Len(), len(names))
	}
	if n, next := x.Count(nil, nil, rev, 1<<30); n != there || next != 0 {
		t.Fatalf("Count at %d is %d, not %d (next %d)", rev, n, there, next)
	}
	if err := x.order.valid(); err != nil {
		t.Fatal(err)
	}
	live, versions := 0, 0
	for _, vs := range m.keys {
		versions += len(vs)
		if !vs[len(vs)-1].Tombstone {
			live++
		}
	}
	if x.Live() != live {
		t.Fatalf("Live %d, want %d", x.Live(), live)
	}
	if x.compactor.left == 0 && x.compactor.id == 0 && x.Versions() != versions {
		t.Fatalf("Versions %d, want %d", x.Versions(), versions)
	}
}

func TestAgainstModel(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 1))
		t.Logf("seed %d", seed)
		x, m := New(), newModel()
		dead := map[uint64]bool{}
		keys := 1 + r.IntN(400)
		passing := false
		for range 1500 {
			switch r.IntN(10) {
			case 0:
				if !passing && m.compact < m.rev {
					m.compaction(m.compact + 1 + r.Int64N(m.rev-m.compact))
					x.CompactBegin(m.compact)
					passing = true
				}
			case 1, 2:
				if passing {
					var dropped []uint64
					dropped, done := x.CompactStep(1+r.IntN(40), nil)
					for _, p := range dropped {
						if dead[p] || !m.dead[p] {
							t.Fatalf("position %d dropped", p)
						}
						dead[p] = true
					}
					passing = !done
				}
			case 3:
				if !passing {
					compare(t, x, m, m.compact+r.Int64N(m.rev-m.compact+1))
				}
			default:
				write(t, r, x, m, keys)
			}
		}
		for done := !passing; !done; {
			var dropped []uint64
			dropped, done = x.CompactStep(7, nil)
			for _, p := range dropped {
				dead[p] = true
			}
		}
		if !maps.Equal(dead, m.dead) {
			t.Fatalf("%d positions dropped, want %d", len(dead), len(m.dead))
		}
		for rev := max(m.compact, m.rev-50); rev <= m.rev; rev++ {
			compare(t, x, m, rev)
		}
		if used := x.nodesUsed; used < x.versions {
			t.Fatalf("%d nodes for %d versions", used, x.versions)
		}
	}
}

// write does one transaction of up to three changes in both.
func write(t *testing.T, r *rand.Rand, x *Index, m *model, keys int) {
	t.Helper()
	m.rev++
	for sub := range uint32(1 + r.IntN(3)) {
		key := randomKey(r, keys)
		v, _ := m.next(r, string(key), sub)
		if id := x.Find(key); id != 0 {
			if err := x.Check(id, v); err != nil {
				t.Fatalf("Check: %v", err)
			}
		}
		id, err := x.Put(key, v)
		if err != nil {
			t.Fatal(err)
		}
		if got := x.Newest(id); got != v {
			t.Fatalf("Newest = %+v, want %+v", got, v)
		}
		m.keys[string(key)] = append(m.keys[string(key)], v)
		if !x.Has(key, v.Main, v.Sub) {
			t.Fatalf("Has(%q, %d.%d) is false", key, v.Main, v.Sub)
		}
	}
}

func TestReadsDuringCompaction(t *testing.T) {
	for _, keys := range []int{1, 3, 50} {
		r := rand.New(rand.NewPCG(7, uint64(keys)))
		x, m := New(), newModel()
		for range 20 {
			for range 200 {
				write(t, r, x, m, keys)
			}
			rev := m.compact + 1 + r.Int64N(m.rev-m.compact)
			x.CompactBegin(rev)
			for done := false; !done; {
				_, done = x.CompactStep(10, nil) // faster than the writes, or it never ends
				write(t, r, x, m, keys)
				readsFrom(t, x, m, rev+r.Int64N(m.rev-rev+1))
			}
			m.compaction(rev)
		}
	}
}

// readsFrom compares what is there at a revision, which is not below the pass under way.
func readsFrom(t *testing.T, x *Index, m *model, rev int64) {
	t.Helper()
	for name := range m.keys {
		want, ok := m.at(name, rev)
		var got Version
		if id := x.Find([]byte(name)); id != 0 {
			got, _ = x.At(id, rev)
		}
		if ok && want.Tombstone || !ok {
			if got != (Version{}) && !got.Tombstone {
				t.Fatalf("At(%q, %d) = %+v, want none", name, rev, got)
			}
		} else if got != want {
			t.Fatalf("At(%q, %d) = %+v, want %+v", name, rev, got, want)
		}
	}
}

// TestManyVersions writes one key so often that skips of three levels arise, with lives that end
// now and then, and compacts in between.
func TestManyVersions(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	x := New()
	var all []Version
	v := Version{Main: 1}
	key := []byte("hot")
	first := 0 // in all: what is not compacted
	for range 6 {
		for range 12_000 {
			v.Main++
			v.Pos = uint64(v.Main)
			dead := v.Tombstone
			if v.Tombstone = !dead && v.Main > 2 && r.IntN(1000) == 0; v.Tombstone {
				v.Create, v.Version = 0, 0
			} else if v.Version++; dead || v.Main == 2 {
				v.Create, v.Version = v.Main, 1
			}
			if _, err := x.Put(key, v); err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
		id := x.Find(key)
		for range 2000 {
			want := all[first+r.IntN(len(all)-first)]
			if got, ok := x.At(id, want.Main); !ok || got != want {
				t.Fatalf("At(%d) = %+v, want %+v", want.Main, got, want)
			}
			if !x.Has(key, want.Main, 0) || x.Has(key, want.Main, 1) {
				t.Fatalf("Has(%d)", want.Main)
			}
		}
		first += r.IntN(len(all) - first)
		x.CompactBegin(all[first].Main)
		dropped := 0
		for done := false; !done; {
			var pos []uint64
			pos, done = x.CompactStep(1000, nil)
			dropped += len(pos)
		}
		if x.Versions() != len(all)-first {
			t.Fatalf("%d versions, want %d", x.Versions(), len(all)-first)
		}
	}
}

func TestRestore(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 2))
		t.Logf("seed %d", seed)
		keys := 1 + r.IntN(300)
		m := newModel()
		type record struct {
			key []byte
			v   Version
		}
		var log []record
		for range 800 {
			m.rev++
			for sub := range uint32(1 + r.IntN(3)) {
				key := randomKey(r, keys)
				v, _ := m.next(r, string(key), sub)
				m.keys[string(key)] = append(m.keys[string(key)], v)
				log = append(log, record{key, v})
			}
		}
		rev := r.Int64N(m.rev + 1)
		m.compaction(rev)
		x := New()
		x.RestoreBegin()
		var dead []uint64
		var err error
		for _, rec := range log {
			if dead, err = x.Restore(rec.key, rec.v, rev, dead); err != nil {
				t.Fatal(err)
			}
		}
		x.RestoreEnd()
		for _, p := range dead {
			if !m.dead[p] {
				t.Fatalf("position %d called dead", p)
			}
		}
		if len(dead) != len(m.dead) {
			t.Fatalf("%d dead, want %d", len(dead), len(m.dead))
		}
		for at := rev; at <= m.rev; at += 1 + r.Int64N(40) {
			compare(t, x, m, at)
		}
		for range 100 {
			write(t, r, x, m, keys)
		}
		compare(t, x, m, m.rev)
		next := m.rev - r.Int64N(50)
		m.compaction(next)
		x.CompactBegin(next)
		for done := false; !done; {
			_, done = x.CompactStep(100, nil)
		}
		compare(t, x, m, m.rev)
	}
}

func TestRestoreRefuses(t *testing.T) {
	put := func(main, create, version int64) Version {
		return Version{Main: main, Create: create, Version: version, Pos: uint64(main)}
	}
	tests := []struct {
		name string
		log  []Version
		rev  int64
	}{
		{"revisions go back", []Version{put(5, 5, 1), put(4, 5, 2)}, 1},
		{"revisions go back below the compaction", []Version{put(5, 5, 1), put(4, 5, 2)}, 9},
		{"a version is missing", []Version{put(5, 5, 1), put(6, 5, 3)}, 1},
		{"the first version is missing", []Version{put(6, 5, 2)}, 1},
		{"another life", []Version{put(5, 5, 1), put(6, 6, 1)}, 1},
		{"deleted twice", []Version{put(5, 5, 1), {Main: 6, Tombstone: true},
			{Main: 7, Tombstone: true}}, 1},
		{"deleted before it was put", []Version{{Main: 6, Tombstone: true}}, 1},
	}
	for _, tt := range tests {
		x := New()
		x.RestoreBegin()
		var err error
		for _, v := range tt.log {
			if err == nil {
				_, err = x.Restore([]byte("k"), v, tt.rev, nil)
			}
		}
		if err == nil {
			t.Errorf("%s: no error", tt.name)
		}
	}
}
