package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// serveMemberRemove answers Cluster.MemberRemove.
func (d *Door) serveMemberRemove(
	ctx context.Context, r *pb.MemberRemoveRequest,
) (*pb.MemberRemoveResponse, error) {
	all, err := d.backend.RemoveMember(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return &pb.MemberRemoveResponse{Header: d.clusterHeader(), Members: members(all)}, nil
}
