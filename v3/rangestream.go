package v3

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/rpc"
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
	var req rpc.Bytes
	var r cairn.RangeRequest
	if err := st.RecvMsg(&req); err != nil {
		return err
	}
	if err := wire.DecodeRange(req, &r); err != nil {
		return malformedInStream(err)
	}
	if err := checkRangeStream(&r); err != nil {
		return err
	}
	if !r.Serializable {
		if err := d.barrier(st.ctx); err != nil {
			return err
		}
	}
	var msg rpc.Bytes
	err := d.backend.StreamRange(st.ctx, &r, func(resp []byte) error {
		const rangeResponse = 1 // field of RangeStreamResponse
		msg = wire.AppendKV(msg[:0], rangeResponse, resp)
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
