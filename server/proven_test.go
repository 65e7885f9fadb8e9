package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/server/datadir"
	"github.com/cairnkv/cairn/vfs"
)

// killed is the files of a member that was killed after some puts.
func killed(t *testing.T, puts int) *vfs.Mem {
	t.Helper()
	fs := vfs.NewMem()
	r := mustStart(t, smallSystem(fs))
	for i := range puts {
		if _, err := r.put(fmt.Sprintf("k%d", i), "some value", 0); err != nil {
			t.Fatal(err)
		}
	}
	clone := fs.KillClone()
	r.stop(t)
	return clone
}

// A raft log that ends before writes that the record log shows is refused, at every later start
// too; wherever it was cut, what starts has everything.
func TestRaftLogCut(t *testing.T) {
	const puts = 20
	segment := "data/wal/0000000000000001.wal"
	refused := 0
	for cut := int64(64); cut < testWALBytes; cut += 232 {
		fs := killed(t, puts)
		f, err := fs.OpenReadWrite(segment)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(cut), f.Close()); err != nil {
			t.Fatal(err)
		}
		for try := range 2 {
			r, err := startRig(smallSystem(fs))
			if err != nil {
				refused++
				if !strings.Contains(err.Error(), "damaged") {
					t.Errorf("cut to %d bytes, start %d: %v", cut, try, err)
				}
				continue
			}
			resp, err := r.get("k", "l", 0)
			if err != nil || resp.Count != puts {
				t.Errorf("cut to %d bytes, start %d: %d keys of %d, %v", cut, try, resp.Count,
					puts, err)
			}
			r.stop(t)
		}
	}
	if refused < 4 {
		t.Errorf("only %d starts were refused: the cuts do not strike", refused)
	}
}

// The last acknowledged write is as safe from a flipped bit as any other, once the process is gone.
func TestFlipInLastWrite(t *testing.T) {
	fs := killed(t, 3)
	r := mustStart(t, smallSystem(fs))
	if _, err := r.put("last", "the last value", 0); err != nil {
		t.Fatal(err)
	}
	clone := fs.KillClone()
	r.stop(t)
	flipInWAL(t, clone, "the last value")
	if r, err := startRig(smallSystem(clone)); err == nil {
		r.stop(t)
		t.Fatal("a start with a damaged last write")
	} else if !strings.Contains(err.Error(), "offset") {
		t.Fatalf("the error does not say where: %v", err)
	}
}

// flipInWAL flips a bit of the newest occurrence of text in the raft log.
func flipInWAL(t *testing.T, fs vfs.FS, text string) {
	t.Helper()
	for _, name := range files(t, fs, "data/wal") {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		if size > 0 {
			if _, err := f.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
		}
		if i := strings.LastIndex(string(b), text); i >= 0 {
			if err := errors.Join(f.Close(), vfs.Flip(fs, name, int64(i), 3)); err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("%q is not in the raft log", text)
}

// A proof outlives a start that did not end, and ends with one that did.
func TestProofStays(t *testing.T) {
	fs := vfs.NewMem()
	d, err := datadir.Open(fs, "data", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ note, want int64 }{{0, 0}, {7, 7}, {5, 7}, {0, 7}, {9, 9}} {
		if got, err := d.Prove(step.note); err != nil || got != step.want {
			t.Fatalf("noting %d: reach %d, %v; want %d", step.note, got, err, step.want)
		}
	}
	if err := errors.Join(d.Close(), d.Proven()); err != nil {
		t.Fatal(err)
	}
	if d, err = datadir.Open(fs.CrashClone(nil), "data", ""); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Prove(0); err != nil || got != 9 {
		t.Fatalf("a proof that was taken away without a sync: %d, %v", got, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
