package mvcc

import (
	"context"
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/wire"
)

// Budget bounds what a range may take: keys that are walked over, and bytes of its response.
type Budget struct{ Keys, Bytes int }

// ErrLong says that a range takes more than its budget.
var ErrLong = errors.New("mvcc: the range is longer than its budget")

// unbounded is the budget of a range that may take what it takes.
var unbounded = Budget{Keys: math.MaxInt, Bytes: math.MaxInt}

// pieceBytes is about how much WriteRange writes at once.
const pieceBytes = 64 << 10

// AppendRangeWithin is AppendRange for a range that must not take long: beyond the budget it is
// given up with ErrLong.
func (s *Store) AppendRangeWithin(
	ctx context.Context, dst []byte, h *cairn.Header, r *cairn.RangeRequest, b Budget,
) ([]byte, error) {
	if len(r.End) == 0 {
		return s.appendPoint(dst, h, r)
	}
	v := s.View()
	defer v.Close()
	header := *h
	header.Revision = v.rev
	v.budget = b
	return v.appendRange(ctx, dst, &header, r)
}

// WriteRange gives the whole RangeResponse to write, in pieces of about pieceBytes, which write
// must not keep, after begin was told how many bytes it has. The range is walked over twice, at one
// revision, which stays pinned meanwhile: it costs no memory for what is found, as long as it is
// asked for in the order of the keys and without filters; other ranges are built in memory. Errors
// of begin and write come back as they are, others are those of AppendRange; after begin, any error
// means that the response is broken.
func (s *Store) WriteRange(
	ctx context.Context, h *cairn.Header, q *cairn.RangeRequest,
	begin func(size int) error, write func(piece []byte) error,
) error {
	if len(q.End) == 0 || q.CountOnly || !inOrder(q) {
		b, err := s.AppendRange(ctx, nil, h, q)
		if err == nil {
			err = begin(len(b))
		}
		if err != nil {
			return err
		}
		return write(b)
	}
	v := s.View()
	defer v.Close()
	rev, err := revision(q.Revision, v.rev, v.compactRev)
	if err != nil {
		return err
	}
	header := *h
	header.Revision = v.rev
	head := wire.AppendHeader(nil, &header)
	size := len(head)
	var scratch []byte
	total, err := v.walk(q, rev, ctx.Err, func(it *item) error {
		n, err := s.itemSize(q, it, &scratch)
		size += n
		return err
	})
	if err != nil {
		return err
	}
	tail := wire.AppendBool(nil, wire.RangeMore, q.Limit > 0 && total > q.Limit)
	tail = wire.AppendVarint(tail, wire.RangeCount, uint64(total))
	if err := begin(size + len(tail)); err != nil {
		return err
	}
	return v.writePieces(ctx, q, rev, head, tail, write)
}

// writePieces is the second walk.
func (r *reader) writePieces(
	ctx context.Context, q *cairn.RangeRequest, rev int64, head, tail []byte,
	write func(piece []byte) error,
) error {
	buf := append(make([]byte, 0, pieceBytes), head...)
	_, err := r.walk(q, rev, ctx.Err, func(it *item) (err error) {
		if buf, err = r.s.appendItem(buf, q, it); err != nil || len(buf) < pieceBytes {
			return err
		}
		err = write(buf)
		buf = buf[:0]
		return err
	})
	if err != nil {
		return err
	}
	return write(append(buf, tail...))
}

// itemSize is the length of what appendItem appends; scratch is memory for it.
func (s *Store) itemSize(q *cairn.RangeRequest, it *item, scratch *[]byte) (int, error) {
	if !q.KeysOnly {
		b, err := s.record(it.v)
		return protowire.SizeTag(wire.RangeKVs) + protowire.SizeBytes(len(b)), err
	}
	b, err := s.appendItem((*scratch)[:0], q, it)
	*scratch = b
	return len(b), err
}
