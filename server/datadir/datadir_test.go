package datadir

import (
	"errors"
	iofs "io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairnkv/cairn/vfs"
)

const root = "node.cairn"

// write makes a file with its directories.
func write(t *testing.T, fs vfs.FS, name, content string) {
	t.Helper()
	if err := fs.MkdirAll(filepath.Dir(name)); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(name)
	if err == nil {
		_, err = f.WriteAt([]byte(content), 0)
	}
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), fs.SyncDir(filepath.Dir(name)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, fs vfs.FS) *Dir {
	t.Helper()
	d, err := Open(fs, root, "")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closeDir(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// Directories that are not to be used: each is refused with its cause and a way out, and is left
// as it was.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(fs *vfs.Mem)
		walDir string
		want   error
		words  []string // of the message: what, where, and what to do
	}{
		{"etcd's", func(fs *vfs.Mem) { write(t, fs, root+"/member/snap/db", "x") }, "",
			ErrEtcd, []string{root, "etcdctl snapshot save", "snapshot restore", "--data-dir"}},
		{"foreign", func(fs *vfs.Mem) { write(t, fs, root+"/photos", "x") }, "",
			ErrForeign, []string{root, "photos", "empty --data-dir"}},
		{"newer", func(fs *vfs.Mem) { write(t, fs, root+"/FORMAT", "cairn data 2\n") }, "",
			ErrNewer, []string{root, "FORMAT", "format 2", "newer version"}},
		{"damaged FORMAT", func(fs *vfs.Mem) { write(t, fs, root+"/FORMAT", "cairn dbta 1\n") }, "",
			ErrDamaged, []string{root, "FORMAT", "backup"}},
		{"empty FORMAT", func(fs *vfs.Mem) { write(t, fs, root+"/FORMAT", "") }, "",
			ErrDamaged, []string{root, "FORMAT", "backup"}},
		{"huge FORMAT", func(fs *vfs.Mem) {
			write(t, fs, root+"/FORMAT", strings.Repeat("x", 1<<20))
		}, "", ErrDamaged, []string{root, "FORMAT", "backup"}},
		{"half restored", func(fs *vfs.Mem) {
			write(t, fs, root+"/RESTORING", "")
			write(t, fs, root+"/FORMAT", "cairn data 1\n")
		}, "", ErrPartial, []string{root, "remove it and restore again"}},
		{"wal among records", func(*vfs.Mem) {}, root + "/revlog/wal",
			ErrWALDir, []string{"--wal-dir", "revlog", "choose another"}},
		{"wal in tmp", func(*vfs.Mem) {}, root + "/tmp",
			ErrWALDir, []string{"--wal-dir", "tmp", "choose another"}},
	} {
		fs := vfs.NewMem()
		c.make(fs)
		fs.SetHook(func(op vfs.Op, after bool) {
			t.Errorf("%s: it did %v %s", c.name, op.Kind, op.Path)
		})
		d, err := Open(fs, root, c.walDir)
		if d != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", c.name, d, err)
			continue
		}
		for _, word := range c.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the message lacks %q: %v", c.name, word, err)
			}
		}
	}
}

// What others leave in a directory that is new is no reason to refuse it.
func TestAccepted(t *testing.T) {
	for _, name := range []string{"lost+found/x", "fixtures/client/cert.pem", "LOCK", "FORMAT.tmp",
		"RESTORING.tmp"} {
		fs := vfs.NewMem()
		write(t, fs, filepath.Join(root, name), "x")
		closeDir(t, open(t, fs))
		closeDir(t, open(t, fs))
	}
}

func TestLocked(t *testing.T) {
	for _, fs := range []vfs.FS{vfs.NewMem(), vfs.OS()} {
		dir := filepath.Join(t.TempDir(), "a", root)
		walDir := filepath.Join(t.TempDir(), "b", "wal")
		d, err := Open(fs, dir, walDir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(fs, dir, "")
		refusedAs(t, err, ErrLocked, dir, "stop that process", "--data-dir")
		_, err = OpenExisting(fs, dir, "")
		refusedAs(t, err, ErrLocked, dir)
		_, err = Open(fs, filepath.Join(t.TempDir(), "other"), walDir)
		refusedAs(t, err, ErrLocked, walDir, "--wal-dir")
		closeDir(t, d)
		if d, err = OpenExisting(fs, dir, walDir); err != nil {
			t.Fatal(err)
		}
		closeDir(t, d)
	}
}

func refusedAs(t *testing.T, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the message lacks %q: %v", word, err)
		}
	}
}

