package backup

import (
	"bytes"
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
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Errors of Read and ReadRecords.
var (
	ErrNotBackup = errors.New("not a backup of etcd or Cairn")
	ErrAuth      = errors.New("the backup has authentication enabled, which this version of " +
		"cairn cannot enforce; disable it with `etcdctl auth disable` before the backup is made")
)

// Source gives the pairs of a bucket of a backup file in the order of their keys; a bucket that is
// not there has none. Key and value are valid during the call of fn, whose error it returns.
type Source interface {
	ForEach(bucket string, fn func(key, value []byte) error) error
}

// Read returns what a backup holds besides the records. State.Rev is 0: the last record tells it.
func Read(src Source) (*State, error) {
	s := &State{Conf: &raftpb.ConfState{}, CompactRev: -1}
	err := src.ForEach(string(bucketAuth), func(key, value []byte) error {
		if bytes.Equal(key, keyAuthEnabled) && len(value) == 1 && value[0] == 1 {
			return ErrAuth
		}
		return nil
	})
	if err == nil {
		err = src.ForEach(string(bucketMeta), s.readMeta)
	}
	if err == nil {
		err = s.readTables(src)
	}
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	return s, nil
}

func decodeRevision(key []byte) (r cairn.Revision, tombstone bool, err error) {
	whole := len(key) == revisionBytes ||
		len(key) == revisionBytes+1 && key[revisionBytes] == tombstoneMark
	if !whole || key[8] != '_' {
		return r, false, fmt.Errorf("%w: %x is no revision", ErrNotBackup, key)
	}
	r.Main = int64(binary.BigEndian.Uint64(key))
	r.Sub = int64(binary.BigEndian.Uint64(key[9:]))
	return r, len(key) > revisionBytes, nil
}

func (s *State) readMeta(key, value []byte) error {
	switch {
	case bytes.Equal(key, keyIndex) && len(value) == 8:
		s.Index = binary.BigEndian.Uint64(value)
	case bytes.Equal(key, keyTerm) && len(value) == 8:
		s.Term = binary.BigEndian.Uint64(value)
	case bytes.Equal(key, keyConf):
		if err := json.Unmarshal(value, s.Conf); err != nil {
			return fmt.Errorf("%w: confState: %w", ErrNotBackup, err)
		}
	case bytes.Equal(key, keyScheduled), bytes.Equal(key, keyFinished):
		rev, _, err := decodeRevision(value)
		if err != nil {
			return err
		}
		s.CompactRev = max(s.CompactRev, rev.Main)
	}
	return nil
}

func (s *State) readTables(src Source) error {
	err := src.ForEach(string(bucketLease), func(key, value []byte) error {
		l, err := decodeLease(value)
		if err != nil || l.ID == 0 || l.TTL < 0 || l.TTL > lease.MaxTTL {
			return fmt.Errorf("%w: lease %x: %w", ErrNotBackup, key, err)
		}
		s.Leases = append(s.Leases, l)
		return nil
	})
	if err != nil {
		return err
	}
	err = src.ForEach(string(bucketAlarm), func(key, _ []byte) error {
		var a etcdserverpb.AlarmMember
		if err := proto.Unmarshal(key, &a); err != nil {
			return fmt.Errorf("%w: alarm %x: %w", ErrNotBackup, key, err)
		}
		s.Alarms = append(s.Alarms, alarm.Alarm{Member: a.MemberID, Type: alarm.Type(a.Alarm)})
		return nil
	})
	if err != nil {
		return err
	}
	err = src.ForEach(string(bucketCluster), func(key, value []byte) error {
		if bytes.Equal(key, keyClusterVersion) {
			s.Version = string(value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return src.ForEach(string(bucketMembers), func(key, value []byte) error {
		var m member.Member
		if err := json.Unmarshal(value, &m); err != nil {
			return fmt.Errorf("%w: member %s: %w", ErrNotBackup, key, err)
		}
		s.Members = append(s.Members, m)
		return nil
	})
}

// ReadRecords gives every record in revision order; its slices are valid during the call of fn. It
// returns the newest revision, at least 1. That may be one without a record: the empty pair by
// which `etcdutl snapshot restore --bump-revision` raises the revision is not given to fn.
func ReadRecords(src Source, fn func(revlog.Record) error) (last int64, err error) {
	last = 1
	err = src.ForEach(string(bucketKey), func(key, value []byte) error {
		rev, tombstone, err := decodeRevision(key)
		if err != nil {
			return err
		}
		last = max(last, rev.Main)
		if len(value) == 0 {
			return nil
		}
		var kv cairn.KeyValue
		if err := wire.DecodeKeyValue(value, &kv); err != nil || len(kv.Key) == 0 {
			return fmt.Errorf("%w: the record of revision %d.%d: %w",
				ErrNotBackup, rev.Main, rev.Sub, err)
		}
		return fn(revlog.Record{Rev: rev, Tombstone: tombstone, KV: value})
	})
	return last, err
}
