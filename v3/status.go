package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/version"
)

// serveStatus answers Maintenance.Status. The version is that of the etcd that we stand in for:
// clients choose features by it.
func (d *Door) serveStatus(
	_ context.Context, _ *pb.StatusRequest,
) (*pb.StatusResponse, error) {
	s := d.backend.Status()
	resp := &pb.StatusResponse{
		Header:           d.header(),
		Version:          version.Etcd,
		DbSize:           s.StoredBytes,
		Leader:           s.Leader,
		RaftIndex:        s.RaftIndex,
		RaftAppliedIndex: s.AppliedIndex,
		DbSizeInUse:      s.InUseBytes,
		IsLearner:        s.Learner,
		StorageVersion:   version.Storage,
		DbSizeQuota:      s.QuotaBytes,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	resp.RaftTerm = resp.Header.RaftTerm
	if s.Leader == 0 {
		resp.Errors = append(resp.Errors, cairn.ErrNoLeader.Text)
	}
	for _, a := range s.Alarms {
		m := &pb.AlarmMember{MemberID: a.Member, Alarm: pb.AlarmType(a.Type)}
		resp.Errors = append(resp.Errors, m.String())
	}
	return resp, nil
}
