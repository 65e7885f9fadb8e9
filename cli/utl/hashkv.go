package utl

import (
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// Errors of a revision that a history cannot be hashed at, in etcd's words.
var (
	errCompacted = errors.New("mvcc: required revision has been compacted")
	errFutureRev = errors.New("mvcc: required revision is a future revision")
)

// hashKVCommand makes the verb "hashkv".
func (a *app) hashKVCommand() *cobra.Command {
	var rev int64
	cmd := &cobra.Command{
		Use:   "hashkv <filename>",
		Short: "Prints the KV history hash of a given file",
		Example: fmt.Sprintf("  %[1]s hashkv /backup/etcd-snapshot.db\n"+
			"  %[1]s hashkv --rev=42 default.cairn", a.cfg.Name),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.hashKV(cmd, args[0], rev) },
	}
	cmd.Flags().Int64Var(&rev, "rev", 0, "maximum revision to hash (default: latest revision)")
	return cmd
}

func (a *app) hashKV(cmd *cobra.Command, path string, rev int64) error {
	if err := a.checkFormat(); err != nil {
		return err
	}
	info, err := a.cfg.FS.Stat(path)
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	var h HashKV
	if info.IsDir() {
		if err := a.refuseEtcdDir(path); err != nil {
			return terminal.Fail(terminal.ExitError, err)
		}
		h, err = a.cfg.DataDir.HashKV(cmd.Context(), path, rev, a.lockTimeout)
	} else {
		h, err = a.hashFile(path, rev)
	}
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	return a.show(hashKVOutput(h))
}

// hashFile hashes the history in a snapshot file.
func (a *app) hashFile(path string, rev int64) (HashKV, error) {
	s, err := openSnapshot(a.cfg.FS, path, openOptions{wait: a.lockTimeout})
	if err != nil {
		return HashKV{}, err
	}
	defer s.Close()
	return s.HashKV(rev)
}

// refuseEtcdDir refuses a data directory of etcd, naming the file to give instead.
func (a *app) refuseEtcdDir(dir string) error {
	db := filepath.Join(dir, "member", "snap", "db")
	if _, err := a.cfg.FS.Stat(db); err == nil {
		return fmt.Errorf("%s is a data directory of etcd, not of Cairn; its database is %s",
			dir, db)
	}
	return nil
}

func hashKVOutput(h HashKV) output {
	return output{
		fields: []field{
			{"Hash", h.Hash}, {"Hash revision", h.Revision},
			{"Compact revision", h.CompactRevision},
		},
		header: []string{"hash", "hash revision", "compact revision"},
		row: []string{
			fmt.Sprint(h.Hash), fmt.Sprint(h.Revision), fmt.Sprint(h.CompactRevision),
		},
		json: h,
	}
}

// HashKV hashes the history up to revision rev, the latest for 0, as etcd's HashKV does: the name
// of the bucket, then key and value of each record, but those that a compaction has dropped or will
// drop. It holds the names of all keys in memory.
func (s *Snapshot) HashKV(rev int64) (HashKV, error) {
	compacted, latest, err := s.bounds()
	if err != nil {
		return HashKV{}, err
	}
	switch {
	case rev > 0 && rev < compacted:
		return HashKV{}, errCompacted
	case rev > 0 && rev > latest:
		return HashKV{}, errFutureRev
	case rev == 0:
		rev = latest
	}
	keep, err := s.keep(rev)
	if err != nil {
		return HashKV{}, err
	}
	hash := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	hash.Write([]byte(keyBucket)) // a hash never fails
	err = s.records(func(r record) error {
		_, kept := keep[r.revision]
		switch {
		case r.main > rev:
		case r.main <= compacted && len(keep) > 0 && !kept:
		case r.main == compacted && r.tombstone:
		default:
			hash.Write(r.key)
			hash.Write(r.keyValue)
		}
		return nil
	})
	if err != nil {
		return HashKV{}, err
	}
	return HashKV{Hash: hash.Sum32(), Revision: rev, CompactRevision: compacted}, nil
}

// bounds returns the revision up to which the history is compacted (-1 for none), counting a
// compaction that was asked for and did not finish, and the latest revision.
func (s *Snapshot) bounds() (compacted, latest int64, err error) {
	finished, scheduled, err := s.compaction()
	if err != nil {
		return 0, 0, err
	}
	latest = 1 // the revision of an empty store
	err = s.records(func(r record) error {
		latest = r.main
		return nil
	})
	compacted = finished
	if scheduled > 0 {
		compacted = max(finished, scheduled)
	}
	return compacted, max(latest, compacted), err
}

// keep returns the revisions that a compaction at rev would keep: for each key the latest up to
// rev, unless that is a tombstone.
func (s *Snapshot) keep(rev int64) (map[revision]struct{}, error) {
	latest := make(map[string]revision)
	err := s.records(func(r record) error {
		if r.main > rev {
			return nil
		}
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(r.keyValue, &kv); err != nil {
			return fmt.Errorf("cannot unmarshal the value of revision %d.%d: %w",
				r.main, r.sub, err)
		}
		if r.tombstone {
			delete(latest, string(kv.GetKey()))
		} else {
			latest[string(kv.GetKey())] = r.revision
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	keep := make(map[revision]struct{}, len(latest))
	for _, r := range latest {
		keep[r] = struct{}{}
	}
	return keep, nil
}
