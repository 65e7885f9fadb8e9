package storage

import (
	"context"
	"errors"
	"os"
	"testing"
)

// TestRun counts transactions and batches, and wants nothing to be left on disk.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	r, err := Run(context.Background(), Put{Dir: dir, Total: 1001, Ops: 3, Batch: 100, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if puts, batches := r.Series[0].Latency.Count(), r.Series[1].Latency.Count(); puts != 1001 ||
		batches != 11 || r.Seed != 1 {
		t.Errorf("%d transactions in %d batches", puts, batches)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, Put{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", err, left)
	}
}

func TestBadOptions(t *testing.T) {
	for _, p := range []Put{{Total: -1}, {KeySize: 5}, {ValueSize: 1 << 30}, {Dir: "no/such"}} {
		if _, err := Run(context.Background(), p); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}
