package main

import "testing"

// A small heap may grow by much, a large one by a quarter, and nothing in between by less than a
// larger one in bytes.
func TestGCPercent(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int{0: 400, 4 * mib: 400, 16 * mib: 100, 25 * mib: 50,
		64 * mib: 25, 1 << 40: 25} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d MiB: %d percent, want %d", live/mib, got, want)
		}
	}
	if live := liveHeap(); live > 1<<40 {
		t.Errorf("%d bytes are alive", live)
	}
}
