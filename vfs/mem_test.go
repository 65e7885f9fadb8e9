package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustCreate(t testing.TB, fsys vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	return f
}

func mustWrite(t testing.TB, f vfs.File, off int64, p []byte) {
	t.Helper()
	_, err := f.WriteAt(p, off)
	must(t, err)
}

// contentOf is what a file holds, "absent" without it.
func contentOf(t testing.TB, fsys vfs.FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "absent"
	}
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	must(t, err)
	return string(b)
}

// outcomes runs n crashes of one state and counts what show makes of them.
func outcomes(m *vfs.Mem, n int, show func(*vfs.Mem) string) map[string]int {
	seen := map[string]int{}
	for seed := range uint64(n) {
		seen[show(m.CrashClone(rand.New(rand.NewPCG(seed, 0))))]++
	}
	return seen
}

// wantOutcomes demands that exactly these occur.
func wantOutcomes(t *testing.T, seen map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("never saw %q", w)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("saw %d outcomes, want %d: %.300s", len(seen), len(want), fmt.Sprint(seen))
	}
}

func newMem(t *testing.T) *vfs.Mem {
	m := vfs.NewMem()
	must(t, m.MkdirAll("/d"))
	return m
}

func TestCrashNames(t *testing.T) {
	m := newMem(t)
	for _, name := range []string{"a", "b"} {
		f := mustCreate(t, m, "/d/"+name)
		mustWrite(t, f, 0, []byte(name))
		must(t, f.Sync())
	}
	show := func(c *vfs.Mem) string {
		return strings.Join([]string{
			contentOf(t, c, "/d/a"), contentOf(t, c, "/d/b"), contentOf(t, c, "/d/c"),
		}, " ")
	}
	wantOutcomes(t, outcomes(m, 200, show),
		"a b absent", "a absent absent", "absent b absent", "absent absent absent")

	must(t, m.SyncDir("/d"))
	wantOutcomes(t, outcomes(m, 50, show), "a b absent")

	// A rename is there as a whole or not at all, and never leaves two names.
	must(t, m.Rename("/d/a", "/d/b"))
	wantOutcomes(t, outcomes(m, 200, show), "a b absent", "absent a absent")
	must(t, m.Rename("/d/b", "/d/c"))
	wantOutcomes(t, outcomes(m, 400, show),
		"a b absent", "absent a absent", "absent absent a")
	must(t, m.SyncDir("/d"))
	must(t, m.Remove("/d/c"))
	wantOutcomes(t, outcomes(m, 200, show), "absent absent a", "absent absent absent")
}

func TestCrashContent(t *testing.T) {
	m := newMem(t)
	f := mustCreate(t, m, "/d/a")
	must(t, m.SyncDir("/d"))
	old, fresh := bytes.Repeat([]byte("o"), 8192), bytes.Repeat([]byte("n"), 8192)
	mustWrite(t, f, 0, old)
	must(t, f.SyncData())
	mustWrite(t, f, 0, fresh)
	seen := outcomes(m, 400, func(c *vfs.Mem) string {
		got := contentOf(t, c, "/d/a")
		if len(got) != 8192 || strings.Trim(got, "on") != "" {
			t.Fatalf("%d bytes of something else", len(got))
		}
		switch got {
		case string(old):
			return "old"
		case string(fresh):
			return "new"
		}
		for off := 0; off < len(got); off += 512 {
			if s := got[off : off+512]; strings.Trim(s, "o") != "" && strings.Trim(s, "n") != "" {
				return "torn sector"
			}
		}
		return "mixed sectors"
	})
	wantOutcomes(t, seen, "old", "new", "mixed sectors", "torn sector")
	if got := contentOf(t, m.CrashClone(nil), "/d/a"); got != string(old) {
		t.Fatal("a crash that keeps nothing shows an unsynced write")
	}
	must(t, f.SyncData())
	wantOutcomes(t, outcomes(m, 50, func(c *vfs.Mem) string {
		return contentOf(t, c, "/d/a")[:1]
	}), "n")
}

