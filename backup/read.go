package backup

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/lease"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/wire"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Errors of Open and File.
var (
	ErrNotBackup = errors.New("not a backup of etcd or Cairn")
	ErrAuth      = errors.New("the backup has authentication enabled, which this version of cairn " +
		"cannot enforce; disable it with `etcdctl auth disable` before the backup is made")
)

// File is an opened backup.
type File struct {
	State
	db *bbolt.DB
}

// Open reads a backup file without changing it. The file must not have the SHA-256 that
// ends a snapshot.
func Open(name string) (_ *File, err error) {
	db, err := bbolt.Open(name, fileMode, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("open the backup %s: %w: %w", name, ErrNotBackup, err)
	}
	f := &File{db: db}
	if err := db.View(f.read); err != nil {
		return nil, errors.Join(fmt.Errorf("read the backup %s: %w", name, err), db.Close())
	}
	return f, nil
}

// Close gives the file free.
func (f *File) Close() error { return f.db.Close() }

func (f *File) read(tx *bbolt.Tx) error {
	if tx.Bucket(bucketKey) == nil || tx.Bucket(bucketMeta) == nil {
		return fmt.Errorf("%w: the buckets key and meta are not there", ErrNotBackup)
	}
	if b := tx.Bucket(bucketAuth); b != nil {
		if on := b.Get(keyAuthEnabled); len(on) == 1 && on[0] == 1 {
			return ErrAuth
		}
	}
	if err := f.readMeta(tx.Bucket(bucketMeta)); err != nil {
		return err
	}
	if err := f.readTables(tx); err != nil {
		return err
	}
	if b := tx.Bucket(bucketCluster); b != nil {
		f.Version = string(b.Get(keyClusterVersion))
	}
	key, _ := tx.Bucket(bucketKey).Cursor().Last()
	f.Rev = max(1, f.CompactRev)
	if key != nil {
		rev, _, err := decodeRevision(key)
		if err != nil {
			return err
		}
		f.Rev = max(f.Rev, rev.Main)
	}
	return nil
}

func decodeRevision(key []byte) (r cairn.Revision, tombstone bool, err error) {
	if len(key) < revisionBytes || key[8] != '_' ||
		len(key) > revisionBytes && (len(key) > revisionBytes+1 || key[revisionBytes] != tombstoneMark) {
		return r, false, fmt.Errorf("%w: %x is no revision", ErrNotBackup, key)
	}
	r.Main = int64(binary.BigEndian.Uint64(key))
	r.Sub = int64(binary.BigEndian.Uint64(key[9:]))
	return r, len(key) > revisionBytes, nil
}

func (f *File) readMeta(meta *bbolt.Bucket) error {
	number := func(key []byte) uint64 {
		if b := meta.Get(key); len(b) == 8 {
			return binary.BigEndian.Uint64(b)
		}
		return 0
	}
	f.Index, f.Term = number(keyIndex), number(keyTerm)
	f.Conf = &raftpb.ConfState{}
	if b := meta.Get(keyConf); b != nil {
		if err := json.Unmarshal(b, f.Conf); err != nil {
			return fmt.Errorf("%w: confState: %w", ErrNotBackup, err)
		}
	}
	f.CompactRev = -1
	for _, key := range [][]byte{keyScheduled, keyFinished} {
		if b := meta.Get(key); b != nil {
			rev, _, err := decodeRevision(b)
			if err != nil {
				return err
			}
			f.CompactRev = max(f.CompactRev, rev.Main)
		}
	}
	return nil
}

func (f *File) readTables(tx *bbolt.Tx) error {
	err := each(tx, bucketLease, func(key, value []byte) error {
		l, err := decodeLease(value)
		if err != nil || l.ID == 0 || l.TTL < 0 || l.TTL > lease.MaxTTL {
			return fmt.Errorf("%w: lease %x: %w", ErrNotBackup, key, err)
		}
		f.Leases = append(f.Leases, l)
		return nil
	})
	if err != nil {
		return err
	}
	err = each(tx, bucketAlarm, func(key, _ []byte) error {
		var a etcdserverpb.AlarmMember
		if err := proto.Unmarshal(key, &a); err != nil {
			return fmt.Errorf("%w: alarm %x: %w", ErrNotBackup, key, err)
		}
		f.Alarms = append(f.Alarms, alarm.Alarm{Member: a.MemberID, Type: alarm.Type(a.Alarm)})
		return nil
	})
	if err != nil {
		return err
	}
	return each(tx, bucketMembers, func(key, value []byte) error {
		var m member.Member
		if err := json.Unmarshal(value, &m); err != nil {
			return fmt.Errorf("%w: member %s: %w", ErrNotBackup, key, err)
		}
		f.Members = append(f.Members, m)
		return nil
	})
}

func each(tx *bbolt.Tx, name []byte, fn func(key, value []byte) error) error {
	if b := tx.Bucket(name); b != nil {
		return b.ForEach(fn)
	}
	return nil
}

// Records gives every record in revision order; its slices are valid during the call of fn. The
// empty record by which `etcdutl snapshot restore --bump-revision` raises the revision is left out.
func (f *File) Records(fn func(revlog.Record) error) error {
	return f.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketKey).ForEach(func(key, value []byte) error {
			rev, tombstone, err := decodeRevision(key)
			if err != nil || len(value) == 0 {
				return err
			}
			var kv cairn.KeyValue
			if err := wire.DecodeKeyValue(value, &kv); err != nil || len(kv.Key) == 0 {
				return fmt.Errorf("%w: the record of revision %d.%d: %w",
					ErrNotBackup, rev.Main, rev.Sub, err)
			}
			return fn(revlog.Record{Rev: rev, Tombstone: tombstone, KV: value})
		})
	})
}
