package utl

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cairnkv/cairn/vfs"
)

// sectorSize divides the length of a database; a snapshot is one with a SHA-256 behind it.
const sectorSize = 512

// Buckets of etcd's schema that are read here by name.
const (
	keyBucket  = "key"
	metaBucket = "meta"
)

// errMissingHash says that a file is no snapshot, or only part of one.
var errMissingHash = errors.New("snapshot missing hash but --skip-hash-check=false")

// Snapshot is a snapshot file, open for reading. Its methods may run at once, until Close. A file
// that turns out to be damaged gives errors.
type Snapshot struct {
	path string
	f    vfs.File
	db   *database
	lock *bolt.DB
}

// openOptions says how a file is opened.
type openOptions struct {
	// needHash refuses a file without a SHA-256 behind it.
	needHash bool
	// ignoreHash does not look at the SHA-256.
	ignoreHash bool
	// wait bounds the wait for a process that has the file locked; 0 does not.
	wait time.Duration
}

// openSnapshot opens the file at path, and checks its hash, if it has one, and its structure.
func openSnapshot(fs vfs.FS, path string, o openOptions) (_ *Snapshot, err error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{path: path, f: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	hasHash := size%sectorSize == sha256.Size
	if o.needHash && !hasHash {
		return nil, errMissingHash
	}
	if hasHash {
		size -= sha256.Size
	}
	if hasHash && !o.ignoreHash {
		if err := checkHash(f, size); err != nil {
			return nil, err
		}
	}
	if s.db, err = openDatabase(f, size); err != nil {
		return nil, fmt.Errorf("%s is not a snapshot: %w", path, err)
	}
	if s.lock, err = lockFile(path, o.wait); err != nil {
		return nil, err
	}
	return s, s.check()
}

// lockFile takes the lock that keeps etcd from opening the file for writing. It is bbolt's, which
// looks at no more than the meta pages for it.
func lockFile(path string, wait time.Duration) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: wait})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process; stop it, or work on a copy "+
			"(waited %v, see --timeout): %w", path, wait, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not a snapshot: %w", path, err)
	}
	return db, nil
}

// check walks through all buckets.
func (s *Snapshot) check() error {
	return s.damaged(s.db.buckets(func(_, value []byte) error {
		return s.db.forEach(value, func([]byte, []byte) error { return nil })
	}))
}

// damaged names the file in an error over what it holds.
func (s *Snapshot) damaged(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s is damaged: %w", s.path, err)
}

// checkHash compares the SHA-256 of the first size bytes with the one behind them.
func checkHash(f vfs.File, size int64) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, size)); err != nil {
		return err
	}
	want := make([]byte, sha256.Size)
	if _, err := f.ReadAt(want, size); err != nil {
		return err
	}
	if got := h.Sum(nil); !bytes.Equal(got, want) {
		return fmt.Errorf("expected sha256 %v, got %v", want, got)
	}
	return nil
}

// Close ends the use of the file.
func (s *Snapshot) Close() error {
	var err error
	if s.lock != nil {
		err = s.lock.Close()
	}
	return errors.Join(err, s.f.Close())
}

// ForEach calls f with each pair in a bucket of etcd's schema, in the order of the keys, and
// returns its error. Key and value are valid during the call. A bucket that does not exist has no
// pairs.
func (s *Snapshot) ForEach(bucket string, f func(key, value []byte) error) error {
	var failed error
	err := s.pairs(bucket, func(key, value []byte) error {
		failed = f(key, value)
		return failed
	})
	if failed != nil {
		return failed // not the file's fault
	}
	return s.damaged(err)
}

// pairs is ForEach where an error of f is one over what the file holds.
func (s *Snapshot) pairs(bucket string, f func(key, value []byte) error) error {
	return s.db.buckets(func(name, value []byte) error {
		if string(name) != bucket {
			return nil
		}
		return s.db.forEach(value, f)
	})
}

// revision orders the records of a history.
type revision struct{ main, sub int64 }

// record is one change of one key.
type record struct {
	revision
	// tombstone says that the key was deleted; keyValue has only its name then.
	tombstone bool
	// key is the key in the bucket, keyValue the encoded mvccpb.KeyValue. They are valid during the
	// call that it was passed to. A snapshot that was itself restored with --bump-revision has an
	// empty one: a revision without a key.
	key, keyValue []byte
}

// records calls f with all records in the order of their revisions. An error of f is one over what
// the file holds.
func (s *Snapshot) records(f func(record) error) error {
	return s.damaged(s.pairs(keyBucket, func(k, v []byte) error {
		r, err := parseRevision(k)
		if err != nil {
			return fmt.Errorf("cannot parse revision key: %q err: %w", k, err)
		}
		r.key, r.keyValue = k, v
		return f(r)
	}))
}

// compaction returns the last revision that was compacted, and the one that a compaction not
// finished yet asked for; -1 stands for none.
func (s *Snapshot) compaction() (finished, scheduled int64, err error) {
	finished, scheduled = -1, -1
	err = s.damaged(s.pairs(metaBucket, func(k, v []byte) error {
		var to *int64
		switch string(k) {
		case "finishedCompactRev":
			to = &finished
		case "scheduledCompactRev":
			to = &scheduled
		default:
			return nil
		}
		r, err := parseRevision(v)
		if err != nil {
			return fmt.Errorf("cannot parse %s: %w", k, err)
		}
		*to = r.main
		return nil
	}))
	return finished, scheduled, err
}

// Sizes of a key of the key bucket.
const (
	revisionSize  = 8 + 1 + 8
	tombstoneSize = revisionSize + 1
)

// parseRevision reads a key of the key bucket; the errors are etcd's.
func parseRevision(k []byte) (record, error) {
	if len(k) != revisionSize && len(k) != tombstoneSize {
		return record{}, fmt.Errorf("invalid revision length: %d", len(k))
	}
	if k[8] != '_' {
		return record{}, fmt.Errorf("invalid separator in bucket key: %q", k[8])
	}
	r := record{tombstone: len(k) == tombstoneSize && k[revisionSize] == 't'}
	r.main = int64(binary.BigEndian.Uint64(k))
	r.sub = int64(binary.BigEndian.Uint64(k[9:]))
	if r.main < 0 || r.sub < 0 {
		return record{}, fmt.Errorf("negative revision: main=%d sub=%d", r.main, r.sub)
	}
	return r, nil
}
