package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

// faultScript runs the same random operations each time until one fails.
func faultScript(t *testing.T, fs vfs.FS, seed uint64, steps int) (*driver, error) {
	rng := rand.New(rand.NewPCG(seed, 8))
	d := newDriver(t, rng, fs, testDir)
	d.opts.SegmentBytes = 1 << 10
	if err := d.open(); err != nil {
		return d, err
	}
	for range steps {
		if err := d.randomStep(); err != nil {
			return d, err
		}
	}
	return d, nil
}

// TestEveryOperationFails fails each mutating operation in turn, in each way, and looks at the
// log, at what is on disk and at what a crash leaves of it.
func TestEveryOperationFails(t *testing.T) {
	faults := map[string]vfs.Fault{
		"once":    {},
		"forever": {Forever: true},
		"after":   {After: true},
		"short":   {Short: true},
		"full":    {Err: vfs.ErrNoSpace, Short: true},
	}
	const steps = 100
	for seed := range uint64(2) {
		counted := vfs.NewFaulty(vfs.NewMem())
		if _, err := faultScript(t, counted, seed, steps); err != nil {
			t.Fatal(err)
		}
		for name, fault := range faults {
			for n := int64(1); n <= counted.Ops(); n++ {
				at := fmt.Sprintf("seed %d, operation %d failing %s", seed, n, name)
				checkFault(t, at, fault, seed, n, steps)
			}
		}
	}
}

func checkFault(t *testing.T, at string, fault vfs.Fault, seed uint64, n int64, steps int) {
	disk := vfs.NewMem()
	faulty := vfs.NewFaulty(disk)
	fault.Nth = n
	faulty.Inject(fault)
	d, err := faultScript(t, faulty, seed, steps)
	want := fault.Err
	if want == nil {
		want = vfs.ErrInjected
	}
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v", at, err)
	}
	faulty.Clear()
	if d.w != nil && errors.Is(d.w.Err(), want) {
		checkPoisoned(t, at, d.w, want)
	} else if d.w != nil && d.w.Err() == nil {
		if !errors.Is(err, vfs.ErrNoSpace) {
			t.Fatalf("%s: the log is not poisoned", at)
		}
		if err := d.flush(); err != nil { // and nothing is lost
			t.Fatalf("%s: a second try: %v", at, err)
		}
		if diff := d.now.diff(d.w, false); diff != "" {
			t.Fatalf("%s: after a second try: %s", at, diff)
		}
	}
	clones := []*vfs.Mem{disk.KillClone(), disk.CrashClone(nil)}
	for i := range uint64(2) {
		clones = append(clones, disk.CrashClone(rand.New(rand.NewPCG(uint64(n), i))))
	}
	for _, clone := range clones {
		w, err := Open(clone, testDir, d.opts)
		if err != nil {
			t.Fatalf("%s: opening what is left: %v", at, err)
		}
		if _, diff := survived(w, d.durable, d.steps); diff != "" {
			t.Fatalf("%s: what is left: %s", at, diff)
		}
	}
}

func checkPoisoned(t *testing.T, at string, w *WAL, want error) {
	for i, err := range []error{
		w.Append(nil, run(w.LastIndex()+1, w.LastIndex()+2, 1<<40, 1)), w.Flush(false),
		w.Flush(true), w.Mark(), w.Prepare(), w.Truncate(1), w.Reset(1<<40, 1), w.Close(),
	} {
		if !errors.Is(err, want) {
			t.Fatalf("%s: call %d on the poisoned log: %v", at, i, err)
		}
	}
}
