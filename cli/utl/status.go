package utl

import (
	"fmt"
	"hash/crc32"
	"regexp"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// Status is what a snapshot holds.
type Status struct {
	// Hash is a CRC-32C over all buckets, not the one of hashkv.
	Hash uint32 `json:"hash"`
	// Revision is the latest one.
	Revision int64 `json:"revision"`
	// TotalKey is the number of keys that exist at the latest revision.
	TotalKey int `json:"totalKey"`
	// TotalSize is the size of the database in bytes, without the SHA-256.
	TotalSize int64 `json:"totalSize"`
	// Version is the version of the storage schema, "" before 3.6.
	Version string `json:"version"`
}

// snapshotStatusCommand makes the verb "snapshot status".
func (a *app) snapshotStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status <filename>",
		Short: "Gets backend snapshot status of a given file",
		Long: "When --write-out is set to simple, this command prints out comma-separated status " +
			"lists for each endpoint.\n" +
			"The items in the lists are hash, revision, total keys, total size.\n",
		Example: "  " + a.cfg.Name + " snapshot status /backup/etcd-snapshot.db -w table",
		RunE:    a.snapshotStatus,
	}
}

func (a *app) snapshotStatus(_ *cobra.Command, args []string) (err error) {
	if len(args) != 1 {
		return terminal.Failf(terminal.ExitBadArgs,
			"snapshot status requires exactly one argument")
	}
	if _, err := a.cfg.FS.Stat(args[0]); err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	if err := a.checkFormat(); err != nil {
		return err
	}
	s, err := openSnapshot(a.cfg.FS, args[0], openOptions{wait: a.lockTimeout})
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	defer s.Close()
	st, err := s.Status()
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	return a.show(statusOutput(st))
}

func statusOutput(st Status) output {
	return output{
		fields: []field{
			{"Hash", st.Hash}, {"Revision", st.Revision}, {"Keys", st.TotalKey},
			{"Size", st.TotalSize}, {"Version", st.Version},
		},
		header: []string{"hash", "revision", "total keys", "total size", "version"},
		row: []string{
			fmt.Sprintf("%x", st.Hash), fmt.Sprint(st.Revision), fmt.Sprint(st.TotalKey),
			terminal.Bytes(uint64(st.TotalSize)), st.Version,
		},
		json: st,
	}
}

// Status reads the whole snapshot. It holds the names of all keys in memory.
func (s *Snapshot) Status() (Status, error) {
	var st Status
	hash := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	alive := make(map[string]struct{})
	version, err := s.storageVersion()
	if err != nil {
		return Status{}, err
	}
	st.TotalSize, st.Version = s.db.size(), version
	err = s.damaged(s.db.buckets(func(name, value []byte) error {
		hash.Write(name) // a hash never fails
		isKeys := string(name) == keyBucket
		err := s.db.forEach(value, func(k, v []byte) error {
			hash.Write(k)
			hash.Write(v)
			if !isKeys {
				return nil
			}
			return st.addRecord(alive, k, v)
		})
		if err != nil {
			return fmt.Errorf("error during bucket key iteration, name: %q err: %w", name, err)
		}
		return nil
	}))
	if err != nil {
		return Status{}, err
	}
	st.TotalKey = len(alive)
	st.Hash = hash.Sum32()
	return st, nil
}

// addRecord counts one record of the key bucket.
func (st *Status) addRecord(alive map[string]struct{}, k, v []byte) error {
	r, err := parseRevision(k)
	if err != nil {
		return fmt.Errorf("cannot parse revision key: %q err: %w", k, err)
	}
	var kv mvccpb.KeyValue
	if err := proto.Unmarshal(v, &kv); err != nil {
		return fmt.Errorf("cannot unmarshal value, key: %q value: %q err: %w", k, v, err)
	}
	st.Revision = r.main
	if r.tombstone {
		delete(alive, string(kv.GetKey()))
	} else {
		alive[string(kv.GetKey())] = struct{}{}
	}
	return nil
}

// semanticVersion is a version as etcd stores it: "3.7.0".
var semanticVersion = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// storageVersion reads the version of the schema, "" where there is none that can be read.
func (s *Snapshot) storageVersion() (version string, err error) {
	err = s.ForEach(metaBucket, func(k, v []byte) error {
		if string(k) == "storageVersion" && semanticVersion.Match(v) {
			version = string(v)
		}
		return nil
	})
	return version, err
}
