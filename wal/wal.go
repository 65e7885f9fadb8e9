package wal

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/vfs"
)

// Limits and defaults.
const (
	// DefaultSegmentBytes is the size of a segment.
	DefaultSegmentBytes = 64 << 20
	// MaxSegmentBytes bounds Options.SegmentBytes: offsets in a segment have 32 bits.
	MaxSegmentBytes = 1 << 30
	// DefaultCacheBytes is how much of the newest entries stays in memory.
	DefaultCacheBytes = 32 << 20
	// MaxMetadataBytes bounds Options.Metadata.
	MaxMetadataBytes = 64 << 10
	// MaxEntryBytes bounds the data of one entry.
	MaxEntryBytes = maxPayloadBytes - entryFixedBytes
	// MaxBatchBytes bounds what is appended between two Flushes.
	MaxBatchBytes = 1 << 30

	minSegmentBytes = 1 << 10
	// aheadBytes is how far ahead of the writer Prepare fills with zeros.
	aheadBytes = 8 << 20
	// zeroChunkBytes is what Prepare writes and syncs at a time.
	zeroChunkBytes = 1 << 20
	// maxSpares is how many segments wait to be used again, so that a busy log writes no zeros;
	// when it was quiet for quietPrepares calls of Prepare, all but quietSpares go.
	maxSpares     = 8
	quietSpares   = 1
	quietPrepares = 200
	// keepBufferBytes is the largest batch buffer that is kept for the next batch.
	keepBufferBytes = 4 << 20
)

// ErrClosed says that the log was closed.
var ErrClosed = errors.New("wal: closed")

// Options of Open; zero values mean the defaults.
type Options struct {
	// SegmentBytes is the size of a new segment; a larger batch makes a larger segment.
	SegmentBytes int64
	// Metadata is stored in a new log; see [WAL.Metadata]. An existing one keeps its own.
	Metadata []byte
	// CacheBytes bounds the entries kept in memory, counted as raft does, beyond those that
	// were not flushed yet.
	CacheBytes int64
	// OnWrite and OnSync are called on the owner's goroutine after each write of a batch and each
	// sync, with the bytes written (since the last sync) and the time it took. They may be nil.
	OnWrite, OnSync func(bytes int, d time.Duration)
	// Clock measures that time; nil is the machine's.
	Clock clock.Clock
}

func (o *Options) fill() error {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.SegmentBytes < minSegmentBytes || o.SegmentBytes > MaxSegmentBytes {
		return fmt.Errorf("wal: segments of %d bytes: must be %d to %d",
			o.SegmentBytes, minSegmentBytes, MaxSegmentBytes)
	}
	if len(o.Metadata) > MaxMetadataBytes {
		return fmt.Errorf("wal: metadata of %d bytes: at most %d",
			len(o.Metadata), MaxMetadataBytes)
	}
	return nil
}

// WAL is an open log. Append, Flush, Mark, Truncate, Reset and Close belong to one goroutine, the
// owner; Prepare may run on another; the rest may be called from anywhere.
//
// Locks are taken in the order preparing, prepare, files, mu, segment.fill.
type WAL struct {
	fs   vfs.FS
	dir  string
	opts Options

	metadata []byte

	// The owner's.
	cur       *segment // the last of segs
	headBytes int      // size of a segment record: room for one is kept in front of buf
	buf       []byte   // head room and the records of the next batch
	off       int64    // where the next batch goes in cur
	crc       uint32   // of the last record in cur
	synced    int64    // below it, cur is durable
	marked    int64    // the highest synced that a record in cur carries
	content   int64    // end of the last record in cur that is not a mark
	unsynced  int      // bytes written since the last sync
	prevEnd   int64    // of the segment before cur
	prevCRC   uint32
	written   hardState // as the log up to off says, and where it ends
	writtenAt struct{ last, term uint64 }

	// preparing lets one Prepare run at a time.
	preparing sync.Mutex
	// prepare is held by who makes, renames or removes segment files. It guards the next two: for
	// how many calls of Prepare the log has been in which segment.
	prepare  sync.Mutex
	quietIn  uint64
	quietFor int
	// files is held by who renames or removes a file that entries may be read from, and shared
	// by who reads them.
	files sync.RWMutex

	mu     sync.RWMutex // guards what follows
	state  logState     // with all that was appended
	cache  cache
	segs   []*segment // ascending; the last is cur
	next   *segment   // prepared, or nil
	spares []uint64   // numbers of spare files, ascending
	dropTo uint64     // entries up to here are not needed, and that is durable
	placed uint64     // the last entry that has a place in segs; they end there
	reset  uint64     // segments before this number are not needed: the log began anew
	err    error      // what poisoned the log
}

// Metadata is what the log was made with. Do not change it.
func (w *WAL) Metadata() []byte { return w.metadata }

// HardState is the last appended, or nil if there was none. After Reset its commit is at least the
// index of the reset.
func (w *WAL) HardState() *raftpb.HardState {
	w.mu.RLock()
	h := w.state.hard
	w.mu.RUnlock()
	if h == (hardState{}) {
		return nil
	}
	return &raftpb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}
}

// FirstIndex is the index of the first entry of the log, LastIndex+1 if it is empty.
func (w *WAL) FirstIndex() uint64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.state.base + 1
}

// LastIndex is the index of the last entry, appended ones included.
func (w *WAL) LastIndex() uint64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.state.last
}

