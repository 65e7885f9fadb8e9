package mvcc

import (
	"context"
	"math"
	"sort"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc/index"
	"github.com/cairnkv/cairn/wire"
)

// AppendRange appends the whole RangeResponse to r at this moment; h's revision is replaced by the
// store's. ctx is looked at between chunks. On an error (cairn.ErrCompacted, cairn.ErrFutureRev,
// ctx's, a wrapped *revlog.CorruptError) dst is returned as it was.
func (s *Store) AppendRange(
	ctx context.Context, dst []byte, h *cairn.Header, r *cairn.RangeRequest,
) ([]byte, error) {
	return s.AppendRangeWithin(ctx, dst, h, r, unbounded)
}

// AppendRange is Reader.AppendRange.
func (r *reader) AppendRange(
	dst []byte, h *cairn.Header, q *cairn.RangeRequest,
) ([]byte, error) {
	return r.appendRange(context.Background(), dst, h, q)
}

// appendPoint is a range of one key: one look into the index gives the revision and the version, so
// that only the log must be pinned.
func (s *Store) appendPoint(
	dst []byte, h *cairn.Header, r *cairn.RangeRequest,
) ([]byte, error) {
	pin := s.log.Pin()
	defer pin.Release()
	s.mu.RLock()
	header := *h
	// Under the lock no pass of the compactor can begin: what is at header.Revision, or at the
	// floor, stays until the lock is released.
	floor := s.floor.Load()
	header.Revision = s.rev.Load()
	rev, err := revision(r.Revision, header.Revision, floor)
	var v Version
	var ok bool
	if err == nil {
		v, ok = s.get(r.Key, rev)
	}
	s.mu.RUnlock()
	if err != nil {
		return dst, err
	}
	return s.appendOne(dst, &header, r, v, ok)
}

// appendOne appends the response to a range of one key, which has the version v, or (!ok) is not
// there.
func (s *Store) appendOne(
	dst []byte, h *cairn.Header, r *cairn.RangeRequest, v Version, ok bool,
) ([]byte, error) {
	from := len(dst)
	dst = wire.AppendHeader(dst, h)
	if !ok {
		return dst, nil
	}
	if !r.CountOnly && passes(r, v.Rev.Main, v.Create) {
		var err error
		if dst, err = s.appendItem(dst, r, &item{key: r.Key, v: v}); err != nil {
			return dst[:from], err
		}
	}
	return wire.AppendVarint(dst, wire.RangeCount, 1), nil
}

// appendItem appends one key as a field of a RangeResponse.
func (s *Store) appendItem(dst []byte, r *cairn.RangeRequest, it *item) ([]byte, error) {
	if fastKeysOnly(r) {
		kv := cairn.KeyValue{
			Key: it.key, CreateRevision: it.v.Create, ModRevision: it.v.Rev.Main,
			Version: it.v.Version,
		}
		return appendKeyValue(dst, &kv), nil
	}
	b, err := s.record(it.v)
	if err != nil {
		return dst, err
	}
	if !r.KeysOnly {
		return wire.AppendKV(dst, wire.RangeKVs, b), nil
	}
	var kv cairn.KeyValue
	if err := wire.DecodeKeyValue(b, &kv); err != nil {
		return dst, err
	}
	kv.Value = nil
	return appendKeyValue(dst, &kv), nil
}

func appendKeyValue(dst []byte, kv *cairn.KeyValue) []byte {
	dst = protowire.AppendTag(dst, wire.RangeKVs, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(wire.SizeKeyValue(kv)))
	return wire.AppendKeyValue(dst, kv)
}

// fastKeysOnly says that the keys come from the index alone, without their lease (etcd 3.7).
func fastKeysOnly(r *cairn.RangeRequest) bool {
	return r.KeysOnly && r.SortTarget != cairn.SortByValue
}