func TestCrashLength(t *testing.T) {
	m := newMem(t)
	f := mustCreate(t, m, "/d/a")
	must(t, m.SyncDir("/d"))
	mustWrite(t, f, 0, []byte("12345678"))
	must(t, f.Sync())
	show := func(c *vfs.Mem) string { return contentOf(t, c, "/d/a") }
	must(t, f.Truncate(4))
	wantOutcomes(t, outcomes(m, 100, show), "12345678", "1234")
	must(t, f.Truncate(8))
	wantOutcomes(t, outcomes(m, 200, show), "12345678", "1234", "1234\x00\x00\x00\x00")
	must(t, f.Sync())
	wantOutcomes(t, outcomes(m, 50, show), "1234\x00\x00\x00\x00")
	// What an extension lost reads as zeros, never as what was cut off before.
	must(t, f.Truncate(0))
	mustWrite(t, f, 0, []byte("abcd"))
	for got := range outcomes(m, 300, show) {
		if strings.ContainsAny(got, "1234") && got != "1234\x00\x00\x00\x00" {
			t.Fatalf("old and new mixed over a truncation: %q", got)
		}
	}
}

// TestCrashModel does random writes and compares each crash with the states each byte went through.
func TestCrashModel(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		m := newMem(t)
		f := mustCreate(t, m, "/d/a")
		must(t, m.SyncDir("/d"))
		const size = 3000
		must(t, f.Allocate(size))
		must(t, f.Sync())
		now := make([]byte, size)
		var since [size]map[byte]bool // values of each byte since the last sync
		settle := func() {
			for i := range since {
				since[i] = map[byte]bool{now[i]: true}
			}
		}
		settle()
		for i := range 40 {
			if rng.IntN(5) == 0 {
				must(t, f.SyncData())
				settle()
			}
			off := rng.IntN(size - 1)
			p := bytes.Repeat([]byte{byte(i + 1)}, 1+rng.IntN(min(1500, size-off)))
			mustWrite(t, f, int64(off), p)
			copy(now[off:], p)
			for j := range p {
				since[off+j][now[off+j]] = true
			}
			if contentOf(t, m, "/d/a") != string(now) {
				t.Fatalf("seed %d: the file differs from the model", seed)
			}
			for j, b := range []byte(contentOf(t, m.CrashClone(rng), "/d/a")) {
				if !since[j][b] {
					t.Fatalf("seed %d: byte %d is %d after a crash, which it never was", seed, j, b)
				}
			}
			kill := m.KillClone()
			if contentOf(t, kill, "/d/a") != string(now) {
				t.Fatalf("seed %d: the end of the process lost a write", seed)
			}
			for j, b := range []byte(contentOf(t, kill.CrashClone(rng), "/d/a")) {
				if !since[j][b] {
					t.Fatalf("seed %d: byte %d is %d after both, which it never was", seed, j, b)
				}
			}
		}
	}
}

func TestKillCloneKeepsWhatIsPending(t *testing.T) {
	m := newMem(t)
	f := mustCreate(t, m, "/d/a")
	mustWrite(t, f, 0, []byte("data"))
	if _, err := m.Lock("/d/LOCK"); err != nil {
		t.Fatal(err)
	}
	k := m.KillClone()
	if contentOf(t, k, "/d/a") != "data" {
		t.Fatal("the end of the process lost a write")
	}
	if got := contentOf(t, k.CrashClone(nil), "/d/a"); got != "absent" {
		t.Fatalf("the end of the process made a name durable: %q", got)
	}
	must(t, k.SyncDir("/d"))
	if got := contentOf(t, k.CrashClone(nil), "/d/a"); got != "" {
		t.Fatalf("the end of the process made data durable: %q", got)
	}
	lock, err := k.Lock("/d/LOCK")
	must(t, err)
	must(t, lock.Close())
	mustWrite(t, f, 0, []byte("DATA"))
	if contentOf(t, k, "/d/a") != "data" {
		t.Fatal("the clone shares its bytes")
	}
}

