package v3

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairnkv/cairn"
)

// serveLeaseTimeToLive answers Lease.LeaseTimeToLive. A lease that is not there is no error, its
// TTL is -1.
func (d *Door) serveLeaseTimeToLive(
	ctx context.Context, r *pb.LeaseTimeToLiveRequest,
) (*pb.LeaseTimeToLiveResponse, error) {
	l, err := d.backend.TimeToLive(ctx, r.ID, r.Keys)
	switch {
	case errors.Is(err, cairn.ErrLeaseNotFound):
		return &pb.LeaseTimeToLiveResponse{Header: d.header(), ID: r.ID, TTL: -1}, nil
	case err != nil:
		return nil, err
	}
	resp := &pb.LeaseTimeToLiveResponse{
		Header: d.header(), ID: r.ID, TTL: l.TTL, GrantedTTL: l.Granted,
	}
	if r.Keys {
		resp.Keys = l.Keys
	}
	return resp, nil
}