// defaultOrder says that r needs no sorting before its limit is applied (etcd
// txn.IsDefaultOrdering; a sort target other than the key with the order NONE counts as that, and
// is sorted afterwards).
func defaultOrder(r *cairn.RangeRequest) bool {
	return r.SortOrder == cairn.SortNone ||
		r.SortTarget == cairn.SortByKey && r.SortOrder == cairn.SortAscend
}

// inOrder says that the keys come as they are found.
func inOrder(r *cairn.RangeRequest) bool {
	return defaultOrder(r) && r.SortTarget == cairn.SortByKey && !hasFilters(r)
}

func hasFilters(r *cairn.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 ||
		r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

// passes says whether the revision filters let a version through.
func passes(r *cairn.RangeRequest, mod, create int64) bool {
	return (r.MaxModRevision == 0 || mod <= r.MaxModRevision) &&
		(r.MinModRevision == 0 || mod >= r.MinModRevision) &&
		(r.MaxCreateRevision == 0 || create <= r.MaxCreateRevision) &&
		(r.MinCreateRevision == 0 || create >= r.MinCreateRevision)
}

// appendRange is AppendRange at the reader's revision.
func (r *reader) appendRange(
	ctx context.Context, dst []byte, h *cairn.Header, q *cairn.RangeRequest,
) ([]byte, error) {
	rev, err := revision(q.Revision, r.rev, r.compactRev)
	if err != nil {
		return dst, err
	}
	if len(q.End) == 0 {
		r.s.mu.RLock()
		v, ok := r.s.get(q.Key, rev)
		r.s.mu.RUnlock()
		return r.s.appendOne(dst, h, q, v, ok)
	}
	from := len(dst)
	dst = wire.AppendHeader(dst, h)
	var total, found int64
	switch {
	case q.CountOnly:
		total, err = r.count(ctx, q.Key, q.End, rev)
	case inOrder(q):
		dst, total, err = r.appendInOrder(ctx, dst, q, rev)
		found = total
	default:
		dst, total, found, err = r.appendSorted(ctx, dst, q, rev)
	}
	if err != nil {
		return dst[:from], err
	}
	dst = wire.AppendBool(dst, wire.RangeMore, q.Limit > 0 && found > q.Limit)
	return wire.AppendVarint(dst, wire.RangeCount, uint64(total)), nil
}

// count counts the keys of a range that are there at rev.
func (r *reader) count(ctx context.Context, key, end []byte, rev int64) (total int64, err error) {
	c := &r.at
	for c.start(key, end); !c.done; {
		if err := r.goOn(ctx, 0); err != nil {
			return 0, err
		}
		total += r.s.count(c, rev)
	}
	return total, nil
}

// count goes on with a count behind the cursor, and looks at about chunkKeys keys at most.
func (s *Store) count(c *cursor, rev int64) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, next := s.idx.Count(c.next, c.end, rev, chunkKeys)
	if c.done = next == 0; !c.done {
		c.next = append(c.next[:0], s.idx.Key(next)...)
	}
	return int64(n)
}

// appendInOrder appends the first keys of a range, up to the limit, and counts all.
func (r *reader) appendInOrder(
	ctx context.Context, dst []byte, q *cairn.RangeRequest, rev int64,
) (_ []byte, total int64, err error) {
	from := len(dst)
	total, err = r.walk(q, rev, func() error { return r.goOn(ctx, len(dst)-from) },
		func(it *item) (err error) {
			if len(dst)-from > r.budget.Bytes {
				return ErrLong
			}
			dst, err = r.s.appendItem(dst, q, it)
			return err
		})
	return dst, total, err
}

// spareKeys are how many keys more are looked at for those that are gone.
const spareKeys = 16

