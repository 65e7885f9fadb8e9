package mvcc

import (
	"context"
	"encoding/binary"
	"hash/crc32"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/revlog"
)

// HashKV returns etcd's hash of all revisions up to rev (0: the newest), with the revision that it
// is of and the compact revision that it depends on: CRC-32C over the name of etcd's bucket, then
// for each record its key in etcd's database (main revision, '_', sub revision, 't' for a
// tombstone) and the KeyValue (etcd mvcc/hash.go).
//
// Which records count is etcd's rule to the letter. Above the compact revision: all. Up to it:
// those that are what a reader at rev sees; only if such a reader sees no key at all, those
// that compaction has left, without tombstones at the compact revision.
//
// etcd remembers the hashes of its last compactions and answers a request for exactly such a
// revision with one made under the compact revision before, until it restarts. This answers it
// like any other.
//
// Errors: cairn.ErrCompacted, cairn.ErrFutureRev, ctx's, a wrapped *revlog.CorruptError.
func (s *Store) HashKV(
	ctx context.Context, rev int64,
) (hash uint32, hashRev, compactRev int64, err error) {
	v := s.View()
	defer v.Close()
	switch {
	case rev > 0 && rev < v.floor:
		return 0, 0, 0, cairn.ErrCompacted
	case rev > v.rev:
		return 0, 0, 0, cairn.ErrFutureRev
	case rev == 0:
		rev = v.rev
	}
	hash, err = v.hash(ctx, rev)
	return hash, rev, v.floor, err
}

func (v *View) hash(ctx context.Context, rev int64) (uint32, error) {
	at := rev
	if any, err := v.anyAt(ctx, rev); err != nil {
		return 0, err
	} else if !any {
		at = v.floor
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, []byte("key"))
	var key [18]byte
	err := v.retained(ctx, 0, rev, at, func(r revlog.Record) error {
		if r.Tombstone && r.Rev.Main == v.floor {
			return nil
		}
		binary.BigEndian.PutUint64(key[0:], uint64(r.Rev.Main))
		key[8] = '_'
		binary.BigEndian.PutUint64(key[9:], uint64(r.Rev.Sub))
		n := 17
		if r.Tombstone {
			key[17] = 't'
			n = 18
		}
		sum = crc32.Update(crc32.Update(sum, table, key[:n]), table, r.KV)
		return nil
	})
	return sum, err
}

// anyAt says whether any key is there at rev.
func (v *View) anyAt(ctx context.Context, rev int64) (found bool, err error) {
	c := &v.at
	for c.start(nil, []byte{0}); !c.done && !found; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		v.s.scan(c, chunkKeys, func(id uint32) bool {
			_, found = v.s.live(id, rev)
			return !found
		})
	}
	return found, nil
}
