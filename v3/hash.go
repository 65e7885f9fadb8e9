package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// serveHash answers Maintenance.Hash.
func (d *Door) serveHash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	hash, rev, err := d.backend.Hash(ctx)
	if err != nil {
		return nil, err
	}
	resp := &pb.HashResponse{Header: d.header(), Hash: hash}
	resp.Header.Revision = rev
	return resp, nil
}