// walk visits the first keys of a range, up to its limit, and counts all. before is asked before
// each chunk.
func (r *reader) walk(
	q *cairn.RangeRequest, rev int64, before func() error, visit func(it *item) error,
) (total int64, err error) {
	limit := q.Limit
	if limit <= 0 {
		limit = math.MaxInt64
	}
	c := &r.at
	for c.start(q.Key, q.End); !c.done; {
		if err := before(); err != nil {
			return 0, err
		}
		if total >= limit { // the rest is only counted
			total += r.s.count(c, rev)
			continue
		}
		r.items = r.items[:0]
		r.s.scan(c, min(limit-total, chunkKeys)+spareKeys, func(id uint32) bool {
			if v, ok := r.s.live(id, rev); ok {
				r.take(id, v)
				total++
			}
			return total < limit
		})
		for i := range r.items {
			if err := visit(&r.items[i]); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

// goOn is asked before each chunk of a walk, and check when bytes were added to the response: both
// hold the range to its budget.
func (r *reader) goOn(ctx context.Context, bytes int) error {
	r.budget.Keys -= chunkKeys
	return r.check(ctx, bytes)
}

func (r *reader) check(ctx context.Context, bytes int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.budget.Keys <= 0 || bytes > r.budget.Bytes {
		return ErrLong
	}
	return nil
}

func (r *reader) take(id uint32, v index.Version) {
	r.items = append(r.items, item{key: r.s.idx.Key(id), v: versionOf(v)})
}

// appendSorted serves ranges with filters or an order of their own. As in etcd the limit comes
// last, but a range with the order NONE is cut to limit+1 keys before it is sorted. found is the
// number of keys that the limit was applied to.
func (r *reader) appendSorted(
	ctx context.Context, dst []byte, q *cairn.RangeRequest, rev int64,
) (_ []byte, total, found int64, err error) {
	fetch := int64(math.MaxInt64)
	if defaultOrder(q) && !hasFilters(q) && q.Limit > 0 && q.Limit < math.MaxInt64 {
		fetch = q.Limit + 1
	}
	c := &r.at
	r.items = r.items[:0]
	for c.start(q.Key, q.End); !c.done; {
		if err := r.goOn(ctx, 0); err != nil {
			return dst, 0, 0, err
		}
		r.s.scan(c, chunkKeys, func(id uint32) bool {
			if v, ok := r.s.live(id, rev); ok {
				if total < fetch && passes(q, v.Main, v.Create) {
					r.take(id, v)
				}
				total++
			}
			return true
		})
	}
	if err := r.sort(q); err != nil {
		return dst, 0, 0, err
	}
	items := r.items
	if q.Limit > 0 && int64(len(items)) > q.Limit {
		items = items[:q.Limit]
	}
	from := len(dst)
	for i := range items {
		if i%chunkKeys == 0 || len(dst)-from > r.budget.Bytes {
			if err := r.check(ctx, len(dst)-from); err != nil {
				return dst, 0, 0, err
			}
		}
		if dst, err = r.s.appendItem(dst, q, &items[i]); err != nil {
			return dst, 0, 0, err
		}
	}
	return dst, total, int64(len(r.items)), nil
}

// sort puts r.items, which are in the order of their keys, into the order asked for. The algorithm
// is not stable; where etcd compares as equal the result is still the same, since it is sort.Sort
// over the same input with the same comparison.
func (r *reader) sort(q *cairn.RangeRequest) error {
	order := q.SortOrder
	if q.SortTarget != cairn.SortByKey && order == cairn.SortNone {
		order = cairn.SortAscend
	}
	if order == cairn.SortNone || q.SortTarget == cairn.SortByKey && order == cairn.SortAscend {
		return nil
	}
	if q.SortTarget == cairn.SortByValue {
		if err := r.readValues(); err != nil {
			return err
		}
	}
	by := sort.Interface(&byTarget{r.items, q.SortTarget})
	if order == cairn.SortDescend {
		by = sort.Reverse(by)
	}
	sort.Sort(by)
	return nil
}

func (r *reader) readValues() error {
	var kv cairn.KeyValue
	for i := range r.items {
		b, err := r.s.record(r.items[i].v)
		if err == nil {
			err = wire.DecodeKeyValue(b, &kv)
		}
		if err != nil {
			return err
		}
		r.items[i].value = kv.Value
	}
	return nil
}
