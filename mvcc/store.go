package mvcc

import (
	"sync"
	"sync/atomic"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc/index"
	"github.com/cairnkv/cairn/revlog"
)

// NeverCompacted is the compact revision of a store that was not compacted yet (etcd's value, too).
const NeverCompacted = -1

// FirstRev is the revision of an empty store.
const FirstRev = 1

// chunkKeys bounds the keys that are looked at in one hold of the index's lock by a reader.
const chunkKeys = 1024

// Store is the data of one member. What belongs to the applier, one goroutine at a time, is said at
// the methods; all others may be called by any goroutine.
type Store struct {
	log *revlog.Log

	mu  sync.RWMutex // guards idx; held for a bounded number of keys at a time
	idx *index.Index

	rev        atomic.Int64 // newest published revision
	floor      atomic.Int64 // compact revision that readers obey; set after rev, never above it
	compactRev atomic.Int64 // of the last Compact; becomes the floor with the next Publish
	pins       pins
	views      sync.Pool // of *View

	// Owned by the applier.
	next   int64 // newest revision that was written
	tx     Tx
	events []Event
	buf    []byte // payloads of events

	stepMu    sync.Mutex // one CompactStep at a time; guards the next two
	stepping  bool       // a pass to target is under way
	dropped   []uint64
	target    atomic.Int64 // of the last pass that began
	compacted atomic.Int64 // of the last pass that is done
}

// Version is one version of a key.
type Version struct {
	Rev     cairn.Revision // Rev.Main is the mod revision
	Create  int64          // main revision of the put that created the key
	Version int64          // 1 for that put
	Lease   cairn.LeaseID
	Pos     revlog.Pos // of the record; for KV of the reader that gave the Version
}

func versionOf(v index.Version) Version {
	return Version{
		Rev:    cairn.Revision{Main: v.Main, Sub: int64(v.Sub)},
		Create: v.Create, Version: v.Version, Lease: v.Lease, Pos: revlog.Pos(v.Pos),
	}
}

// Rev is the newest revision that readers see.
func (s *Store) Rev() int64 { return s.rev.Load() }

// AppliedRev is the newest revision that was written, published or not. Applier only.
func (s *Store) AppliedRev() int64 { return s.next }

// CompactRev is the revision of the last Compact, NeverCompacted if there was none. Until the
// next Publish it may be above Rev.
func (s *Store) CompactRev() int64 { return s.compactRev.Load() }

// CompactedRev is the revision up to which CompactStep has done the work of compactions.
func (s *Store) CompactedRev() int64 { return s.compacted.Load() }

// Mark is the log's mark for a checkpoint of the state that was published last. Applier only,
// between Publish and Begin.
func (s *Store) Mark() revlog.Mark { return s.log.Mark() }

// Stats are numbers of the index; the log has its own.
type Stats struct {
	Keys       int // keys that are there now
	IndexKeys  int // keys in the index, with those deleted but not compacted
	Versions   int // versions in the index, tombstones too
	IndexBytes int // estimate of the index's memory
}

// Stats returns the numbers of this moment, of what is not published too.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{
		Keys: s.idx.Live(), IndexKeys: s.idx.Len(), Versions: s.idx.Versions(),
		IndexBytes: s.idx.Bytes(),
	}
}
