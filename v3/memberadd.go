package v3

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairnkv/cairn"
)

// serveMemberAdd answers Cluster.MemberAdd.
func (d *Door) serveMemberAdd(
	ctx context.Context, r *pb.MemberAddRequest,
) (*pb.MemberAddResponse, error) {
	urls, err := peerURLs(r.PeerURLs)
	if err != nil {
		return nil, err
	}
	m, all, err := d.backend.AddMember(ctx, urls, r.IsLearner)
	if err != nil {
		return nil, err
	}
	return &pb.MemberAddResponse{
		Header:  d.clusterHeader(),
		Member:  &pb.Member{ID: m.ID, PeerURLs: m.PeerURLs, IsLearner: m.IsLearner},
		Members: members(all),
	}, nil
}

// peerURLs checks URLs of a member and returns them normalized and sorted (etcd
// client/pkg/types.NewURLs).
func peerURLs(in []string) ([]string, error) {
	if len(in) == 0 {
		return nil, cairn.ErrBadMemberURLs
	}
	out := make([]string, 0, len(in))
	for _, s := range in {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil {
			return nil, cairn.ErrBadMemberURLs
		}
		switch u.Scheme {
		case "http", "https":
			if _, _, err := net.SplitHostPort(u.Host); err != nil || u.Path != "" {
				return nil, cairn.ErrBadMemberURLs
			}
		case "unix", "unixs":
		default:
			return nil, cairn.ErrBadMemberURLs
		}
		out = append(out, u.String())
	}
	slices.Sort(out)
	return out, nil
}
