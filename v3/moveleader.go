package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// serveMoveLeader answers Maintenance.MoveLeader; as etcd's, the response has no header.
func (d *Door) serveMoveLeader(
	ctx context.Context, r *pb.MoveLeaderRequest,
) (*pb.MoveLeaderResponse, error) {
	if err := d.backend.MoveLeader(ctx, r.TargetID); err != nil {
		return nil, err
	}
	return &pb.MoveLeaderResponse{}, nil
}
