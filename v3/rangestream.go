package v3

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/wire"
)

// Refusals of KV.RangeStream, with etcd's texts.
var (
	errStreamSort = status.Error(codes.Unimplemented,
		"RangeStream does not support custom sort orders")
	errStreamFilter = status.Error(codes.Unimplemented,
		"RangeStream does not support revision filters")
)

// serveRangeStream answers KV.RangeStream.
func (d *Door) serveRangeStream(st *stream) error {
	c := d.newCall()
	defer c.release()
	if err := st.RecvMsg(c); err != nil {
		return err
	}
	if err := decodeRange(c); err != nil {
		return malformedInStream(err)
	}
	if err := checkRangeStream(&c.rng); err != nil {
		return err
	}
	if !c.rng.Serializable {
		if err := d.barrier(st.ctx, c); err != nil {
			return err
		}
	}
	err := d.backend.StreamRange(st.ctx, &c.rng, func(resp []byte) error {
		const rangeResponse = 1 // field of RangeStreamResponse
		msg := lend(wire.SizeKV(rangeResponse, len(resp)))
		*msg = wire.AppendKV(*msg, rangeResponse, resp)
		return st.SendMsg(msg)
	})
	if err != nil && st.ctx.Err() != nil {
		return contextError(st.ctx)
	}
	return err
}

func checkRangeStream(r *cairn.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	byKey := r.SortTarget == cairn.SortByKey && r.SortOrder == cairn.SortAscend
	if r.SortOrder != cairn.SortNone && !byKey {
		return errStreamSort
	}
	if r.MinModRevision != 0 || r.MaxModRevision != 0 ||
		r.MinCreateRevision != 0 || r.MaxCreateRevision != 0 {
		return errStreamFilter
	}
	return nil
}
