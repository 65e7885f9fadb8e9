package mvcc

import (
	"fmt"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc/index"
	"github.com/cairnkv/cairn/wire"
)

// keptBuffer bounds the memory, in bytes, that the applier keeps from one Publish to the next.
const keptBuffer = 4 << 20

// Event is one change of a key, as watchers learn of it.
type Event struct {
	Rev    cairn.Revision
	Key    []byte
	Delete bool
	Create bool   // the put that created the key
	KV     []byte // wire KeyValue; of a delete: key and mod revision
}

// Tx is a transaction. It implements Reader; its reads see its writes. It belongs to the applier,
// from Begin to End.
type Tx struct {
	reader
	sub  int64 // changes so far
	open bool
	copy []byte // payloads that KV read before they were written to disk
}

// Begin starts a transaction on top of all that were ended before. There is one at a time. Applier
// only; events of the last Publish end to be valid.
func (s *Store) Begin() *Tx {
	t := &s.tx
	if t.open {
		panic("mvcc: Begin while a transaction is open")
	}
	if s.next == s.rev.Load() {
		s.reset()
	}
	t.begin()
	t.rev, t.compactRev = s.next, s.compactRev.Load()
	t.sub, t.open = 0, true
	t.copy = t.copy[:0]
	return t
}

// Unpublished is how many bytes of changes wait for Publish. Applier only.
func (s *Store) Unpublished() int {
	if s.next == s.rev.Load() {
		return 0
	}
	return len(s.buf)
}

// reset forgets the events that were published.
func (s *Store) reset() {
	s.events = s.events[:0]
	s.buf = s.buf[:0]
	if cap(s.buf) > keptBuffer {
		s.events, s.buf = nil, nil
	}
	if cap(s.tx.copy) > keptBuffer {
		s.tx.copy = nil
	}
}

// Put sets a key. prev is the version that it had, if it was there. The error is of the disk or
// of a limit (index.MaxKeyBytes, index.MaxSub, revlog.MaxKVBytes): the process must end.
func (t *Tx) Put(
	key, value []byte, lease cairn.LeaseID,
) (prev Version, had bool, err error) {
	s := t.s
	main := s.next + 1
	prev, had = t.Get(key)
	kv := cairn.KeyValue{
		Key: key, Value: value, CreateRevision: main, ModRevision: main, Version: 1, Lease: lease,
	}
	if had {
		kv.CreateRevision, kv.Version = prev.Create, prev.Version+1
	}
	from := len(s.buf)
	s.buf = wire.AppendKeyValue(s.buf, &kv)
	payload := s.buf[from:len(s.buf):len(s.buf)]
	e := Event{Create: !had, KV: payload}
	return prev, had, t.write(key, &e, payload, index.Version{
		Create: kv.CreateRevision, Version: kv.Version, Lease: lease,
	})
}

// Delete removes a key. If it is not there, nothing happens (had is false). prev and err as for
// Put.
func (t *Tx) Delete(key []byte) (prev Version, had bool, err error) {
	if prev, had = t.Get(key); !had {
		return prev, false, nil
	}
	s := t.s
	from := len(s.buf)
	s.buf = wire.AppendKeyValue(s.buf, &cairn.KeyValue{Key: key})
	stored := len(s.buf) - from
	s.buf = wire.AppendVarint(s.buf, 3, uint64(s.next+1)) // mod_revision, for watchers alone
	payload := s.buf[from:len(s.buf):len(s.buf)]
	e := Event{Delete: true, KV: payload}
	return prev, true, t.write(key, &e, payload[:stored], index.Version{Tombstone: true})
}

// write appends the record, makes it the newest version of the key and notes the event.
func (t *Tx) write(key []byte, e *Event, payload []byte, v index.Version) error {
	s := t.s
	e.Rev = cairn.Revision{Main: s.next + 1, Sub: t.sub}
	if t.sub > index.MaxSub {
		return fmt.Errorf("mvcc: more than %d changes in revision %d", index.MaxSub, e.Rev.Main)
	}
	if at := wire.SizeKV(1, len(key)) - len(key); len(key) > 0 {
		e.Key = payload[at : at+len(key) : at+len(key)]
	}
	pos, err := s.log.Append(e.Rev, e.Delete, payload)
	if err != nil {
		return fmt.Errorf("mvcc: append revision %d.%d: %w", e.Rev.Main, e.Rev.Sub, err)
	}
	v.Main, v.Sub, v.Pos = e.Rev.Main, uint32(t.sub), uint64(pos)
	s.mu.Lock()
	_, err = s.idx.Put(key, v)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("mvcc: revision %d.%d: %w", e.Rev.Main, e.Rev.Sub, err)
	}
	s.events = append(s.events, *e)
	t.sub++
	t.rev = s.next + 1
	return nil
}

// KV is Reader.KV. A record that is not on disk yet is copied: the log's buffer does not last as
// long as the transaction.
func (t *Tx) KV(v Version) ([]byte, error) {
	kv, err := t.reader.KV(v)
	if err != nil || v.Rev.Main <= t.s.rev.Load() {
		return kv, err
	}
	from := len(t.copy)
	t.copy = append(t.copy, kv...)
	return t.copy[from:len(t.copy):len(t.copy)], nil
}

// End ends the transaction. If it wrote, its revision is the store's AppliedRev now.
func (t *Tx) End() {
	if !t.open {
		panic("mvcc: End without Begin")
	}
	t.open = false
	t.s.next = t.rev
	t.end()
}

// Publish writes what was logged since the last call to the log's file, with one write, and makes
// it, and the last Compact, visible to readers. events are the changes since the last call, in
// order; they and their slices are valid until the next Begin. An error is of the disk: the
// process must end. Applier only, outside of a transaction.
func (s *Store) Publish() (rev int64, events []Event, err error) {
	if s.tx.open {
		panic("mvcc: Publish inside a transaction")
	}
	if s.next == s.rev.Load() {
		s.floor.Store(s.compactRev.Load())
		return s.next, nil, nil
	}
	if err := s.log.Flush(); err != nil {
		return 0, nil, fmt.Errorf("mvcc: publish revision %d: %w", s.next, err)
	}
	s.rev.Store(s.next)
	s.floor.Store(s.compactRev.Load()) // after rev: a reader finds floor <= rev
	return s.next, s.events, nil
}

// Compact makes reads below rev fail, from the next Publish on, and in transactions at once. The
// versions that no one can ask for any more go with CompactStep. cairn.ErrCompacted if rev is not
// above the last Compact's, cairn.ErrFutureRev if it is above AppliedRev. Applier only, outside of
// a transaction.
func (s *Store) Compact(rev int64) error {
	if rev <= s.compactRev.Load() {
		return cairn.ErrCompacted
	}
	if rev > s.next {
		return cairn.ErrFutureRev
	}
	s.compactRev.Store(rev)
	return nil
}
