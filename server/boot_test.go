package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/server/datadir"
	"github.com/cairnkv/cairn/vfs"
	"go.etcd.io/bbolt"
)

// A crash at any step of the first start leaves a directory that starts.
func TestFirstStartCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	fs := vfs.NewMem()
	var mu sync.Mutex // guards rng and clones
	var clones []*vfs.Mem
	fs.SetHook(func(vfs.Op, bool) {
		mu.Lock()
		defer mu.Unlock()
		clones = append(clones, fs.CrashClone(rng))
		if len(clones)%4 == 0 {
			clones = append(clones, fs.KillClone())
		}
	})
	r := mustStart(t, smallSystem(fs), "--wal-dir=logs/wal")
	fs.SetHook(nil)
	r.stop(t)
	if len(clones) < 60 {
		t.Fatalf("only %d clones", len(clones))
	}
	for i, clone := range clones {
		r, err := startRig(smallSystem(clone), "--wal-dir=logs/wal")
		if err != nil {
			t.Fatalf("clone %d: %v", i, err)
		}
		if rev, err := r.put("a", "b", 0); err != nil || rev != 2 {
			t.Fatalf("clone %d: revision %d, %v", i, rev, err)
		}
		r.stop(t)
	}
}

// badStart is a directory of a member with some data from which it must not start.
type badStart struct {
	name  string
	spoil func(t *testing.T, fs *vfs.Mem)
	args  []string
	want  error
	words []string // of the message
}

// badStarts need the raft log of another member.
func badStarts(other *vfs.Mem) []badStart {
	return []badStart{
		{"no --wal-dir", nil, nil, datadir.ErrWALDir, []string{"data/wal", "--wal-dir"}},
		{"another --wal-dir", nil, []string{"--wal-dir=elsewhere"}, datadir.ErrWALDir,
			[]string{"elsewhere", "--wal-dir"}},
		{"another member's raft log", func(t *testing.T, fs *vfs.Mem) {
			copyFiles(t, other, fs, "logs")
		}, []string{"--wal-dir=logs"}, datadir.ErrWALDir, []string{"logs", "another member"}},
		{"the checkpoint is gone", func(t *testing.T, fs *vfs.Mem) {
			remove(t, fs, "data/checkpoint")
		}, []string{"--wal-dir=logs"}, datadir.ErrDamaged, []string{"data", "backup"}},
		{"checkpoint and records are gone", func(t *testing.T, fs *vfs.Mem) {
			remove(t, fs, "data/checkpoint")
			remove(t, fs, "data/revlog")
		}, []string{"--wal-dir=logs"}, datadir.ErrDamaged,
			[]string{"data", "raft log up to entry", "backup"}},
		{"the newest raft log is gone", func(t *testing.T, fs *vfs.Mem) {
			old := vfs.NewMem()
			mustStart(t, smallSystem(old), "--wal-dir=logs").stop(t)
			copyFiles(t, old, fs, "logs")
		}, []string{"--wal-dir=logs"}, datadir.ErrDamaged,
			[]string{"ends at entry", "backup"}},
		{"the records are gone", func(t *testing.T, fs *vfs.Mem) {
			remove(t, fs, "data/revlog")
		}, []string{"--wal-dir=logs"}, nil, []string{"data/revlog", "missing", "restore a backup"}},
		{"an existing cluster", func(t *testing.T, fs *vfs.Mem) { remove(t, fs, "data") },
			[]string{"--initial-cluster-state=existing"}, nil,
			[]string{"cannot fetch cluster info", "--initial-cluster"}},
	}
}

// Directories from which a member must not start: the message names the cause and the way out.
func TestStartRefused(t *testing.T) {
	base := vfs.NewMem()
	r := mustStart(t, smallSystem(base), "--wal-dir=logs")
	for i := range 50 {
		if _, err := r.put(fmt.Sprint(i), "x", 0); err != nil {
			t.Fatal(err)
		}
	}
	r.stop(t)
	other := vfs.NewMem()
	mustStart(t, smallSystem(other), "--wal-dir=logs", "--initial-cluster-token=b").stop(t)
	for _, c := range badStarts(other) {
		fs := base.KillClone()
		if strings.HasSuffix(c.name, "are gone") || strings.HasSuffix(c.name, "is gone") {
			// What goes is needed only behind the first checkpoint.
			r := mustStart(t, smallSystem(fs), "--wal-dir=logs", "--snapshot-count=1")
			if _, err := r.put("more", "x", 0); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a checkpoint", func() bool { return r.saved.Load().index > 50 })
			r.stop(t)
		}
		if c.spoil != nil {
			c.spoil(t, fs)
		}
		r, err := startRig(smallSystem(fs), c.args...)
		if err == nil {
			t.Errorf("%s: it started, at revision %d", c.name, r.stores.machine.Store().Rev())
			r.stop(t)
			continue
		}
		if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, word := range c.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the message lacks %q: %v", c.name, word, err)
			}
		}
		lock, err := fs.Lock("data/LOCK")
		if err != nil {
			t.Errorf("%s: a start that failed holds the lock: %v", c.name, err)
			continue
		}
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	}
}

