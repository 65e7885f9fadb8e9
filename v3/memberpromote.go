package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// serveMemberPromote answers Cluster.MemberPromote.
func (d *Door) serveMemberPromote(
	ctx context.Context, r *pb.MemberPromoteRequest,
) (*pb.MemberPromoteResponse, error) {
	all, err := d.backend.PromoteMember(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return &pb.MemberPromoteResponse{Header: d.clusterHeader(), Members: members(all)}, nil
}
