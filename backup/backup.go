// Package backup writes and reads backup files: the database file of etcd 3.7 (bbolt, with etcd's
// buckets), so that a backup of Cairn is one of etcd and the other way round. The SHA-256 that
// ends a snapshot file is not part of it here: who streams or copies the file adds or checks it.
//
//	bucket           key                                value
//	key              main '_' sub ['t'] (8+1+8[+1])     mvccpb.KeyValue
//	lease            id (8 bytes)                       leasepb.Lease
//	alarm            etcdserverpb.AlarmMember           -
//	members          hex id                             JSON
//	cluster          "clusterVersion"                   "3.7.0"
//	meta             consistent_index, term, confState, storageVersion,
//	                 scheduledCompactRev, finishedCompactRev
//	members_removed, auth, authUsers, authRoles: made, and empty
//
// Integers are big-endian. Facts from etcd server/storage/schema and
// server/storage/mvcc/revision.go.
package backup

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/internal/version"
	"github.com/cairnkv/cairn/lease"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/revlog"
	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// State is what a backup holds besides the records.
type State struct {
	Index, Term uint64
	Conf        *raftpb.ConfState
	Rev         int64
	CompactRev  int64 // < 0: never compacted
	Leases      []lease.Info
	Alarms      []alarm.Alarm
	Members     []member.Member
	Version     string // of the cluster
}

// Buckets and keys of etcd's schema.
var (
	bucketKey     = []byte("key")
	bucketMeta    = []byte("meta")
	bucketLease   = []byte("lease")
	bucketAlarm   = []byte("alarm")
	bucketCluster = []byte("cluster")
	bucketMembers = []byte("members")
	bucketAuth    = []byte("auth")

	allBuckets = [][]byte{bucketKey, bucketMeta, bucketLease, bucketAlarm, bucketCluster,
		bucketMembers, []byte("members_removed"), bucketAuth, []byte("authUsers"),
		[]byte("authRoles")}

	keyIndex          = []byte("consistent_index")
	keyTerm           = []byte("term")
	keyConf           = []byte("confState")
	keyStorageVersion = []byte("storageVersion")
	keyScheduled      = []byte("scheduledCompactRev")
	keyFinished       = []byte("finishedCompactRev")
	keyClusterVersion = []byte("clusterVersion")
	keyAuthEnabled    = []byte("authEnabled")
)

const (
	revisionBytes  = 8 + 1 + 8
	tombstoneMark  = 't'
	recordsPerTx   = 2_000 // a commit is not interrupted: a few milliseconds
	bytesPerTx     = 1 << 20
	fileMode       = 0o600
	recordFillPart = 0.95 // records come in order: pages may be full
)

// appendRevision appends a record's key.
func appendRevision(dst []byte, r cairn.Revision, tombstone bool) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Main))
	dst = append(dst, '_')
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Sub))
	if tombstone {
		dst = append(dst, tombstoneMark)
	}
	return dst
}

// Records calls fn for each record of a backup in revision order, and returns its error.
type Records func(fn func(revlog.Record) error) error

