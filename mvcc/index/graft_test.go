package index

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// entryOf is a version with its key, as a log has it.
type entryOf struct {
	key string
	v   Version
}

// retained is what a compaction to rev leaves of a history, in order, from above base on.
func retained(log []entryOf, base, rev int64) (out []entryOf) {
	newest := map[string]Version{}
	for _, e := range log {
		if e.v.Main <= rev {
			newest[e.key] = e.v
		}
	}
	for _, e := range log {
		if e.v.Main <= base || e.v.Main <= rev &&
			(newest[e.key] != e.v || e.v.Tombstone && e.v.Main < rev) {
			continue
		}
		out = append(out, e)
	}
	return out
}

// TestGraft gives one index a whole history, and another a part of it and then what a compaction
// has left of the rest.
func TestGraft(t *testing.T) {
	gaps := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		t.Logf("seed %d", seed)
		m := newModel()
		keys := 1 + r.IntN(60)
		var log []entryOf
		for range 600 {
			m.rev++
			for sub := range uint32(1 + r.IntN(3)) {
				key := randomKey(r, keys)
				v, _ := m.next(r, string(key), sub)
				m.keys[string(key)] = append(m.keys[string(key)], v)
				log = append(log, entryOf{string(key), v})
			}
		}
		base := 1 + r.Int64N(m.rev)
		at := base + 1 + r.Int64N(m.rev-base+1) // of the compaction
		x := New()
		for _, e := range log {
			if e.v.Main <= base {
				if _, err := x.Put([]byte(e.key), e.v); err != nil {
					t.Fatal(err)
				}
			}
		}
		gaps += graftAll(t, x, m, log, base, at)
		readsFrom(t, x, m, base) // a reader from before sees what it saw
		m.compaction(at)
		x.CompactBegin(at)
		for done := false; !done; {
			_, done = x.CompactStep(1+r.IntN(50), nil)
		}
		for rev := at; rev <= m.rev; rev += 1 + r.Int64N(20) {
			compare(t, x, m, rev)
		}
		for range 100 {
			write(t, r, x, m, keys)
		}
		compare(t, x, m, m.rev)
	}
	if gaps == 0 {
		t.Error("no gap was ever made")
	}
}

// graftAll adds what a compaction has left above base, and below it ends what is gone.
func graftAll(t *testing.T, x *Index, m *model, log []entryOf, base, at int64) (gaps int) {
	t.Helper()
	live := map[string]bool{}
	for _, e := range retained(log, 0, at) {
		if e.v.Main <= base {
			live[e.key] = true
		}
	}
	add := func(key string, v Version) {
		t.Helper()
		if id := x.Find([]byte(key)); id != 0 && x.Check(id, v) != nil {
			gaps++
		}
		if err := x.Graft([]byte(key), v, at); err != nil {
			t.Fatalf("%q %+v: %v", key, v, err)
		}
	}
	ended := base >= at-1
	end := func() {
		sub := uint32(100)
		for _, key := range slices.Sorted(maps.Keys(m.keys)) {
			id := x.Find([]byte(key))
			if id != 0 && !live[key] && !x.Newest(id).Tombstone && x.Newest(id).Main <= base {
				add(key, Version{Main: at - 1, Sub: sub, Tombstone: true})
				sub++
			}
		}
		ended = true
	}
	for _, e := range retained(log, base, at) {
		if e.v.Main >= at && !ended {
			end()
		}
		add(e.key, e.v)
	}
	if !ended {
		end()
	}
	return gaps
}

// TestGraftHot leaves versions out of one key's long history, at random and where skips are made.
func TestGraftHot(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	x := New()
	var all []Version
	v := Version{Main: 1}
	for range 20_000 {
		v.Main++
		v.Pos = uint64(v.Main)
		switch {
		case v.Version == 0 || r.IntN(500) == 0:
			v.Create, v.Version = v.Main, 1
		case len(all)%skipEvery == 0 || r.IntN(20) == 0:
			v.Version += 1 + r.Int64N(9)
		default:
			v.Version++
		}
		if err := x.Graft([]byte("hot"), v, 1<<40); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	id := x.Find([]byte("hot"))
	for _, want := range all {
		if got, ok := x.At(id, want.Main); !ok || got != want {
			t.Fatalf("At(%d) = %+v, want %+v", want.Main, got, want)
		}
	}
}

func TestGraftRefuses(t *testing.T) {
	put := func(main, create, version int64) Version {
		return Version{Main: main, Create: create, Version: version}
	}
	for _, tt := range []struct {
		name string
		v    Version
	}{
		{"revisions go back", put(4, 4, 1)},
		{"the same revision", put(5, 5, 2)},
		{"a gap above the compaction", put(11, 5, 3)},
		{"too many changes", Version{Main: 6, Sub: MaxSub + 1, Tombstone: true}},
	} {
		x := New()
		if _, err := x.Put([]byte("k"), put(5, 5, 1)); err != nil {
			t.Fatal(err)
		}
		if err := x.Graft([]byte("k"), tt.v, 10); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
		if x.Versions() != 1 {
			t.Errorf("%s: %d versions", tt.name, x.Versions())
		}
	}
	if err := New().Graft([]byte("k"), put(11, 5, 2), 10); err == nil {
		t.Error("above the compaction a key begins with its second version")
	}
}
