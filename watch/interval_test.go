package watch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTree compares the tree with a list that is searched from end to end.
func TestTree(t *testing.T) {
	type interval struct{ start, end string } // end "" is none
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 2))
		word := func(n int) string {
			b := make([]byte, 1+rng.IntN(n))
			for i := range b {
				b[i] = byte('a' + rng.IntN(4))
			}
			return string(b)
		}
		var tr tree
		in := make(map[interval]*bucket)
		for range 600 {
			iv := interval{start: word(4)}
			if rng.IntN(8) > 0 {
				iv.end = iv.start + word(3)
			}
			var end []byte
			if iv.end != "" {
				end = []byte(iv.end)
			}
			if b := in[iv]; b != nil && rng.IntN(2) == 0 {
				tr.remove(b.start, b.end)
				delete(in, iv)
			} else if got := tr.get([]byte(iv.start), end); b != nil && got != b {
				t.Fatalf("seed %d: %v is twice in the tree", seed, iv)
			} else {
				in[iv] = got
			}
			var want []string
			key := word(6)
			for iv := range in {
				if iv.start <= key && (iv.end == "" || key < iv.end) {
					want = append(want, fmt.Sprint(iv))
				}
			}
			var got []string
			for _, b := range tr.hold([]byte(key), nil) {
				got = append(got, fmt.Sprint(interval{string(b.start), string(b.end)}))
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: %q is held by %v, want %v", seed, key, got, want)
			}
			if tr.size != len(in) {
				t.Fatalf("seed %d: size %d, want %d", seed, tr.size, len(in))
			}
			if err := tr.root.valid(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}

// valid checks the order, the heap and the ends of a subtree.
func (n *node) valid() error {
	if n == nil {
		return nil
	}
	end := n.end
	for _, c := range []*node{n.left, n.right} {
		if c == nil {
			continue
		}
		if c.priority > n.priority {
			return fmt.Errorf("%q: not a heap", n.start)
		}
		if before := n.order(c.start, c.end) < 0; before != (c == n.left) {
			return fmt.Errorf("%q: not in order", n.start)
		}
		if err := c.valid(); err != nil {
			return err
		}
		end = laterEnd(end, c.maxEnd)
	}
	if (end == nil) != (n.maxEnd == nil) || !bytes.Equal(end, n.maxEnd) {
		return fmt.Errorf("%q: largest end is %q, want %q", n.start, n.maxEnd, end)
	}
	return nil
}

// TestTreeDepth inserts in the worst order for a tree without balance.
func TestTreeDepth(t *testing.T) {
	var tr tree
	for i := range 1 << 14 {
		k := fmt.Sprintf("/%06d/", i)
		tr.get([]byte(k), []byte(k+"\xff"))
	}
	var depth func(n *node) int
	depth = func(n *node) int {
		if n == nil {
			return 0
		}
		return 1 + max(depth(n.left), depth(n.right))
	}
	if d := depth(tr.root); d > 60 {
		t.Errorf("depth %d of %d intervals", d, tr.size)
	}
}
