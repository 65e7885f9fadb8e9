package mvcc

import (
	"encoding/binary"

	"github.com/cairnkv/cairn/revlog"
)

// compactChunk bounds the versions that are looked at in one hold of the index's write lock.
const compactChunk = 128

// CompactStep does a piece of the index work of compactions, about maxKeys versions, and never
// holds up writers for more than compactChunk of them at a time. done means that there is
// nothing to do now: CompactRev is reached (see CompactedRev), or views that were made before
// the compaction are still open; call again later. One goroutine at a time gets on; others wait.
func (s *Store) CompactStep(maxKeys int) (done bool) {
	s.stepMu.Lock()
	defer s.stepMu.Unlock()
	for left := maxKeys; ; left -= compactChunk {
		if !s.stepping {
			target := s.pins.least(&s.floor)
			if target <= s.compacted.Load() {
				return true
			}
			s.target.Store(target)
			s.mu.Lock()
			s.idx.CompactBegin(target)
			s.mu.Unlock()
			s.stepping = true
		}
		if left <= 0 {
			return false
		}
		s.mu.Lock()
		var passed bool
		s.dropped, passed = s.idx.CompactStep(min(left, compactChunk), s.dropped[:0])
		s.mu.Unlock()
		for _, pos := range s.dropped {
			s.log.Dead(revlog.Pos(pos))
		}
		if passed {
			s.stepping = false
			s.compacted.Store(s.target.Load())
		}
	}
}

// ReclaimStep gives space of dropped versions back to the disk, a piece of about maxBytes at a
// time; see revlog.Log.ReclaimStep for checkpoint, result and errors.
func (s *Store) ReclaimStep(
	checkpoint revlog.Checkpoint, maxBytes int,
) (revlog.ReclaimState, error) {
	return s.log.ReclaimStep((*recordIndex)(s), checkpoint, maxBytes)
}

// recordIndex is the store as the log asks it about records.
type recordIndex Store

// Compaction is revlog.Index.Compaction: answers of Alive come from passes up to target.
func (x *recordIndex) Compaction() (done, target int64) {
	done = x.compacted.Load() // before target: done <= target
	return done, x.target.Load()
}

// Alive is revlog.Index.Alive.
func (x *recordIndex) Alive(batch []revlog.Candidate) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for i := range batch {
		r := &batch[i].Record
		batch[i].Alive = x.idx.Has(keyOf(r.KV), r.Rev.Main, uint32(r.Rev.Sub))
	}
}

// Moved is revlog.Index.Moved.
func (x *recordIndex) Moved(batch []revlog.Move) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range batch {
		m := &batch[i]
		m.Moved = x.idx.Move(keyOf(m.Record.KV), m.Record.Rev.Main, uint32(m.Record.Rev.Sub),
			uint64(m.Old), uint64(m.New))
	}
}

// keyOf returns the key in a record's payload: the first field, if the key is not empty.
func keyOf(kv []byte) []byte {
	const keyTag = 1<<3 | 2
	if len(kv) == 0 || kv[0] != keyTag {
		return nil
	}
	n, size := binary.Uvarint(kv[1:])
	if from := 1 + size; size > 0 && n <= uint64(len(kv)-from) {
		return kv[from : from+int(n)]
	}
	return nil
}
