package watch

import (
	"context"
	"github.com/cairnkv/cairn/mvcc"
)

// Source is the store that is watched; *mvcc.Store is one. All methods are safe for concurrent use.
type Source interface {
	// Rev is the newest revision that readers see. It is called with the hub's lock held: it
	// must be cheap, and must not wait for a caller of the hub.
	Rev() int64
	// CompactRev is the revision of the last compaction, 0 or less if there was none.
	CompactRev() int64
	// Changes calls fn for the events with from <= revision <= to, in order, whole revisions
	// only, and stops after about maxEvents events or maxBytes bytes, but never before one
	// revision is done. next is the first revision that was not delivered. cairn.ErrCompacted
	// says that from is below CompactRev.
	Changes(ctx context.Context, from, to int64, maxEvents, maxBytes int,
		fn func(ev *mvcc.Event) error) (next int64, err error)
	// PrevKV is the wire KeyValue that ev's key had just before ev; ok is false if there was
	// none or it is compacted. The bytes are valid until the next call into the store.
	PrevKV(ev *mvcc.Event) (kv []byte, ok bool, err error)
}