func remove(t *testing.T, fs vfs.FS, name string) {
	t.Helper()
	if err := fs.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}

// copyFiles makes dir of one file system that of another.
func copyFiles(t *testing.T, from, to vfs.FS, dir string) {
	t.Helper()
	remove(t, to, dir)
	if err := to.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range files(t, from, dir) {
		in, err := from.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := to.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(in, 0, 1<<30))
		if err == nil {
			_, err = out.WriteAt(b, 0)
		}
		if err := errors.Join(err, in.Close(), out.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// The hash of the directory of a member that was killed is that of the running one.
func TestHashAtRest(t *testing.T) {
	fs := vfs.NewMem()
	r := mustStart(t, smallSystem(fs), crashArgs...)
	l := newLoad(r)
	if err := l.run(4, 100, 9); err != nil {
		t.Fatal(err)
	}
	want, err := r.back.HashKV(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	killed := fs.KillClone()
	for range 2 {
		hash, rev, compacted, err := datadir.HashKV(context.Background(), killed, "data", 0, 1)
		if err != nil || hash != want.Hash || rev != want.HashRev || compacted != want.CompactRev {
			t.Errorf("%08x at %d, compacted %d, %v; want %+v", hash, rev, compacted, err, want)
		}
	}
	_, _, _, err = datadir.HashKV(context.Background(), fs, "data", 0, 1)
	if !errors.Is(err, datadir.ErrLocked) {
		t.Errorf("of a running member: %v", err)
	}
	remove(t, killed, "data/wal")
	_, _, _, err = datadir.HashKV(context.Background(), killed, "data", 0, 1)
	if !errors.Is(err, datadir.ErrWALDir) {
		t.Errorf("without a raft log: %v", err)
	}
	r.stop(t)
	_, _, _, err = datadir.HashKV(context.Background(), fs, "nowhere", 0, 1)
	if !errors.Is(err, datadir.ErrMissing) {
		t.Errorf("of nothing: %v", err)
	}
}

// A raft log that lacks its end: the records show that there was more, and no hash is given.
func TestHashOfShortLog(t *testing.T) {
	fs := vfs.NewMem()
	r := mustStart(t, smallSystem(fs))
	defer r.stop(t)
	if _, err := r.put("a", "x", 0); err != nil {
		t.Fatal(err)
	}
	earlier := fs.KillClone()
	if _, err := r.put("b", "x", 0); err != nil {
		t.Fatal(err)
	}
	short := fs.KillClone()
	copyFiles(t, earlier, short, "data/wal")
	for range 2 {
		_, _, _, err := datadir.HashKV(context.Background(), short, "data", 0, 1)
		if !errors.Is(err, datadir.ErrDamaged) {
			t.Errorf("of a raft log without its end: %v", err)
		}
	}
}

// database is a backup file as a source.
type database struct{ db *bbolt.DB }

func (d database) ForEach(bucket string, fn func(key, value []byte) error) error {
	return d.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return nil
		}
		return b.ForEach(fn)
	})
}