func TestCrashIsReplayable(t *testing.T) {
	m := newMem(t)
	for i := range 20 {
		f := mustCreate(t, m, fmt.Sprintf("/d/%02d", i))
		mustWrite(t, f, int64(i), bytes.Repeat([]byte("x"), 3000))
	}
	show := func(seed uint64) string {
		c := m.CrashClone(rand.New(rand.NewPCG(seed, 0)))
		names, err := c.List("/d")
		must(t, err)
		var b strings.Builder
		for _, name := range names {
			fmt.Fprintf(&b, "%s %q\n", name, contentOf(t, c, filepath.Join("/d", name)))
		}
		return b.String()
	}
	for seed := range uint64(20) {
		if show(seed) != show(seed) {
			t.Fatalf("seed %d gives two outcomes", seed)
		}
	}
}

func TestMemCapacity(t *testing.T) {
	m := newMem(t)
	m.SetCapacity(10 * 4096)
	f := mustCreate(t, m, "/d/a")
	must(t, f.Truncate(1<<20)) // a hole takes nothing
	if m.Used() != 0 {
		t.Fatalf("%d bytes used by a hole", m.Used())
	}
	must(t, f.Allocate(4*4096))
	mustWrite(t, f, 0, make([]byte, 4*4096))
	g := mustCreate(t, m, "/d/b")
	n, err := g.WriteAt(make([]byte, 7*4096), 100)
	if n != 6*4096-100 || !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("wrote %d bytes, %v, want a prefix of what fits", n, err)
	}
	if err := g.Allocate(7 * 4096); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("allocated more than there is: %v", err)
	}
	free, total, err := m.Space("/d")
	if err != nil || free != 0 || total != 10*4096 {
		t.Fatalf("free %d of %d, %v", free, total, err)
	}
	must(t, m.Remove("/d/b"))
	if m.Used() != 10*4096 {
		t.Fatal("a file that is open gave up its space")
	}
	must(t, g.Close())
	must(t, f.Truncate(4096+1))
	if m.Used() != 2*4096 {
		t.Fatalf("%d bytes used", m.Used())
	}
	if c := m.CrashClone(nil); c.Used() > 2*4096 {
		t.Fatalf("%d bytes used in the clone", c.Used())
	}
}

func TestMemHook(t *testing.T) {
	m := newMem(t)
	var seen []string
	m.SetHook(func(op vfs.Op, after bool) {
		m.CrashClone(nil) // may be called here
		seen = append(seen, fmt.Sprint(op.Kind, " ", op.OldPath, op.Path, " ", after))
	})
	f := mustCreate(t, m, "/d/a")
	mustWrite(t, f, 0, []byte("x"))
	must(t, f.SyncData())
	must(t, m.Rename("/d/a", "/d/b"))
	must(t, m.SyncDir("/d"))
	contentOf(t, m, "/d/b")
	m.SetHook(nil)
	must(t, m.Remove("/d/b"))
	want := []string{
		"create /d/a false", "create /d/a true", "write /d/a false", "write /d/a true",
		"syncdata /d/a false", "syncdata /d/a true", "rename /d/a/d/b false",
		"rename /d/a/d/b true", "syncdir /d false", "syncdir /d true",
	}
	if !slices.Equal(seen, want) {
		t.Fatalf("the hook saw %q", seen)
	}
}

// TestUnsyncedIsBounded writes more than a file remembers; the oldest counts as written back.
func TestUnsyncedIsBounded(t *testing.T) {
	m := newMem(t)
	f := mustCreate(t, m, "/d/a")
	must(t, m.SyncDir("/d"))
	p := make([]byte, 1<<20)
	for i := range 80 {
		p[0] = byte(i)
		mustWrite(t, f, int64(i)<<20, p)
	}
	got := contentOf(t, m.CrashClone(nil), "/d/a")
	if len(got) == 0 || len(got) == 80<<20 {
		t.Fatalf("%d bytes are durable, want a part", len(got))
	}
	for i := 0; i < len(got); i += 1 << 20 {
		if got[i] != byte(i>>20) {
			t.Fatalf("byte %d is %d", i, got[i])
		}
	}
	must(t, f.SyncData())
	if got := contentOf(t, m.CrashClone(nil), "/d/a"); len(got) != 80<<20 || got[79<<20] != 79 {
		t.Fatal("a sync lost bytes")
	}
}
