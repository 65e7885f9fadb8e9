package index

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// has says whether a table leads from a hash to an id.
func (t *table) has(hash, id uint32) bool {
	slots := t.tables[t.number(hash)]
	for i := hash % tableSlots; slots[i].id != 0; i = (i + 1) % tableSlots {
		if slots[i] == (tableSlot{hash, id}) {
			return true
		}
	}
	return false
}

// valid checks that every table is where its hashes lead to, and counts right.
func (t *table) valid() error {
	if len(t.dir) != 1<<t.depth || len(t.meta) != len(t.tables) {
		return fmt.Errorf("depth %d, %d places, %d tables, %d descriptions",
			t.depth, len(t.dir), len(t.tables), len(t.meta))
	}
	places := make([]int, len(t.tables))
	for _, n := range t.dir {
		places[n]++
	}
	for n, slots := range t.tables {
		if want := 1 << (t.depth - t.meta[n].depth); places[n] != want {
			return fmt.Errorf("table %d has %d places, want %d", n, places[n], want)
		}
		used := 0
		for _, s := range slots {
			if s.id == 0 {
				continue
			}
			if used++; t.number(s.hash) != uint32(n) || !t.has(s.hash, s.id) {
				return fmt.Errorf("table %d: id %d is not found", n, s.id)
			}
		}
		if used != int(t.meta[n].used) {
			return fmt.Errorf("table %d counts %d, has %d", n, t.meta[n].used, used)
		}
	}
	return nil
}

// TestTable grows a table over many splits and empties it, with hashes that cluster: in the bits
// that choose a table, in those that choose a slot, or that are the same for several ids.
func TestTable(t *testing.T) {
	masks := map[string]uint32{
		"random": 1<<32 - 1, "few tables": 0x00f0_ffff, "few slots": 0xffff_f00f,
		"equal": 0xfff0_0ff0,
	}
	for name, mask := range masks {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(4, uint64(mask)))
			tab := newTable()
			hashes := map[uint32]uint32{} // by id
			for id := uint32(1); id <= 40_000; id++ {
				hash := r.Uint32() & mask
				if !tab.insert(hash, id) {
					t.Fatal("no room")
				}
				hashes[id] = hash
				if r.IntN(3) == 0 {
					gone := 1 + r.Uint32N(id)
					tab.remove(hashes[gone], gone) // perhaps a second time
					delete(hashes, gone)
				}
			}
			if err := tab.valid(); err != nil {
				t.Fatal(err)
			}
			for id, hash := range hashes {
				if !tab.has(hash, id) {
					t.Fatalf("id %d is lost", id)
				}
				tab.remove(hash, id)
				if tab.has(hash, id) {
					t.Fatalf("id %d is still there", id)
				}
			}
			if err := tab.valid(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestManyReaders has many readers in the tree at once.
func TestManyReaders(t *testing.T) {
	x := New()
	const keys = 1000
	for i := range int64(keys) {
		key := fmt.Appendf(nil, "k%04d", i)
		if _, err := x.Put(key, Version{Main: i + 2, Create: i + 2, Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 6))
			var ids []uint32
			for range 50 {
				from := r.IntN(keys)
				to := from + 1 + r.IntN(keys-from)
				ids = x.AppendRange(ids[:0], fmt.Appendf(nil, "k%04d", from),
					fmt.Appendf(nil, "k%04d", to), keys)
				if len(ids) != to-from || string(x.Key(ids[0])) != fmt.Sprintf("k%04d", from) {
					t.Errorf("[%d, %d): %d keys", from, to, len(ids))
					return
				}
			}
		})
	}
	wg.Wait()
}
