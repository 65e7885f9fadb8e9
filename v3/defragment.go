package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// serveDefragment answers Maintenance.Defragment; as etcd's, the response has no header.
func (d *Door) serveDefragment(
	ctx context.Context, _ *pb.DefragmentRequest,
) (*pb.DefragmentResponse, error) {
	if err := d.backend.Defragment(ctx); err != nil {
		return nil, err
	}
	return &pb.DefragmentResponse{}, nil
}
