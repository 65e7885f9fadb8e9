package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestAscend(t *testing.T) {
	x := New()
	var all []string
	for i := range 1000 {
		key := fmt.Sprintf("k%04d", i*7%1000)
		all = append(all, key)
		if _, err := x.Put([]byte(key), Version{Main: int64(i + 2), Create: int64(i + 2),
			Version: 1, Pos: 1}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	r := rand.New(rand.NewPCG(3, 3))
	for range 500 {
		key, end := fmt.Sprintf("k%04d", r.IntN(1100)-50), fmt.Sprintf("k%04d", r.IntN(1100))
		if r.IntN(5) == 0 {
			end = ""
		}
		var want, got []string
		for _, k := range all {
			if k >= key && (end == "" || k < end) {
				want = append(want, k)
			}
		}
		limit := len(want)
		if limit > 0 && r.IntN(2) == 0 {
			limit = 1 + r.IntN(limit)
			want = want[:limit]
		}
		x.Ascend([]byte(key), []byte(end), func(id uint32) bool {
			got = append(got, string(x.Key(id)))
			return len(got) < limit
		})
		if !slices.Equal(got, want) {
			t.Fatalf("[%q, %q): %d keys, want %d", key, end, len(got), len(want))
		}
	}
}

func TestMove(t *testing.T) {
	x := New()
	key := []byte("k")
	versions := []Version{
		{Main: 2, Create: 2, Version: 1, Pos: 20},
		{Main: 3, Create: 2, Version: 2, Pos: 30},
		{Main: 4, Tombstone: true, Pos: 40},
		{Main: 5, Create: 5, Version: 1, Pos: 50, Lease: 9},
		{Main: 5, Sub: 1, Create: 5, Version: 2, Pos: 51},
	}
	for _, v := range versions {
		if _, err := x.Put(key, v); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range versions {
		if !x.Has(key, v.Main, v.Sub) || x.Has(key, v.Main, v.Sub+2) {
			t.Errorf("Has %d.%d", v.Main, v.Sub)
		}
		if x.Move(key, v.Main, v.Sub, v.Pos+1, 7) {
			t.Errorf("%d.%d moved from where it was not", v.Main, v.Sub)
		}
		if !x.Move(key, v.Main, v.Sub, v.Pos, v.Pos+100) {
			t.Errorf("%d.%d did not move", v.Main, v.Sub)
		}
		if got, _ := x.At(x.Find(key), v.Main); got.Sub == v.Sub && got.Pos != v.Pos+100 {
			t.Errorf("%d.%d is not where it moved", v.Main, v.Sub)
		}
	}
	for _, main := range []int64{1, 6} {
		if x.Has(key, main, 0) || x.Move(key, main, 0, 20, 21) {
			t.Errorf("revision %d exists", main)
		}
	}
	if x.Has([]byte("x"), 2, 0) || x.Move([]byte("x"), 2, 0, 20, 21) {
		t.Error("key x exists")
	}
}

func TestLimits(t *testing.T) {
	x := New()
	if _, err := x.Put([]byte("k"), Version{Main: 2, Sub: MaxSub + 1}); err == nil {
		t.Error("sub revision above the limit")
	}
	if _, err := x.Put([]byte(strings.Repeat("k", MaxKeyBytes+1)), Version{Main: 2}); err == nil {
		t.Error("key above the limit")
	}
	if x.Len() != 0 {
		t.Error("a refused key is in the index")
	}
}

// TestSlotsAreUsedAgain puts and removes as many keys as it takes to see memory grow without
// bounds.
func TestSlotsAreUsedAgain(t *testing.T) {
	x := New()
	rev, size := int64(1), 0
	for round := range 50 {
		for i := range 2000 {
			rev++
			key := fmt.Appendf(nil, "%d-%d%s", round, i, strings.Repeat("x", i%5*400))
			if _, err := x.Put(key, Version{Main: rev, Create: rev, Version: 1}); err != nil {
				t.Fatal(err)
			}
			rev++
			if _, err := x.Put(key, Version{Main: rev, Tombstone: true}); err != nil {
				t.Fatal(err)
			}
		}
		rev++
		x.CompactBegin(rev)
		for done := false; !done; {
			_, done = x.CompactStep(1000, nil)
		}
		if x.Len() != 0 || x.nodesUsed != 0 {
			t.Fatalf("%d keys, %d nodes left", x.Len(), x.nodesUsed)
		}
		if round == 10 {
			size = x.Bytes()
		}
	}
	if x.Bytes() > size*12/10 {
		t.Errorf("%d bytes grew to %d", size, x.Bytes())
	}
}

// TestClasses checks every key length against the slot it gets.
func TestClasses(t *testing.T) {
	last := -1
	for n := range maxSlabKey + 1 {
		class, size, bits := classOf(n)
		if size < n || size < 4 || n > 64 && size-n > n/8 || class >= arenaClasses || bits == 0 {
			t.Fatalf("%d bytes: class %d of %d bytes", n, class, size)
		}
		if class != last && class != last+1 {
			t.Fatalf("%d bytes: class %d after %d", n, class, last)
		}
		last = class
	}
	if last != arenaClasses-1 {
		t.Fatalf("last class is %d", last)
	}
}
