package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// firstAuthRevision is the revision of an auth store that nothing was ever done to.
const firstAuthRevision = 1

// serveAuthStatus answers Auth.AuthStatus: there is no authentication yet, so it is off.
func (d *Door) serveAuthStatus(
	_ context.Context, _ *pb.AuthStatusRequest,
) (*pb.AuthStatusResponse, error) {
	return &pb.AuthStatusResponse{Header: d.header(), AuthRevision: firstAuthRevision}, nil
}
