package difftest

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Op is one line of a script.
type Op struct {
	Kind   string // a key of kinds
	Stream int    // which watch stream, for the watch kinds
	Var    int    // for grant with ID 0: which $lease the id is kept as
	Repeat int    // for keepalive: how often the request is sent on one stream
	Signal string // for restart and stop: TERM or KILL
	Member int    // which one is asked, from 1 on; 0 is the first
	Path   string // for http
	// HasLeader asks to be refused when there is no leader.
	HasLeader bool
	Request   proto.Message // nil for kinds without one; may hold symbols (symbol.go)
}

// Kinds of operations that are not a single unary call.
const (
	kindRangeStream   = "rangestream"
	kindKeepAlive     = "keepalive"
	kindSnapshot      = "snapshot"
	kindWatchCreate   = "watch.create"
	kindWatchCancel   = "watch.cancel"
	kindWatchProgress = "watch.progress"
	kindWatchClose    = "watch.close"
	kindSettle        = "settle"
	kindVersions      = "versions"
	kindExpire        = "expire"
	kindRestart       = "restart"

	// Kinds for clusters of several members, see cluster.go.
	kindStop       = "stop"
	kindStart      = "start"
	kindJoin       = "join"
	kindGone       = "gone"
	kindLead       = "lead"
	kindLeaderless = "leaderless"
	kindAge        = "age"
	kindHTTP       = "http"
)

// kind tells how operations of a kind are sent.
type kind struct {
	method   string // full gRPC method of a unary call, "" if it is none
	request  func() proto.Message
	response func() proto.Message
}

// kinds lists every kind of operation under the name that scripts use.
func kinds() map[string]kind {
	return map[string]kind{
		"range":      unary[pb.RangeRequest, pb.RangeResponse]("KV/Range"),
		"put":        unary[pb.PutRequest, pb.PutResponse]("KV/Put"),
		"delete":     unary[pb.DeleteRangeRequest, pb.DeleteRangeResponse]("KV/DeleteRange"),
		"txn":        unary[pb.TxnRequest, pb.TxnResponse]("KV/Txn"),
		"compact":    unary[pb.CompactionRequest, pb.CompactionResponse]("KV/Compact"),
		"grant":      unary[pb.LeaseGrantRequest, pb.LeaseGrantResponse]("Lease/LeaseGrant"),
		"revoke":     unary[pb.LeaseRevokeRequest, pb.LeaseRevokeResponse]("Lease/LeaseRevoke"),
		"leases":     unary[pb.LeaseLeasesRequest, pb.LeaseLeasesResponse]("Lease/LeaseLeases"),
		"members":    unary[pb.MemberListRequest, pb.MemberListResponse]("Cluster/MemberList"),
		"alarm":      unary[pb.AlarmRequest, pb.AlarmResponse]("Maintenance/Alarm"),
		"status":     unary[pb.StatusRequest, pb.StatusResponse]("Maintenance/Status"),
		"hash":       unary[pb.HashRequest, pb.HashResponse]("Maintenance/Hash"),
		"hashkv":     unary[pb.HashKVRequest, pb.HashKVResponse]("Maintenance/HashKV"),
		"defragment": unary[pb.DefragmentRequest, pb.DefragmentResponse]("Maintenance/Defragment"),
		"moveleader": unary[pb.MoveLeaderRequest, pb.MoveLeaderResponse]("Maintenance/MoveLeader"),
		"memberadd":  unary[pb.MemberAddRequest, pb.MemberAddResponse]("Cluster/MemberAdd"),
		"memberremove": unary[pb.MemberRemoveRequest, pb.MemberRemoveResponse](
			"Cluster/MemberRemove"),
		"memberupdate": unary[pb.MemberUpdateRequest, pb.MemberUpdateResponse](
			"Cluster/MemberUpdate"),
		"memberpromote": unary[pb.MemberPromoteRequest, pb.MemberPromoteResponse](
			"Cluster/MemberPromote"),
		"timetolive": unary[pb.LeaseTimeToLiveRequest, pb.LeaseTimeToLiveResponse](
			"Lease/LeaseTimeToLive"),

		kindExpire:      stream[pb.LeaseGrantRequest, pb.LeaseGrantResponse](),
		kindRangeStream: stream[pb.RangeRequest, pb.RangeResponse](),
		kindKeepAlive:   stream[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse](),
		kindSnapshot:    stream[pb.SnapshotRequest, pb.SnapshotResponse](),

		kindWatchCreate:   stream[pb.WatchCreateRequest, pb.WatchResponse](),
		kindWatchCancel:   stream[pb.WatchCancelRequest, pb.WatchResponse](),
		kindWatchProgress: stream[pb.WatchProgressRequest, pb.WatchResponse](),
		kindWatchClose:    {},
		kindSettle:        {},
		kindVersions:      {},
		kindRestart:       {},
		kindStop:          {},
		kindStart:         {},
		kindJoin:          {},
		kindGone:          {},
		kindLead:          {},
		kindLeaderless:    {},
		kindAge:           {},
		kindHTTP:          {},
	}
}

// message is a pointer to a generated message type.
type message[T any] interface {
	*T
	proto.Message
}

// unary describes a unary call.
func unary[Req, Resp any, PReq message[Req], PResp message[Resp]](method string) kind {
	k := stream[Req, Resp, PReq, PResp]()
	k.method = "/etcdserverpb." + method
	return k
}

// stream describes a call that the runner makes in a way of its own.
func stream[Req, Resp any, PReq message[Req], PResp message[Resp]]() kind {
	return kind{
		request:  func() proto.Message { return PReq(new(Req)) },
		response: func() proto.Message { return PResp(new(Resp)) },
	}
}
