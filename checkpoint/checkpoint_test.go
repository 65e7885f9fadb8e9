package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

func payload(index uint64) []byte {
	return bytes.Repeat([]byte{byte(index), byte(index >> 8)}, int(index%3000))
}

func mustLoad(t *testing.T, fs vfs.FS, indexes ...uint64) uint64 {
	t.Helper()
	index, got, ok, err := Load(fs, "d")
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if !ok {
		index = 0
	}
	for _, want := range indexes {
		if index == want {
			if ok && !bytes.Equal(got, payload(index)) {
				t.Fatalf("checkpoint %d came back with other content", index)
			}
			return index
		}
	}
	t.Fatalf("loaded %d, want one of %v", index, indexes)
	return 0
}

func TestSaveLoad(t *testing.T) {
	fs := vfs.NewMem()
	mustLoad(t, fs, 0)
	for _, index := range []uint64{1, 2, 900, 1 << 40} {
		if err := Save(fs, "d", index, payload(index)); err != nil {
			t.Fatal(err)
		}
		mustLoad(t, fs, index)
	}
	if names, _ := fs.List("d"); len(names) != 1 {
		t.Fatalf("older checkpoints stay: %v", names)
	}
}

// A crash at any step leaves the older checkpoint or the newer one, whole.
func TestCrash(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		fs := vfs.NewMem()
		if err := Save(fs, "d", 7, payload(7)); err != nil {
			t.Fatal(err)
		}
		var clones []*vfs.Mem
		fs.SetHook(func(vfs.Op, bool) { clones = append(clones, fs.CrashClone(rng)) })
		if err := Save(fs, "d", 1500, payload(1500)); err != nil {
			t.Fatal(err)
		}
		fs.SetHook(nil)
		for i, c := range clones {
			t.Run(fmt.Sprintf("seed %d step %d", seed, i), func(t *testing.T) {
				mustLoad(t, c, 7, 1500)
				if err := Save(c, "d", 2000, payload(2000)); err != nil {
					t.Fatal(err)
				}
				mustLoad(t, c, 2000)
			})
		}
		mustLoad(t, fs.CrashClone(nil), 1500)
	}
}

// Whatever operation fails, Save says so, and the older checkpoint or the newer one is there.
func TestFailures(t *testing.T) {
	for _, injected := range []error{vfs.ErrInjected, vfs.ErrNoSpace} {
		for nth := int64(1); ; nth++ {
			fs := vfs.NewMem()
			if err := Save(fs, "d", 7, payload(7)); err != nil {
				t.Fatal(err)
			}
			faulty := vfs.NewFaulty(fs)
			faulty.Inject(vfs.Fault{Nth: nth, Err: injected, Short: true})
			err := Save(faulty, "d", 1500, payload(1500))
			if faulty.Fired() == 0 {
				break
			}
			if !errors.Is(err, injected) {
				t.Fatalf("operation %d failed and Save says %v", nth, err)
			}
			mustLoad(t, fs.CrashClone(nil), 7, 1500)
			mustLoad(t, fs, 7, 1500)
		}
	}
}

func TestDamage(t *testing.T) {
	fs := vfs.NewMem()
	if err := Save(fs, "d", 33, payload(33)); err != nil {
		t.Fatal(err)
	}
	name := "d/" + fmt.Sprintf("%016x.ckpt", 33)
	info, err := fs.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range uint(info.Size() * 8) {
		if err := vfs.Flip(fs, name, int64(bit/8), bit%8); err != nil {
			t.Fatal(err)
		}
		_, _, _, err := Load(fs, "d")
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != name ||
			!strings.Contains(err.Error(), "restore") {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
		if err := vfs.Flip(fs, name, int64(bit/8), bit%8); err != nil {
			t.Fatal(err)
		}
	}
	mustLoad(t, fs, 33)
	f, err := fs.OpenReadWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	for size := info.Size() - 1; size >= 0; size-- {
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := Load(fs, "d"); err == nil {
			t.Fatalf("a checkpoint cut to %d bytes was read", size)
		}
	}
}

func BenchmarkSave(b *testing.B) {
	fs, p := vfs.NewMem(), make([]byte, 1<<20)
	b.ReportAllocs()
	b.SetBytes(1 << 20)
	for index := uint64(1); b.Loop(); index++ {
		if err := Save(fs, "d", index, p); err != nil {
			b.Fatal(err)
		}
	}
}
