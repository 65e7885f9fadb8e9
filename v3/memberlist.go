package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairnkv/cairn/member"
)

// serveMemberList answers Cluster.MemberList.
func (d *Door) serveMemberList(
	ctx context.Context, r *pb.MemberListRequest,
) (*pb.MemberListResponse, error) {
	all, err := d.backend.Members(ctx, r.Linearizable)
	if err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: d.clusterHeader(), Members: members(all)}, nil
}

// clusterHeader is the header of the Cluster service, which says no revision.
func (d *Door) clusterHeader() *responseHeader {
	h := d.header()
	h.Revision = 0
	return h
}

func members(all []member.Member) []*pb.Member {
	out := make([]*pb.Member, 0, len(all))
	for _, m := range all {
		out = append(out, &pb.Member{
			ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs,
			IsLearner: m.IsLearner,
		})
	}
	return out
}
