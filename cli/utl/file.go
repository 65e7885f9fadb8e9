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

// Snapshot is a snapshot file, open for reading. It is safe for concurrent use until Close. A file
// that turns out to be damaged gives errors, not panics.
type Snapshot struct {
	path string
	db   *bolt.DB
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

// openSnapshot checks the hash of the file at path, if it has one, and its structure, and opens it.
func openSnapshot(fs vfs.FS, path string, o openOptions) (*Snapshot, error) {
	if err := checkFile(fs, path, o); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: o.wait})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process; stop it, or work on a copy "+
			"(waited %v, see --timeout): %w", path, o.wait, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not a snapshot: %w", path, err)
	}
	s := &Snapshot{path: path, db: db}
	if err := s.view(checkBolt); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// checkFile looks at the file before bbolt maps it.
func checkFile(fs vfs.FS, path string, o openOptions) (err error) {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	hasHash := size%sectorSize == sha256.Size
	switch {
	case o.needHash && !hasHash:
		return errMissingHash
	case hasHash:
		size -= sha256.Size
		if !o.ignoreHash {
			if err := checkHash(f, size); err != nil {
				return err
			}
		}
	}
	return checkPages(f, size)
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

// checkBolt lets bbolt check the whole database.
func checkBolt(tx *bolt.Tx) error {
	var text string
	n := 0
	for err := range tx.Check() {
		text += "\n" + err.Error()
		n++
	}
	if n > 0 {
		return fmt.Errorf("snapshot file integrity check failed. %d errors found.%s", n, text)
	}
	return nil
}

// view runs f in a transaction and turns a panic of bbolt over damaged pages into an error.
func (s *Snapshot) view(f func(tx *bolt.Tx) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s is damaged: %v", s.path, r)
		}
	}()
	return s.db.View(f)
}

// Close ends the use of the file.
func (s *Snapshot) Close() error { return s.db.Close() }

// ForEach calls f with each pair in a bucket of etcd's schema, in the order of the keys. Key and
// value are valid during the call. A bucket that does not exist has no pairs.
func (s *Snapshot) ForEach(bucket string, f func(key, value []byte) error) error {
	return s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return nil
		}
		return b.ForEach(f)
	})
}

// revision orders the records of a history.
type revision struct{ main, sub int64 }

// record is one change of one key.
type record struct {
	revision
	// tombstone says that the key was deleted; keyValue has only its name then.
	tombstone bool
	// keyValue is the encoded mvccpb.KeyValue. It is valid during the call that it was passed to. A
	// snapshot that was itself restored with --bump-revision has an empty one: a revision without
	// a key.
	keyValue []byte
}

// records calls f with all records in the order of their revisions.
func (s *Snapshot) records(f func(record) error) error {
	return s.ForEach(keyBucket, func(k, v []byte) error {
		r, err := parseRevision(k)
		if err != nil {
			return fmt.Errorf("cannot parse revision key: %q err: %w", k, err)
		}
		r.keyValue = v
		return f(r)
	})
}

// compaction returns the last revision that was compacted, and the one that a compaction not
// finished yet asked for; -1 stands for none.
func (s *Snapshot) compaction() (finished, scheduled int64, err error) {
	finished, scheduled = -1, -1
	err = s.ForEach(metaBucket, func(k, v []byte) error {
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
	})
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
