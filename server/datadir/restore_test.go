package datadir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/backup"
	"github.com/cairnkv/cairn/lease"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/wire"
	"go.etcd.io/bbolt"
	"go.etcd.io/raft/v3/raftpb"
)

// etcdSnapshot was made by etcd 3.7.3; what its etcdutl says of it stands beside it.
const (
	etcdSnapshot   = "../../cli/utl/testdata/etcd-3.7.3.snap"
	etcdHash       = 1812407165
	etcdRev        = 26
	etcdCompactRev = 9
)

// database is a backup file as a source.
type database struct{ db *bbolt.DB }

func openDatabase(t *testing.T, name string) database {
	t.Helper()
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return database{db}
}

func (d database) ForEach(bucket string, fn func(key, value []byte) error) error {
	return d.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return nil
		}
		return b.ForEach(fn)
	})
}

// ownBackup is a backup of ours with n keys from revision 2 on.
func ownBackup(t *testing.T, n int) database {
	t.Helper()
	name := filepath.Join(t.TempDir(), "backup.db")
	err := backup.Write(context.Background(), name, &backup.State{
		Index: 9, Term: 2, Conf: &raftpb.ConfState{Voters: []uint64{5}}, Rev: int64(n + 1),
		CompactRev: -1, Leases: []lease.Info{{ID: 7, TTL: 100, Remaining: 30}},
		Alarms:  []alarm.Alarm{{Member: 5, Type: alarm.NoSpace}},
		Members: []member.Member{{ID: 5, Name: "n", PeerURLs: []string{"http://p"}}},
		Version: "3.7.0",
	}, func(fn func(revlog.Record) error) error {
		for i := range n {
			rev := cairn.Revision{Main: int64(i + 2)}
			kv := cairn.KeyValue{
				Key: fmt.Appendf(nil, "key%05d", i), Value: bytes.Repeat([]byte{'v'}, 300),
				CreateRevision: rev.Main, ModRevision: rev.Main, Version: 1,
			}
			record := revlog.Record{Rev: rev, KV: wire.AppendKeyValue(nil, &kv)}
			if err := fn(record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return openDatabase(t, name)
}

func restoreConfig(t *testing.T) RestoreConfig {
	t.Helper()
	members, local, err := FirstMembers(
		map[string][]string{"n": {"http://localhost:2380"}}, "token", "n")
	if err != nil {
		t.Fatal(err)
	}
	return RestoreConfig{DataDir: root, Members: members, Local: local}
}

func hashOf(fs vfs.FS) (hash uint32, rev, compactRev int64, err error) {
	return HashKV(context.Background(), fs, root, 0, 1)
}

// A backup of etcd's own has etcd's hash after the restore.
func TestRestoreEtcd(t *testing.T) {
	fs := vfs.NewMem()
	src := openDatabase(t, etcdSnapshot)
	if err := Restore(context.Background(), fs, restoreConfig(t), src); err != nil {
		t.Fatal(err)
	}
	for range 2 { // to look changes nothing
		hash, rev, compactRev, err := hashOf(fs)
		if err != nil || hash != etcdHash || rev != etcdRev || compactRev != etcdCompactRev {
			t.Errorf("hash %d, revision %d, compacted %d, %v", hash, rev, compactRev, err)
		}
	}
}

func TestRestoreBump(t *testing.T) {
	fs := vfs.NewMem()
	cfg := restoreConfig(t)
	cfg.RevisionBump = 1_000_000
	if err := Restore(context.Background(), fs, cfg, ownBackup(t, 10)); err != nil {
		t.Fatal(err)
	}
	_, rev, compactRev, err := hashOf(fs)
	if err != nil || rev != 1_000_011 || compactRev != rev {
		t.Errorf("revision %d, compacted %d, %v", rev, compactRev, err)
	}
	d := open(t, fs)
	defer closeDir(t, d)
	img, ok, err := d.Load()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if info, ok := img.Leases.Lookup(7); !ok || info.TTL != 100 || info.Remaining != 30 {
		t.Errorf("the lease came back as %+v, %v", info, ok)
	}
	if !img.Alarms.Active(alarm.NoSpace) {
		t.Error("the alarm did not come back")
	}
	if m := img.Members.List(); len(m) != 1 || m[0].ID != cfg.Local || img.Local != cfg.Local {
		t.Errorf("members %+v, this one is %x", m, img.Local)
	}
}

// TestRestoreBumpTwice: the state of a member that was restored with a new revision, and took no
// write since, has a revision without a record. What is restored of it goes on from there.
func TestRestoreBumpTwice(t *testing.T) {
	const rev, bump = 1_000_002, 1000
	name := filepath.Join(t.TempDir(), "backup.db")
	err := backup.Write(context.Background(), name, &backup.State{
		Index: 9, Term: 2, Conf: &raftpb.ConfState{Voters: []uint64{5}}, Rev: rev, CompactRev: rev,
	}, func(fn func(revlog.Record) error) error {
		kv := cairn.KeyValue{Key: []byte("k"), CreateRevision: 2, ModRevision: 2, Version: 1}
		return fn(revlog.Record{
			Rev: cairn.Revision{Main: 2}, KV: wire.AppendKeyValue(nil, &kv)})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ bump, rev int64 }{{0, rev}, {bump, rev + bump}} {
		fs, cfg := vfs.NewMem(), restoreConfig(t)
		cfg.RevisionBump = c.bump
		if err := Restore(context.Background(), fs, cfg, openDatabase(t, name)); err != nil {
			t.Fatal(err)
		}
		_, got, compactRev, err := hashOf(fs)
		if err != nil || got != c.rev || compactRev != c.rev {
			t.Errorf("with %d more: revision %d, compacted %d, %v", c.bump, got, compactRev, err)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	src := ownBackup(t, 3)
	for _, c := range []struct {
		name   string
		before func(fs *vfs.Mem, cfg *RestoreConfig)
		word   string
	}{
		{"a file is there", func(fs *vfs.Mem, _ *RestoreConfig) { write(t, fs, root+"/LOCK", "") },
			`data-dir "node.cairn" not empty`},
		{"one of etcd", func(fs *vfs.Mem, _ *RestoreConfig) {
			write(t, fs, root+"/member/snap/db", "")
		}, "belongs to etcd"},
		{"restored before", func(fs *vfs.Mem, cfg *RestoreConfig) {
			if err := Restore(context.Background(), fs, *cfg, src); err != nil {
				t.Fatal(err)
			}
		}, "not empty"},
		{"another raft log", func(fs *vfs.Mem, cfg *RestoreConfig) {
			cfg.WALDir = "logs"
			write(t, fs, "logs/0000000000000001.wal", "x")
		}, `wal-dir "logs" not empty`},
	} {
		fs, cfg := vfs.NewMem(), restoreConfig(t)
		c.before(fs, &cfg)
		used := fs.Used()
		err := Restore(context.Background(), fs, cfg, src)
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.word)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if fs.Used() != used {
			t.Errorf("%s: something was written", c.name)
		}
	}
}

// A crash at any step leaves nothing, a directory that says that the restore was cut short, or all
// of it; never one that would be begun anew although records are in it.
func TestRestoreCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	fs := vfs.NewMem()
	var clones []*vfs.Mem
	fs.SetHook(func(vfs.Op, bool) { clones = append(clones, fs.CrashClone(rng)) })
	cfg := restoreConfig(t)
	cfg.WALDir = "logs/wal"
	src := ownBackup(t, 50)
	if err := Restore(context.Background(), fs, cfg, src); err != nil {
		t.Fatal(err)
	}
	fs.SetHook(nil)
	var nothing, partial, whole int
	for i, clone := range clones {
		d, err := Open(clone, root, cfg.WALDir)
		switch {
		case errors.Is(err, ErrPartial):
			partial++
			continue
		case err != nil:
			t.Fatalf("clone %d: %v", i, err)
		}
		img, ok, err := d.Load()
		if err != nil {
			t.Fatalf("clone %d: %v", i, err)
		}
		if !ok {
			nothing++
			if err := d.CheckBegin(); err != nil {
				t.Fatalf("clone %d: %v", i, err)
			}
		} else if whole++; img.Rev != 51 {
			t.Fatalf("clone %d is at revision %d", i, img.Rev)
		}
		closeDir(t, d)
	}
	if nothing == 0 || partial == 0 || whole == 0 {
		t.Errorf("%d clones with nothing, %d partial, %d whole", nothing, partial, whole)
	}
}

// A restore that fails leaves an empty directory, or one that says so; the next one succeeds.
func TestRestoreFails(t *testing.T) {
	src := ownBackup(t, 50)
	failed := 0
	for nth := int64(1); ; nth++ {
		mem := vfs.NewMem()
		faulty := vfs.NewFaulty(mem)
		faulty.Inject(vfs.Fault{Nth: nth})
		err := Restore(context.Background(), faulty, restoreConfig(t), src)
		if faulty.Fired() == 0 {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if err == nil {
			t.Fatalf("operation %d failed and nobody heard of it", nth)
		}
		failed++
		d, err := Open(mem, root, "")
		if err == nil {
			if _, ok, err := d.Load(); err != nil || !ok && d.CheckBegin() != nil {
				t.Errorf("operation %d failed: %v, %v", nth, err, d.CheckBegin())
			}
			closeDir(t, d)
		} else if !errors.Is(err, ErrPartial) {
			t.Errorf("operation %d failed: %v", nth, err)
		}
		if err := mem.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
		if err := Restore(context.Background(), mem, restoreConfig(t), src); err != nil {
			t.Fatalf("after operation %d had failed: %v", nth, err)
		}
	}
	if failed < 20 {
		t.Errorf("only %d operations", failed)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fs := vfs.NewMem()
	if err := Restore(ctx, fs, restoreConfig(t), src); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if err := Restore(context.Background(), fs, restoreConfig(t), src); err != nil {
		t.Errorf("after a canceled one: %v", err)
	}
}
