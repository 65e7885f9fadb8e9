package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// serveMemberUpdate answers Cluster.MemberUpdate.
func (d *Door) serveMemberUpdate(
	ctx context.Context, r *pb.MemberUpdateRequest,
) (*pb.MemberUpdateResponse, error) {
	all, err := d.backend.UpdateMember(ctx, r.ID, r.PeerURLs)
	if err != nil {
		return nil, err
	}
	return &pb.MemberUpdateResponse{Header: d.clusterHeader(), Members: members(all)}, nil
}
