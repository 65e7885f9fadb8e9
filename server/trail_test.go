package server

import "testing"

func TestTrail(t *testing.T) {
	const mib = 1 << 20
	var tr trail
	for i, c := range []struct {
		index uint64
		bytes int64
		to    uint64
	}{
		{100, mib, 100}, // nothing is known of what is before the first checkpoint
		{2000, mib, 100},
		{4000, mib, 100},
		{6000, mib, 1000}, // 5000 entries
		{6100, 130 * mib, 6100},
		{6200, 100 * mib, 6100},
		{6300, 27 * mib, 6100},
		{6400, 2 * mib, 6200}, // more than 128 MiB since the checkpoint before
		{20000, mib, 15000},
	} {
		if to := tr.add(c.index, c.bytes, 5000); to != c.to {
			t.Errorf("checkpoint %d at %d: truncated to %d, want %d", i, c.index, to, c.to)
		}
	}
	if len(tr) > 3 {
		t.Errorf("%d checkpoints are remembered", len(tr))
	}
}