// Write makes the backup file name, which must not exist. A failed one is left for the caller to
// remove. Nothing is synced: the file is to be sent, not kept.
func Write(ctx context.Context, name string, state *State, records Records) (err error) {
	db, err := bbolt.Open(name, fileMode, &bbolt.Options{
		NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return fmt.Errorf("make the backup file %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Update(state.write); err != nil {
		return fmt.Errorf("write the backup file %s: %w", name, err)
	}
	w := &recordWriter{db: db}
	err = records(func(r revlog.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return w.add(r)
	})
	if err := errors.Join(err, w.commit()); err != nil {
		return fmt.Errorf("write the backup file %s: %w", name, err)
	}
	return nil
}

// recordWriter puts records into the bucket in transactions of bounded size.
type recordWriter struct {
	db     *bbolt.DB
	tx     *bbolt.Tx
	bucket *bbolt.Bucket
	count  int
	bytes  int
}

func (w *recordWriter) add(r revlog.Record) (err error) {
	if w.tx == nil {
		if w.tx, err = w.db.Begin(true); err != nil {
			return err
		}
		w.bucket = w.tx.Bucket(bucketKey)
		w.bucket.FillPercent = recordFillPart
		w.count, w.bytes = 0, 0
	}
	key := appendRevision(make([]byte, 0, revisionBytes+1), r.Rev, r.Tombstone)
	value := append([]byte(nil), r.KV...) // bbolt keeps it until the commit
	if err := w.bucket.Put(key, value); err != nil {
		return err
	}
	w.count++
	w.bytes += len(value)
	if w.count >= recordsPerTx || w.bytes >= bytesPerTx {
		return w.commit()
	}
	return nil
}

func (w *recordWriter) commit() error {
	if w.tx == nil {
		return nil
	}
	tx := w.tx
	w.tx = nil
	return tx.Commit()
}

func (s *State) write(tx *bbolt.Tx) error {
	for _, name := range allBuckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	if err := s.writeMeta(tx.Bucket(bucketMeta)); err != nil {
		return err
	}
	if err := s.writeTables(tx); err != nil {
		return err
	}
	if s.Version == "" {
		return nil
	}
	return tx.Bucket(bucketCluster).Put(keyClusterVersion, []byte(s.Version))
}

func (s *State) writeMeta(meta *bbolt.Bucket) error {
	conf, err := json.Marshal(s.Conf)
	if err != nil {
		return err
	}
	errs := []error{
		meta.Put(keyIndex, binary.BigEndian.AppendUint64(nil, s.Index)),
		meta.Put(keyTerm, binary.BigEndian.AppendUint64(nil, s.Term)),
		meta.Put(keyConf, conf),
		meta.Put(keyStorageVersion, []byte(version.Storage)),
	}
	if s.CompactRev >= 0 {
		rev := appendRevision(nil, cairn.Revision{Main: s.CompactRev}, false)
		errs = append(errs, meta.Put(keyScheduled, rev), meta.Put(keyFinished, rev))
	}
	return errors.Join(errs...)
}

func (s *State) writeTables(tx *bbolt.Tx) error {
	for _, l := range s.Leases {
		key := binary.BigEndian.AppendUint64(nil, uint64(l.ID))
		if err := tx.Bucket(bucketLease).Put(key, encodeLease(l)); err != nil {
			return err
		}
	}
	for _, a := range s.Alarms {
		key, err := proto.Marshal(&etcdserverpb.AlarmMember{
			MemberID: a.Member, Alarm: etcdserverpb.AlarmType(a.Type),
		})
		if err != nil {
			return err
		}
		if err := tx.Bucket(bucketAlarm).Put(key, nil); err != nil {
			return err
		}
	}
	for _, m := range s.Members {
		value, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if err := tx.Bucket(bucketMembers).Put(fmt.Appendf(nil, "%x", m.ID), value); err != nil {
			return err
		}
	}
	return nil
}

// encodeLease is leasepb.Lease: ID 1, TTL 2, RemainingTTL 3.
func encodeLease(l lease.Info) []byte {
	var b []byte
	for i, v := range [...]int64{l.ID, l.TTL, l.Remaining} {
		if v != 0 {
			b = protowire.AppendTag(b, protowire.Number(i+1), protowire.VarintType)
			b = protowire.AppendVarint(b, uint64(v))
		}
	}
	return b
}

func decodeLease(b []byte) (l lease.Info, err error) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return l, protowire.ParseError(n)
		}
		b = b[n:]
		if kind != protowire.VarintType {
			if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
				return l, protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return l, protowire.ParseError(n)
		}
		b = b[n:]
		switch field {
		case 1:
			l.ID = int64(v)
		case 2:
			l.TTL = int64(v)
		case 3:
			l.Remaining = int64(v)
		}
	}
	return l, nil
}
