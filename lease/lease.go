// Package lease is the replicated table of leases: which exist, with what time to live, and which
// keys hang on each. It knows no clock: when a lease ends is the leader's to decide (package
// upkeep), which then proposes a revocation; here a lease goes when that command is applied.
//
// The keys of a lease are not stored with it: every key names its lease, and the table is filled
// from the key index when a member starts ([Table.Attach]).
package lease

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	cairn "github.com/cairnkv/cairn"
)

// MaxTTL is the longest time to live in seconds (etcd server/lease.MaxLeaseTTL).
const MaxTTL = 9_000_000_000

// Info is one lease as others see it.
type Info struct {
	ID  cairn.LeaseID
	TTL int64 // as granted, in seconds
	// Remaining is the time to live at the last checkpoint of the lease in seconds, by which a
	// new leader goes on; 0: no checkpoint, the full TTL.
	Remaining int64
}

type lease struct {
	Info
	keys map[string]struct{}
}

// Table holds the leases. The applier alone changes it; all methods may be called at once.
type Table struct {
	mu     sync.RWMutex
	leases map[cairn.LeaseID]*lease
}

// NewTable makes an empty table.
func NewTable() *Table {
	return &Table{leases: make(map[cairn.LeaseID]*lease)}
}

// Grant adds a lease. The TTL in seconds was decided before the command was proposed.
// Errors: ErrLeaseNotFound for id 0, ErrLeaseExists, ErrLeaseTTL beyond MaxTTL.
func (t *Table) Grant(id cairn.LeaseID, ttl int64) error {
	if id == 0 {
		return cairn.ErrLeaseNotFound
	}
	if ttl > MaxTTL {
		return cairn.ErrLeaseTTL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.leases[id]; ok {
		return cairn.ErrLeaseExists
	}
	t.leases[id] = &lease{Info: Info{ID: id, TTL: ttl}}
	return nil
}

// Revoke removes a lease and returns its keys in order; the caller deletes them in the same
// command. The error is ErrLeaseNotFound.
func (t *Table) Revoke(id cairn.LeaseID) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.leases[id]
	if !ok {
		return nil, cairn.ErrLeaseNotFound
	}
	delete(t.leases, id)
	return l.sortedKeys(), nil
}

// Checkpoint notes the time that a lease has left, in seconds. An unknown lease is no error: it may
// have been revoked since the checkpoint was proposed.
func (t *Table) Checkpoint(id cairn.LeaseID, remaining int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.leases[id]; ok {
		l.Remaining = max(0, min(remaining, l.TTL))
	}
}

// Attach hangs key on the lease; an id of 0 or an unknown lease is ignored.
func (t *Table) Attach(id cairn.LeaseID, key []byte) {
	if id == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.leases[id]
	if !ok {
		return
	}
	if l.keys == nil {
		l.keys = make(map[string]struct{})
	}
	l.keys[string(key)] = struct{}{}
}

// Detach takes key off the lease; an id of 0 or an unknown lease is ignored.
func (t *Table) Detach(id cairn.LeaseID, key []byte) {
	if id == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.leases[id]; ok {
		delete(l.keys, string(key))
	}
}

// Replace makes the table what other is, which a snapshot brought; other is given away. The
// applier's.
func (t *Table) Replace(other *Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leases = other.leases
}

// Lookup returns a lease.
func (t *Table) Lookup(id cairn.LeaseID) (Info, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if l, ok := t.leases[id]; ok {
		return l.Info, true
	}
	return Info{}, false
}

// Keys returns the keys of a lease in order; nil for an unknown one.
func (t *Table) Keys(id cairn.LeaseID) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if l, ok := t.leases[id]; ok {
		return l.sortedKeys()
	}
	return nil
}

// All returns every lease, by id.
func (t *Table) All() []Info {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]Info, 0, len(t.leases))
	for _, l := range t.leases {
		all = append(all, l.Info)
	}
	slices.SortFunc(all, func(a, b Info) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

// Len is the number of leases.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.leases)
}

func (l *lease) sortedKeys() []string {
	keys := make([]string, 0, len(l.keys))
	for k := range l.keys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// ErrMalformed says that Decode was given something that Encode did not write.
var ErrMalformed = errors.New("lease: malformed table")

// encodedBytes is the length of a lease in Encode's output: id, TTL, remaining.
const encodedBytes = 3 * 8

// Encode appends the table to dst, by id, for a checkpoint; the same table gives the same bytes.
func (t *Table) Encode(dst []byte) []byte {
	for _, l := range t.All() {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(l.ID))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(l.TTL))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(l.Remaining))
	}
	return dst
}

// Decode fills an empty table from what Encode wrote.
func (t *Table) Decode(b []byte) error {
	if len(b)%encodedBytes != 0 {
		return ErrMalformed
	}
	for ; len(b) > 0; b = b[encodedBytes:] {
		id := cairn.LeaseID(binary.LittleEndian.Uint64(b))
		if err := t.Grant(id, int64(binary.LittleEndian.Uint64(b[8:]))); err != nil {
			return errors.Join(ErrMalformed, err)
		}
		t.Checkpoint(id, int64(binary.LittleEndian.Uint64(b[16:])))
	}
	return nil
}
