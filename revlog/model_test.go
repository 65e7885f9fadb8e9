package revlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/vfs"
)

// TestModel does random things to a log and compares it with the model all along, with restarts at
// checkpoints, as after a kill and as after a power failure.
func TestModel(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := testSeed(t, seed)
			fs := vfs.NewMem()
			o, err := newOwner(fs, Options{SegmentBytes: MinSegmentBytes << rng.IntN(3)}, rng)
			if err != nil {
				t.Fatal(err)
			}
			for range 2000 {
				if err := o.randomStep(); err != nil {
					t.Fatal(err)
				}
				if rng.IntN(50) == 0 {
					checkAll(t, o)
				}
				if rng.IntN(200) == 0 {
					restart(t, o, &fs)
				}
			}
			if o.log.Stats().Reclaim.Rewrites == 0 && o.saved.compactRev > 0 {
				if err := o.reclaimAll(); err != nil {
					t.Fatal(err)
				}
			}
			checkAll(t, o)
			if err := o.log.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func checkAll(t *testing.T, o *owner) {
	t.Helper()
	if err := o.log.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	from := cairn.Revision{Main: o.rng.Int64N(o.rev + 2), Sub: o.rng.Int64N(2)}
	if err := o.checkScan(from, from.Main+o.rng.Int64N(o.rev+2)); err != nil {
		t.Fatal(err)
	}
	checkLiveness(t, o)
}

// checkLiveness compares the log's count of live bytes with the index.
func checkLiveness(t *testing.T, o *owner) {
	t.Helper()
	if o.log.reclaim.job != nil {
		return // what dies while it is copied is counted later
	}
	var want int64
	for _, list := range o.index {
		for _, v := range list {
			want += recordSize(len(o.recs[v.at].kv))
		}
	}
	got := o.log.Stats().LiveBytes()
	if diff := got - want; diff < -want/256 || diff > want/256 {
		t.Fatalf("live bytes %d, want %d", got, want)
	}
}

// restart closes the log or not, and opens it on what is left of the disk.
func restart(t *testing.T, o *owner, fs **vfs.Mem) {
	t.Helper()
	switch o.rng.IntN(3) {
	case 0:
		if err := o.log.Close(); err != nil {
			t.Fatal(err)
		}
	case 1:
		*fs = (*fs).KillClone()
	case 2:
		*fs = (*fs).CrashClone(o.rng)
	}
	o.fs = *fs
	if err := o.open(); err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(o.fs, testDir, o.log.Mark(), nil)
	if err != nil || len(rep.Damages) > 0 {
		t.Fatalf("verify: %v %v", err, rep.Damages)
	}
}

// TestCrashEverywhere clones the disk before and after every operation that changes it, as a power
// failure would leave it, and opens the clone at the checkpoint that is durable then.
func TestCrashEverywhere(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := testSeed(t, seed)
			fs := vfs.NewMem()
			crashes := map[vfs.OpKind]int{}
			var o *owner
			fs.SetHook(func(op vfs.Op, after bool) {
				if o == nil || t.Failed() {
					return
				}
				crashes[op.Kind]++
				if err := o.on(fs.CrashClone(rng)).afterCrash(); err != nil {
					t.Errorf("crash around %v (after: %v): %v", op, after, err)
				}
			})
			o, err := newOwner(fs, Options{SegmentBytes: MinSegmentBytes}, rng)
			if err != nil {
				t.Fatal(err)
			}
			o.keys = 40
			for range 400 {
				if err := o.randomStep(); err != nil {
					t.Fatal(err)
				}
			}
			if err := o.reclaimAll(); err != nil {
				t.Fatal(err)
			}
			for _, k := range []vfs.OpKind{vfs.OpCreate, vfs.OpWrite, vfs.OpAllocate,
				vfs.OpTruncate, vfs.OpSyncData, vfs.OpRename, vfs.OpSyncDir, vfs.OpRemove} {
				if crashes[k] == 0 {
					t.Errorf("no crash around any %v", k)
				}
			}
		})
	}
}

// afterCrash opens what a crash left, and again what a crash of that leaves, and works on.
func (o *owner) afterCrash() error {
	if err := o.open(); err != nil {
		return err
	}
	for range 10 {
		if err := o.randomStep(); err != nil {
			return err
		}
	}
	if o.rng.IntN(2) == 0 {
		return o.on(o.fs.(*vfs.Mem).CrashClone(o.rng)).open()
	}
	return nil
}

// TestFailEverywhere fails the Nth operation that changes the disk, or that does not, for every N:
// the log reports it or goes on, and what is on disk then opens at the last checkpoint.
func TestFailEverywhere(t *testing.T) {
	for _, fault := range []vfs.Fault{
		{}, {Short: true}, {After: true},
		{Err: vfs.ErrNoSpace}, {Err: vfs.ErrNoSpace, Short: true},
		{Match: func(op vfs.Op) bool { return !op.Kind.Mutates() }},
	} {
		reported, survived := 0, 0
		for n := int64(1); ; n++ {
			mem := vfs.NewMem()
			faulty := vfs.NewFaulty(mem)
			fault.Nth = n
			faulty.Inject(fault)
			rng := rand.New(rand.NewPCG(uint64(n), 7))
			o := &owner{opts: Options{SegmentBytes: MinSegmentBytes}, rng: rng, keys: 20}
			o = o.on(faulty)
			err := o.open()
			for i := 0; i < 300 && err == nil; i++ {
				if err = o.randomStep(); err == nil && i%100 == 99 {
					if err = o.log.Close(); err == nil {
						err = o.open()
					}
				}
			}
			if faulty.Fired() == 0 {
				break
			}
			if err == nil {
				survived++
			} else {
				reported++
				if !errors.Is(err, vfs.ErrInjected) && !errors.Is(err, vfs.ErrNoSpace) {
					t.Fatalf("%+v: %v does not wrap the cause", fault, err)
				}
			}
			if err := o.on(mem.CrashClone(rng)).open(); err != nil {
				t.Fatalf("%+v, then a crash: %v", fault, err)
			}
		}
		t.Logf("%+v: %d reported, %d survived", fault, reported, survived)
		if reported == 0 || fault.Err != nil && survived == 0 {
			t.Errorf("%+v: %d reported, %d survived", fault, reported, survived)
		}
	}
}