func TestMissing(t *testing.T) {
	fs := vfs.NewMem()
	_, err := OpenExisting(fs, root, "")
	refusedAs(t, err, ErrMissing, root)
	if err := fs.MkdirAll(root); err != nil {
		t.Fatal(err)
	}
	_, err = OpenExisting(fs, root, "")
	refusedAs(t, err, ErrMissing, root)
}

// A directory that cannot be written: whichever operation is denied, the message says so, and what
// to do.
func TestDenied(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpMkdirAll, vfs.OpLock, vfs.OpCreate, vfs.OpList} {
		faulty := vfs.NewFaulty(vfs.NewMem())
		faulty.Inject(vfs.Fault{
			Match: func(op vfs.Op) bool { return op.Kind == kind },
			Err:   iofs.ErrPermission, Forever: true,
		})
		_, err := Open(faulty, root, "")
		refusedAs(t, err, iofs.ErrPermission, root, "choose another --data-dir")
	}
	fs := vfs.OS()
	file := filepath.Join(t.TempDir(), "file")
	write(t, fs, file, "x")
	if _, err := Open(fs, filepath.Join(file, root), ""); err == nil ||
		!strings.Contains(err.Error(), file) ||
		!strings.Contains(err.Error(), "choose another --data-dir") {
		t.Errorf("below a file: %v", err)
	}
}

// tmp is emptied, FORMAT stays; a crash at any step leaves a directory that opens.
func TestOpenCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	fs := vfs.NewMem()
	var clones []*vfs.Mem
	fs.SetHook(func(vfs.Op, bool) { clones = append(clones, fs.CrashClone(rng), fs.KillClone()) })
	d := open(t, fs)
	write(t, fs, filepath.Join(d.Tmp(), "backup-1.db"), "x")
	closeDir(t, d)
	d = open(t, fs)
	if names, err := fs.List(d.Tmp()); err != nil || len(names) > 0 {
		t.Errorf("tmp holds %v, %v", names, err)
	}
	closeDir(t, d)
	fs.SetHook(nil)
	if len(clones) < 10 {
		t.Fatalf("only %d clones", len(clones))
	}
	for i, clone := range clones {
		d, err := Open(clone, root, "")
		if err != nil {
			t.Fatalf("clone %d: %v", i, err)
		}
		closeDir(t, d)
	}
}

func TestReserve(t *testing.T) {
	fs := vfs.NewMem()
	d := open(t, fs)
	used := fs.Used()
	for range 2 {
		if err := d.Reserve(); err != nil || fs.Used() != used+reserveBytes {
			t.Fatalf("%v; %d bytes used, %d before", err, fs.Used(), used)
		}
	}
	if err := d.ReleaseReserve(); err != nil || fs.Used() != used {
		t.Fatalf("%v; %d bytes used, %d before", err, fs.Used(), used)
	}
	fs.SetCapacity(used + reserveBytes/2)
	if err := d.Reserve(); !errors.Is(err, vfs.ErrNoSpace) || fs.Used() != used {
		t.Fatalf("%v; %d bytes used, %d before", err, fs.Used(), used)
	}
	fs.SetCapacity(0)
	if err := d.Reserve(); err != nil {
		t.Fatal(err)
	}
	closeDir(t, d)
}

// TestReserveGrows: of a checkpoint that is larger than what is kept free, twice as much is.
func TestReserveGrows(t *testing.T) {
	fs := vfs.NewMem()
	d := open(t, fs)
	defer closeDir(t, d)
	payload := make([]byte, 3*reserveBytes)
	for i := range uint64(2) {
		if err := errors.Join(d.Reserve(), d.Save(i+1, payload), d.Reserve()); err != nil {
			t.Fatal(err)
		}
	}
	fs.SetCapacity(fs.Used()) // the disk is full but for the reserve
	if err := d.Save(3, payload); !errors.Is(err, vfs.ErrNoSpace) {
		t.Fatalf("on a full disk: %v", err)
	}
	if err := errors.Join(d.ReleaseReserve(), d.Save(3, payload)); err != nil {
		t.Fatalf("with the reserve given up: %v", err)
	}
}

func TestChecks(t *testing.T) {
	fs := vfs.NewMem()
	d := open(t, fs)
	defer closeDir(t, d)
	if err := d.CheckBegin(); err != nil {
		t.Error(err)
	}
	refusedAs(t, d.CheckWAL(), ErrWALDir, d.WAL(), "--wal-dir", "backup")
	write(t, fs, d.WAL()+"/0000000000000001.wal", "x")
	if err := d.CheckWAL(); err != nil {
		t.Error(err)
	}
	write(t, fs, d.Revlog()+"/00000001-00000001.0000.seg", "x")
	refusedAs(t, d.CheckBegin(), ErrDamaged, root, "0000.seg", "backup", "--data-dir")
}
