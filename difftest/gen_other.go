package difftest

import (
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// leaseOp returns an operation on leases.
func (g *generator) leaseOp() []Op {
	one := func(kind string, m proto.Message) []Op { return []Op{{Kind: kind, Request: m}} }
	switch p := g.rng.IntN(100); {
	case p < 35:
		return g.grant()
	case p < 45:
		return one("revoke", &pb.LeaseRevokeRequest{ID: g.lease()})
	case p < 65:
		return []Op{{Kind: kindKeepAlive, Repeat: g.rng.IntN(3), Request: &pb.LeaseKeepAliveRequest{
			ID: g.lease(),
		}}}
	case p < 90:
		return one("timetolive", &pb.LeaseTimeToLiveRequest{ID: g.lease(), Keys: g.chance(0.7)})
	}
	return one("leases", &pb.LeaseLeasesRequest{})
}

// grant returns a grant. Its TTL is either so long that it does not expire in a run, or the lease
// is revoked at once.
func (g *generator) grant() []Op {
	ttls := []int64{1000, 1000, 5000, 77777, 9_000_000_000, 9_000_000_001, math.MaxInt64}
	req := &pb.LeaseGrantRequest{TTL: ttls[g.rng.IntN(len(ttls))], ID: g.lease()}
	op := Op{Kind: "grant", Request: req}
	if within(req.ID, leaseSymbol) || g.chance(0.1) {
		g.vars++
		req.ID, op.Var = 0, g.vars
	}
	if g.chance(0.05) {
		req.TTL = []int64{0, 1, 2, -1, math.MinInt64}[g.rng.IntN(5)]
		revoke := &pb.LeaseRevokeRequest{ID: req.ID}
		if op.Var != 0 {
			revoke.ID = LeaseVar(op.Var)
		}
		return []Op{op, {Kind: "revoke", Request: revoke}}
	}
	return []Op{op}
}

// watchOp returns an operation on a watch stream.
func (g *generator) watchOp() []Op {
	op := Op{Stream: g.rng.IntN(streamCount)}
	switch p := g.rng.IntN(100); {
	case p < 60:
		op.Kind, op.Request = kindWatchCreate, g.watchCreate()
	case p < 82:
		id := int64(g.rng.IntN(watchCount + 3))
		op.Kind, op.Request = kindWatchCancel, &pb.WatchCancelRequest{WatchId: id}
	case p < 96:
		op.Kind, op.Request = kindWatchProgress, &pb.WatchProgressRequest{}
	default:
		op.Kind = kindWatchClose
	}
	return []Op{op}
}

// watchCreate returns a request for a watcher.
func (g *generator) watchCreate() *pb.WatchCreateRequest {
	key, end := g.span()
	r := &pb.WatchCreateRequest{
		Key: key, RangeEnd: end, PrevKv: g.chance(0.4), Fragment: g.chance(0.3),
		ProgressNotify: g.chance(0.2),
	}
	if g.chance(0.4) {
		r.WatchId = 1 + int64(g.rng.IntN(watchCount))
	}
	if g.chance(0.02) {
		r.WatchId = -2
	}
	for g.chance(0.15) {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_FilterType(g.rng.IntN(3)))
	}
	switch p := g.rng.IntN(100); {
	case p < 35:
		r.StartRevision = Rev(-int64(g.rng.IntN(80)))
	case p < 45:
		r.StartRevision = Compacted(int64(g.rng.IntN(4)) - 2)
	case p < 55:
		r.StartRevision = Rev(1 + int64(g.rng.IntN(30)))
	case p < 57:
		r.StartRevision = -1
	}
	return r
}

// maintenance returns an operation that is neither data, lease nor watch.
func (g *generator) maintenance() []Op {
	one := func(kind string, m proto.Message) []Op { return []Op{{Kind: kind, Request: m}} }
	switch p := g.rng.IntN(100); {
	case p < 18:
		return one("status", &pb.StatusRequest{})
	case p < 60:
		return one("hashkv", &pb.HashKVRequest{Revision: g.revision()})
	case p < 70:
		return g.alarm()
	case p < 80:
		return one("members", &pb.MemberListRequest{Linearizable: g.chance(0.5)})
	case p < 83:
		return one("hash", &pb.HashRequest{})
	case p < 86:
		return one("defragment", &pb.DefragmentRequest{})
	case p < 90:
		return one("moveleader", &pb.MoveLeaderRequest{TargetID: 77})
	case p < 94:
		return one(kindSnapshot, &pb.SnapshotRequest{})
	case p < 97:
		return []Op{{Kind: kindSettle}}
	}
	return []Op{{Kind: kindRestart, Signal: []string{"TERM", "KILL"}[g.rng.IntN(2)]}}
}

// alarm returns an operation on alarms. One that raises an alarm is followed, a little later, by
// one that lifts it.
func (g *generator) alarm() []Op {
	req := &pb.AlarmRequest{Alarm: pb.AlarmType(g.rng.IntN(3))}
	if g.chance(0.5) {
		req.MemberID = []uint64{uint64(selfSymbol), 77}[g.rng.IntN(2)]
	}
	switch g.rng.IntN(4) {
	case 0, 1:
		req.Action = pb.AlarmRequest_GET
		return []Op{{Kind: "alarm", Request: req}}
	case 2:
		req.Action = pb.AlarmRequest_DEACTIVATE
		return []Op{{Kind: "alarm", Request: req}}
	}
	req.Action = pb.AlarmRequest_ACTIVATE
	lift := proto.Clone(req).(*pb.AlarmRequest)
	lift.Action = pb.AlarmRequest_DEACTIVATE
	g.later(alarmSpan, Op{Kind: "alarm", Request: lift})
	return []Op{{Kind: "alarm", Request: req}}
}