// Err is what poisoned the log, or nil.
func (w *WAL) Err() error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.err
}

// poison makes err the answer to all later calls, unless there is one already, and returns it.
func (w *WAL) poison(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// Append adds entries, and then hs unless it is nil or empty, to the batch that the next Flush
// writes. The entries must have consecutive indexes; the first may be that of an existing entry,
// which it replaces with all that follow, unless it is committed.
//
// Entries are kept in the cache: neither they nor their data may be changed afterwards. An error
// means that nothing was appended: bad order, a batch or an entry beyond its limit, or the
// error that poisoned the log.
func (w *WAL) Append(hs *raftpb.HardState, entries []*raftpb.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	hard, hasHard := hardStateOf(hs)
	if err := w.checkAppend(hard, hasHard, entries); err != nil {
		return fmt.Errorf("wal: append: %w", err)
	}
	for i, e := range entries {
		index, term := e.GetIndex(), e.GetTerm()
		if i == 0 && index <= w.state.last {
			w.cache.cut(index)
		}
		w.buf = appendEntry(w.buf, e)
		w.state.entry(index, term)
		w.cache.push(e)
	}
	if hasHard {
		var payload []byte
		w.buf, payload = appendRecord(w.buf, typeState, 0, stateBytes)
		hard.encode(payload)
		w.state.hard = hard
	}
	return nil
}

func appendEntry(buf []byte, e *raftpb.Entry) []byte {
	buf, payload := appendRecord(buf, typeEntry, uint8(e.GetType()), entryFixedBytes+len(e.Data))
	putPair(payload, e.GetIndex(), e.GetTerm())
	copy(payload[entryFixedBytes:], e.Data)
	return buf
}

func hardStateOf(hs *raftpb.HardState) (h hardState, ok bool) {
	if hs == nil {
		return h, false
	}
	h = hardState{term: hs.GetTerm(), vote: hs.GetVote(), commit: hs.GetCommit()}
	return h, h != hardState{}
}

// checkAppend checks all before anything is changed.
func (w *WAL) checkAppend(hard hardState, hasHard bool, entries []*raftpb.Entry) error {
	last, size := w.state.last, len(w.buf)
	for i, e := range entries {
		index, term := e.GetIndex(), e.GetTerm()
		if len(e.Data) > MaxEntryBytes {
			return fmt.Errorf("entry %d has %d bytes; at most %d",
				index, len(e.Data), MaxEntryBytes)
		}
		if t := e.GetType(); t < 0 || t > 255 {
			return fmt.Errorf("entry %d has the unknown type %d", index, t)
		}
		if i == 0 {
			if err := w.state.checkEntry(index, term); err != nil {
				return err
			}
		} else if before := entries[i-1]; index != before.GetIndex()+1 || term < before.GetTerm() {
			return fmt.Errorf("entry %d of term %d follows %d of term %d",
				index, term, before.GetIndex(), before.GetTerm())
		}
		last = index
		size += recordBytes(entryFixedBytes + len(e.Data))
	}
	if size > MaxBatchBytes {
		return fmt.Errorf("a batch of %d bytes; at most %d", size, MaxBatchBytes)
	}
	if !hasHard {
		return nil
	}
	after := logState{last: last, hard: w.state.hard}
	return after.checkState(hard)
}

// Truncate says that entries up to index are not needed again: a checkpoint covers them. index is
// at most that of the last synced entry; what is before the log already changes nothing.
// FirstIndex becomes index+1 at once. The files go with the next Prepare, and only whole ones, so
// that a log opened later may begin earlier.
func (w *WAL) Truncate(index uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if index <= w.state.base {
		return nil
	}
	if index > w.writtenAt.last {
		return fmt.Errorf("wal: truncate to %d, and the log was written up to %d",
			index, w.writtenAt.last)
	}
	w.state.truncate(index)
	w.dropTo = index
	w.cache.drop(index + 1)
	return nil
}

// Reset empties the log: the state of the machine was restored from a snapshot at index, whose
// entry has term. FirstIndex is then index+1, LastIndex index, and the commit of the hard state at
// least index. What was appended before is written with it. It is durable when Reset returns nil;
// other errors are as those of Flush.
func (w *WAL) Reset(index, term uint64) error {
	if err := w.appendReset(index, term); err != nil {
		return err
	}
	if err := w.Flush(true); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropTo = max(w.dropTo, index)
	w.reset = w.cur.number
	return nil
}

func (w *WAL) appendReset(index, term uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if err := w.state.checkReset(index); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	var payload []byte
	w.buf, payload = appendRecord(w.buf, typeReset, 0, resetBytes)
	putPair(payload, index, term)
	w.state.reset(index, term)
	w.cache.restart(index + 1)
	return nil
}

// Close writes and syncs what was appended, marks the end as synced and closes the files. A log
// that is poisoned is only closed.
func (w *WAL) Close() error {
	err := w.Err()
	if errors.Is(err, ErrClosed) {
		return err
	}
	if err == nil {
		err = w.Flush(true)
	}
	if err == nil {
		err = w.Mark()
	}
	if err == nil {
		err = w.Flush(true)
	}
	w.prepare.Lock()
	defer w.prepare.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range append(slices.Clone(w.segs), w.next) {
		if s != nil {
			err = errors.Join(err, s.close())
		}
	}
	w.err = ErrClosed
	return err
}
