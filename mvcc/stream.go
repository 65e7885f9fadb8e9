package mvcc

import (
	"context"
	"math"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/wire"
)

// firstStreamKeys is how many keys the first piece of a stream has at most (etcd's number).
const firstStreamKeys = 10

// StreamRange gives the response to r in pieces, each a RangeResponse that send gets and must not
// keep; merged they are the response. Keys come in order; header, more and count are in the last
// piece. All pieces are read at one revision, that of the first. The pieces grow or shrink to be
// about chunkBytes (etcd server rangeStream). Nothing is pinned while send runs: a compaction above
// the revision ends the stream with cairn.ErrCompacted.
//
// r is one that etcd lets through: no order but that of the keys, no revision filters.
func (s *Store) StreamRange(
	ctx context.Context, h *cairn.Header, r *cairn.RangeRequest, chunkBytes int,
	send func(rangeResponse []byte) error,
) error {
	if r.CountOnly {
		b, err := s.AppendRange(ctx, nil, h, r)
		if err != nil {
			return err
		}
		return send(b)
	}
	st := stream{s: s, header: *h, r: *r, keys: firstStreamKeys, left: r.Limit}
	if r.Limit <= 0 {
		st.left = math.MaxInt64
	}
	for {
		done, err := st.next(ctx)
		if err != nil {
			return err
		}
		if err := send(st.buf); err != nil || done {
			return err
		}
		switch {
		case st.size < chunkBytes/2:
			st.keys *= 2
		case st.size > chunkBytes*2:
			st.keys = max(st.keys/2, 1)
		}
	}
}

// stream is a range on its way.
type stream struct {
	s      *Store
	header cairn.Header
	r      cairn.RangeRequest // Key and Revision are those of the next piece
	keys   int64              // how many keys the next piece has at most
	left   int64              // how many keys the limit leaves
	sent   int64              // how many keys were in the pieces before
	buf    []byte             // the piece
	size   int                // of the piece as etcd counts it: with header, more and count
	key    [2][]byte          // behind r.Key, in turns
}

// next builds the next piece in buf. done says that it is the last.
func (st *stream) next(ctx context.Context) (done bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	v := st.s.View()
	defer v.Close()
	rev, err := revision(st.r.Revision, v.rev, v.floor)
	if err != nil {
		return false, err
	}
	if st.sent == 0 {
		st.header.Revision = v.rev
		st.r.Revision = rev
	}
	limit := min(st.keys, st.left)
	v.gather(&st.r, rev, limit+1)
	items := v.items
	more := int64(len(items)) > limit
	if more {
		items = items[:limit]
	}
	done = !more || limit == st.left
	st.buf = st.buf[:0]
	if done {
		st.buf = wire.AppendHeader(st.buf, &st.header)
	}
	head := len(st.buf)
	for i := range items {
		if st.buf, err = st.s.appendItem(st.buf, &st.r, &items[i]); err != nil {
			return false, err
		}
	}
	st.size = len(st.buf) - head +
		wire.SizeHeader(&cairn.Header{Revision: v.rev}) +
		wire.SizeVarint(wire.RangeCount, uint64(len(v.items)))
	st.sent += int64(len(items))
	st.left -= int64(len(items))
	if more {
		st.size += len(wire.AppendBool(nil, wire.RangeMore, true))
		st.advance(items[len(items)-1].key)
	}
	if done {
		return true, st.finish(ctx, v, rev, more)
	}
	return false, nil
}

// advance sets the request to what lies behind a key.
func (st *stream) advance(last []byte) {
	st.key[0], st.key[1] = st.key[1], append(append(st.key[0][:0], last...), 0)
	st.r.Key = st.key[1]
}

// finish appends what only the last piece has.
func (st *stream) finish(ctx context.Context, v *View, rev int64, more bool) error {
	total := st.sent
	if more {
		behind, err := v.count(ctx, st.r.Key, st.r.End, rev)
		if err != nil {
			return err
		}
		total += behind
	}
	st.buf = wire.AppendBool(st.buf, wire.RangeMore, more)
	st.buf = wire.AppendVarint(st.buf, wire.RangeCount, uint64(total))
	return nil
}

// gather collects the first limit keys of a range in r.items.
func (r *reader) gather(q *cairn.RangeRequest, rev, limit int64) {
	r.items = r.items[:0]
	if len(q.End) == 0 {
		r.s.mu.RLock()
		defer r.s.mu.RUnlock()
		if v, ok := r.s.get(q.Key, rev); ok {
			r.items = append(r.items, item{key: q.Key, v: v})
		}
		return
	}
	c := &r.at
	for c.start(q.Key, q.End); !c.done && int64(len(r.items)) < limit; {
		r.s.scan(c, limit-int64(len(r.items)), func(id uint32) bool {
			if v, ok := r.s.live(id, rev); ok {
				r.take(id, v)
			}
			return true
		})
	}
}
