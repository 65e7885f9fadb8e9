package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cairnkv/cairn/internal/remedy"
	"github.com/cairnkv/cairn/vfs"
)

const (
	segmentSuffix = ".wal"
	spareSuffix   = ".spare"
	numberDigits  = 16
)

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

func spareName(number uint64) string { return fmt.Sprintf("%016x%s", number, spareSuffix) }

// parseName returns the number in a file name of the given kind.
func parseName(name, suffix string) (number uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != numberDigits || digits != strings.ToLower(digits) {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil && number > 0
}

// segment is a segment in use: sealed, written now, or prepared.
type segment struct {
	number uint64
	path   string

	// Guarded by WAL.mu. The entries of [first, first+len(offsets)) are here, each at its offset.
	// Those that were replaced in a later segment are not counted.
	first   uint64
	offsets []uint32
	base    uint64 // the last index when it was begun: its header rests on entries up to there
	durable bool   // its header was synced
	end     int64  // bytes of records

	// file is nil in a sealed segment. The owner writes records, Prepare fills with zeros; fill
	// guards its closing and the space from zeroed on: whoever writes there holds it.
	file      vfs.File
	fill      sync.Mutex
	allocated int64 // blocks are reserved below; zeroed may be ahead of it
	zeroed    atomic.Int64
}

// cut forgets the entries from index on, which were replaced.
func (s *segment) cut(index uint64) {
	switch {
	case index <= s.first:
		s.offsets = s.offsets[:0]
	case index < s.first+uint64(len(s.offsets)):
		s.offsets = s.offsets[:index-s.first]
	}
}

// holds says whether the entry at index is in s.
func (s *segment) holds(index uint64) bool {
	return index >= s.first && index-s.first < uint64(len(s.offsets))
}

// add notes that the entry at index is at off.
func (s *segment) add(index uint64, off int64) {
	if len(s.offsets) == 0 {
		s.first = index
	}
	s.offsets = append(s.offsets, uint32(off))
}

// zeroChunk is what fills space ahead of its use; never written to.
var zeroChunk [zeroChunkBytes]byte

// zeroFill writes zeros to [zeroed, target) in chunks, each synced by itself, so that a sync of
// the owner never meets more than one. A segment that was sealed meanwhile is left alone. It opens
// the file for itself: of an error of writing back the system tells each open file once, and the
// owner must hear of one that has hit its records.
func (s *segment) zeroFill(fs vfs.FS, target int64) (err error) {
	f, err := s.reopen(fs, target)
	if f == nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		more, err := s.zeroStep(f, target)
		if err != nil || !more {
			return err
		}
	}
}

// reopen opens the file once more if there is something to fill.
func (s *segment) reopen(fs vfs.FS, target int64) (vfs.File, error) {
	s.fill.Lock()
	defer s.fill.Unlock()
	if s.file == nil || s.zeroed.Load() >= target {
		return nil, nil
	}
	return fs.OpenReadWrite(s.path)
}

func (s *segment) zeroStep(f vfs.File, target int64) (more bool, err error) {
	s.fill.Lock()
	defer s.fill.Unlock()
	at := s.zeroed.Load()
	n := min(target-at, zeroChunkBytes)
	if n <= 0 || s.file == nil {
		return false, nil
	}
	if _, err := f.WriteAt(zeroChunk[:n], at); err != nil {
		return false, err
	}
	if err := f.SyncData(); err != nil {
		return false, &syncError{err}
	}
	s.zeroed.Store(at + n)
	return true, nil
}

// reserve makes sure that a write up to end meets blocks that are there, and that nobody fills
// with zeros below end.
func (s *segment) reserve(end, segmentBytes int64) error {
	if end <= s.zeroed.Load() {
		return nil
	}
	s.fill.Lock()
	defer s.fill.Unlock()
	if end > s.allocated {
		size := max(end, min(end+zeroChunkBytes, segmentBytes))
		if err := s.file.Allocate(size); err != nil {
			return err
		}
		s.allocated = size
	}
	s.zeroed.Store(max(s.zeroed.Load(), end))
	return nil
}

// close closes the file, once.
func (s *segment) close() error {
	s.fill.Lock()
	defer s.fill.Unlock()
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// syncError is a failed sync, which nothing may follow, whatever the cause.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

// CorruptError says that the log is damaged at a place that was once durable. Opening it would lose
// what was acknowledged.
type CorruptError struct {
	File   string // path of the segment
	Offset int64  // of the first record that fails
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("wal: %s is damaged at offset %d: %s; check the disk; %s",
		filepath.Clean(e.File), e.Offset, e.Reason, remedy.Replace)
}
