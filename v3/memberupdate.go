package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// serveMemberUpdate answers Cluster.MemberUpdate. URLs that are none, which end the processes of
// all other members in etcd, are refused as in MemberAdd.
func (d *Door) serveMemberUpdate(
	ctx context.Context, r *pb.MemberUpdateRequest,
) (*pb.MemberUpdateResponse, error) {
	if _, err := peerURLs(r.PeerURLs); err != nil {
		return nil, err
	}
	all, err := d.backend.UpdateMember(ctx, r.ID, r.PeerURLs)
	if err != nil {
		return nil, err
	}
	return &pb.MemberUpdateResponse{Header: d.clusterHeader(), Members: members(all)}, nil
}
