package backup

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/lease"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/wire"
	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/testing/protocmp"
)

func sample(records int) (*State, []revlog.Record) {
	s := &State{
		Index: 77, Term: 3, Conf: &raftpb.ConfState{Voters: []uint64{5}}, Rev: 1, CompactRev: 9,
		Leases:  []lease.Info{{ID: 7, TTL: 100, Remaining: 30}, {ID: -4, TTL: 60}},
		Alarms:  []alarm.Alarm{{Member: 5, Type: alarm.NoSpace}},
		Members: []member.Member{{ID: 5, Name: "n", PeerURLs: []string{"http://p"}}},
		Version: "3.7.0",
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var list []revlog.Record
	for i := range records {
		kv := cairn.KeyValue{Key: []byte{byte(i), byte(i >> 8), 1}}
		tombstone := rng.IntN(5) == 0
		if !tombstone {
			kv.Value, kv.ModRevision, kv.Version = make([]byte, rng.IntN(400)), int64(i+2), 1
			kv.CreateRevision = kv.ModRevision
		}
		rev := cairn.Revision{Main: int64(i/2 + 2), Sub: int64(i % 2)}
		list = append(list, revlog.Record{Rev: rev, Tombstone: tombstone,
			KV: wire.AppendKeyValue(nil, &kv)})
		s.Rev = rev.Main
	}
	return s, list
}

func give(list []revlog.Record) Records {
	return func(fn func(revlog.Record) error) error {
		for _, r := range list {
			if err := fn(r); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestRoundTrip(t *testing.T) {
	name := filepath.Join(t.TempDir(), "backup")
	state, list := sample(25_000)
	if err := Write(context.Background(), name, state, give(list)); err != nil {
		t.Fatal(err)
	}
	src := file{t, name}
	got, err := Read(src)
	if err != nil {
		t.Fatal(err)
	}
	got.Rev = state.Rev
	if d := cmp.Diff(state, got, protocmp.Transform()); d != "" {
		t.Errorf("the state came back changed:\n%s", d)
	}
	next := 0
	last, err := ReadRecords(src, func(r revlog.Record) error {
		want := list[next]
		if r.Rev != want.Rev || r.Tombstone != want.Tombstone || !bytes.Equal(r.KV, want.KV) {
			t.Fatalf("record %d came back changed: %v, want %v", next, r, want)
		}
		next++
		return nil
	})
	if err != nil || next != len(list) || last != state.Rev {
		t.Fatalf("%d records of %d up to %d, %v", next, len(list), last, err)
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	state, list := sample(10)
	err := Write(ctx, filepath.Join(t.TempDir(), "backup"), state, give(list))
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "backup")
	state, list := sample(3)
	if err := Write(context.Background(), name, state, give(list)); err != nil {
		t.Fatal(err)
	}
	if err := Write(context.Background(), name, state, give(list)); err == nil {
		t.Error("a backup was written over another")
	}
	change := func(fn func(tx *bbolt.Tx) error) {
		db, err := bbolt.Open(name, fileMode, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(fn), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	change(func(tx *bbolt.Tx) error { return tx.Bucket(bucketAuth).Put(keyAuthEnabled, []byte{1}) })
	if _, err := Read(file{t, name}); !errors.Is(err, ErrAuth) {
		t.Errorf("authentication enabled: %v", err)
	}
	change(func(tx *bbolt.Tx) error { return tx.Bucket(bucketAuth).Delete(keyAuthEnabled) })
	for key, value := range map[string]string{
		"z": "1", string(appendRevision(nil, cairn.Revision{Main: 9}, true)): "no message",
	} {
		change(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketKey).Put([]byte(key), []byte(value))
		})
		_, err := ReadRecords(file{t, name}, func(revlog.Record) error { return nil })
		if !errors.Is(err, ErrNotBackup) {
			t.Errorf("record %q = %q: %v", key, value, err)
		}
		change(func(tx *bbolt.Tx) error { return tx.Bucket(bucketKey).Delete([]byte(key)) })
	}
	change(func(tx *bbolt.Tx) error { return tx.Bucket(bucketLease).Put([]byte("l"), []byte{8}) })
	if _, err := Read(file{t, name}); !errors.Is(err, ErrNotBackup) {
		t.Errorf("a lease that cannot be read: %v", err)
	}
}

// file is a backup file as a Source.
type file struct {
	t    *testing.T
	name string
}

func (f file) ForEach(bucket string, fn func(key, value []byte) error) error {
	db, err := bbolt.Open(f.name, fileMode, &bbolt.Options{ReadOnly: true})
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucket)).ForEach(fn) })
}
