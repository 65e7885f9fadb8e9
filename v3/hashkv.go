package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// serveHashKV answers Maintenance.HashKV.
func (d *Door) serveHashKV(
	ctx context.Context, r *pb.HashKVRequest,
) (*pb.HashKVResponse, error) {
	h, err := d.backend.HashKV(ctx, r.Revision)
	if err != nil {
		return nil, err
	}
	resp := &pb.HashKVResponse{
		Header: d.header(), Hash: h.Hash, CompactRevision: h.CompactRev, HashRevision: h.HashRev,
	}
	resp.Header.Revision = h.CurrentRev
	return resp, nil
}