// A backup that is taken under load and restored gives a member with the same history and hash as
// far as the backup goes, and with the leases.
func TestBackupAndRestore(t *testing.T) {
	sys := smallSystem(vfs.NewMem())
	sys.tmp = t.TempDir()
	r := mustStart(t, sys, crashArgs...)
	l := newLoad(r)
	history := r.record(t)
	done := make(chan error, 1)
	go func() { done <- l.run(4, 300, 11) }()
	var saved []string
	for i := range 5 {
		saved = append(saved, r.download(t, filepath.Join(t.TempDir(), fmt.Sprint(i))))
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	saved = append(saved, r.download(t, filepath.Join(t.TempDir(), "last")))
	events := history()
	if names, err := vfs.OS().List(sys.tmp); err != nil || len(names) > 0 {
		t.Errorf("backups stay behind: %v, %v", names, err)
	}
	last := r.stores.machine.Store().Rev()
	r.stop(t)
	for i, name := range saved {
		db, err := bbolt.Open(name, 0o600, &bbolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		fs := vfs.NewMem()
		members, local, err := datadir.FirstMembers(
			map[string][]string{"default": {"http://localhost:2380"}}, "token", "default")
		if err != nil {
			t.Fatal(err)
		}
		err = datadir.Restore(context.Background(), fs,
			datadir.RestoreConfig{DataDir: "data", Members: members, Local: local}, database{db})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatalf("backup %d: %v", i, err)
		}
		r := mustStart(t, smallSystem(fs))
		if rev := r.check(t, facts{rev: 1}, events); i == len(saved)-1 && rev != last {
			t.Errorf("the last backup ends at revision %d of %d", rev, last)
		}
		r.stop(t)
	}
}

// download takes a backup as a client does.
func (r *rig) download(t *testing.T, name string) string {
	t.Helper()
	in, size, err := r.back.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(in)
	if err := errors.Join(err, in.Close()); err != nil || int64(len(b)) != size {
		t.Fatalf("%d bytes of %d, %v", len(b), size, err)
	}
	f, err := vfs.OS().Create(name)
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// Revisions go on behind a bump, and all before it counts as compacted.
func TestRestoreBump(t *testing.T) {
	sys := smallSystem(vfs.NewMem())
	sys.tmp = t.TempDir()
	r := mustStart(t, sys)
	if _, err := r.put("a", "1", 0); err != nil {
		t.Fatal(err)
	}
	name := r.download(t, filepath.Join(t.TempDir(), "backup"))
	r.stop(t)
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	fs := vfs.NewMem()
	members, local, err := datadir.FirstMembers(
		map[string][]string{"default": {"http://localhost:2380"}}, "token", "default")
	if err != nil {
		t.Fatal(err)
	}
	err = datadir.Restore(context.Background(), fs, datadir.RestoreConfig{
		DataDir: "data", Members: members, Local: local, RevisionBump: 1000,
	}, database{db})
	if err != nil {
		t.Fatal(err)
	}
	r = mustStart(t, smallSystem(fs))
	got, err := r.get("a", "", 0)
	if err != nil || len(got.Kvs) != 1 || got.Kvs[0].ModRevision != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := r.get("a", "", 1001); !errors.Is(err, cairn.ErrCompacted) {
		t.Errorf("a read before the bump: %v", err)
	}
	if rev, err := r.put("a", "2", 0); err != nil || rev != 1003 {
		t.Errorf("a put after the bump: revision %d, %v", rev, err)
	}
	r.stop(t)
	r = mustStart(t, smallSystem(fs))
	defer r.stop(t)
	if rev := r.stores.machine.Store().Rev(); rev != 1003 {
		t.Errorf("after a restart the revision is %d", rev)
	}
}

// TestForceNewClusterDamaged: a member whose records are being fetched from others does not become
// a cluster of one without them: they would be gone for good.
func TestForceNewClusterDamaged(t *testing.T) {
	fs := vfs.NewMem()
	r := mustStart(t, smallSystem(fs), crashArgs...)
	if err := newLoad(r).run(2, 60, 1); err != nil {
		t.Fatal(err)
	}
	rev := r.stores.machine.Store().Rev()
	r.stop(t)
	d, err := datadir.Open(fs, "data", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.BeginRepair(math.MaxUint64), d.Close()); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--force-new-cluster"}, crashArgs...)
	_, err = startRig(smallSystem(fs), args...)
	if !errors.Is(err, datadir.ErrDamaged) || !strings.Contains(err.Error(), "lose them for good") {
		t.Errorf("started: %v", err)
	}
	if d, err = datadir.Open(fs, "data", ""); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.EndRepair(), d.Close()); err != nil {
		t.Fatal(err)
	}
	r = mustStart(t, smallSystem(fs), crashArgs...) // all is there yet
	defer r.stop(t)
	if got := r.stores.machine.Store().Rev(); got != rev {
		t.Errorf("revision %d, it was %d", got, rev)
	}
}

// TestForceNewClusterDropsIncoming: what has come of the old cluster's state is not added to what
// the new one writes.
func TestForceNewClusterDropsIncoming(t *testing.T) {
	fs := vfs.NewMem()
	r := mustStart(t, smallSystem(fs))
	if _, err := r.put("a", "1", 0); err != nil {
		t.Fatal(err)
	}
	incoming := r.stores.dir.Incoming()
	r.stop(t)
	if err := fs.MkdirAll(incoming); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(filepath.Join(incoming, "staged"))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Sync(), f.Close(), fs.SyncDir(incoming), fs.SyncDir("data"))
	if err != nil {
		t.Fatal(err)
	}
	r = mustStart(t, smallSystem(fs), "--force-new-cluster")
	r.stop(t)
	names, err := fs.CrashClone(nil).List(incoming)
	if err == nil && len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// TestStaleInstall: the note of an install that did not come to its checkpoint does not empty the
// raft log later, behind a checkpoint of this member's own that happens to be of that index.
func TestStaleInstall(t *testing.T) {
	fs := vfs.NewMem()
	r := mustStart(t, smallSystem(fs))
	if _, err := r.put("a", "1", 0); err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	at := r.saved.Load().index + 20
	d, err := datadir.Open(fs, "data", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.BeginInstall(at), d.Close()); err != nil {
		t.Fatal(err)
	}
	r = mustStart(t, smallSystem(fs))
	for r.node.Status().Applied < at {
		if _, err := r.put("b", "1", 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.makeCheckpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err = r.put("c", "acknowledged", 0); err != nil {
		t.Fatal(err)
	}
	clone := fs.CrashClone(nil)
	r.stop(t)
	r = mustStart(t, smallSystem(clone))
	defer r.stop(t)
	got, err := r.get("c", "", 0)
	if err != nil || len(got.Kvs) != 1 {
		t.Errorf("an acknowledged write is gone: %v, %v", got, err)
	}
}
