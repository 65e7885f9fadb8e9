package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// serveLeaseLeases answers Lease.LeaseLeases.
func (d *Door) serveLeaseLeases(
	ctx context.Context, _ *pb.LeaseLeasesRequest,
) (*pb.LeaseLeasesResponse, error) {
	ids, err := d.backend.Leases(ctx)
	if err != nil {
		return nil, err
	}
	resp := &pb.LeaseLeasesResponse{Header: d.header()}
	for _, id := range ids {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: id})
	}
	return resp, nil
}
