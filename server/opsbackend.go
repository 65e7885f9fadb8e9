package server

import (
	"context"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/version"
	"github.com/cairnkv/cairn/ops"
	v3 "github.com/cairnkv/cairn/v3"
)

// opsBackend is the member as the door of its operators sees it.
type opsBackend struct{ s *Server }

var _ ops.Backend = opsBackend{}

func (b opsBackend) Alarms() []ops.Alarm    { return b.s.alarms() }
func (b opsBackend) Leader() cairn.MemberID { return b.s.node.Status().Leader }
func (b opsBackend) IsLearner() bool        { return b.s.node.Status().Learner }
func (b opsBackend) ClusterVersion() string { return b.s.stores.machine.Members().Version() }
func (b opsBackend) StorageVersion() string { return version.Storage }

// RaftStatus is what /debug/vars shows of raft.
func (b opsBackend) RaftStatus() any {
	s := b.s.node.Status()
	status := ops.RaftStatus{
		ID: b.s.stores.machine.Local(), Lead: s.Leader, Vote: s.Vote, Term: s.Term,
		Commit: s.Commit, Applied: s.Applied, State: s.Role,
	}
	peers, err := b.s.node.Peers(b.s.ctx)
	if err != nil || peers == nil {
		return status // it stops, or does not lead
	}
	status.Progress = make(map[cairn.MemberID]ops.RaftProgress)
	for id, p := range peers {
		status.Progress[id] = ops.RaftProgress{Match: p.Match, Next: p.Next, State: p.State}
	}
	return status
}

// healthKey is the key that is looked for; it need not exist (etcd: an empty one).
var healthKey = []byte{0}

// Read reads at most one key.
func (b opsBackend) Read(ctx context.Context, serializable bool) error {
	if !serializable {
		if err := b.s.back.barrier(ctx); err != nil {
			return err
		}
	}
	_, err := b.s.back.AppendRange(ctx, nil, &cairn.RangeRequest{Key: healthKey, Limit: 1},
		v3.Unbounded)
	return err
}
