package v3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

type responseHeader = pb.ResponseHeader

// addServices fills the table of what the door serves, in etcd's order.
func (d *Door) addServices() {
	file := pb.KV_ServiceDesc.Metadata

	kv := d.addService(pb.KV_ServiceDesc.ServiceName, file)
	kv.unary("Range", decodeRange, d.serveRange).reads = true
	kv.unary("Put", decodePut, d.servePut)
	kv.unary("DeleteRange", decodeDeleteRange, d.serveDeleteRange)
	kv.unary("Txn", decodeTxn, d.serveTxn)
	kv.unary("Compact", decodeCompact, d.serveCompact)
	kv.stream("RangeStream", ServerStream, d.serveRangeStream)

	watch := d.addService(pb.Watch_ServiceDesc.ServiceName, file)
	watch.rawStream("Watch", d.openWatch)

	lease := d.addService(pb.Lease_ServiceDesc.ServiceName, file)
	lease.unary("LeaseGrant", decodeAs[pb.LeaseGrantRequest], d.serveLeaseGrant)
	lease.unary("LeaseRevoke", decodeAs[pb.LeaseRevokeRequest], d.serveLeaseRevoke)
	lease.rawStream("LeaseKeepAlive", d.openKeepAlive)
	cold(lease, "LeaseTimeToLive", d.serveLeaseTimeToLive)
	cold(lease, "LeaseLeases", d.serveLeaseLeases)

	cluster := d.addService(pb.Cluster_ServiceDesc.ServiceName, file)
	cold(cluster, "MemberAdd", d.serveMemberAdd)
	cold(cluster, "MemberRemove", d.serveMemberRemove)
	cold(cluster, "MemberUpdate", d.serveMemberUpdate)
	cold(cluster, "MemberList", d.serveMemberList)
	cold(cluster, "MemberPromote", d.serveMemberPromote)

	maintenance := d.addService(pb.Maintenance_ServiceDesc.ServiceName, file)
	maintenance.unary("Alarm", decodeAs[pb.AlarmRequest], d.serveAlarm)
	cold(maintenance, "Status", d.serveStatus)
	cold(maintenance, "Defragment", d.serveDefragment)
	cold(maintenance, "Hash", d.serveHash)
	cold(maintenance, "HashKV", d.serveHashKV)
	cold(maintenance, "MoveLeader", d.serveMoveLeader)
	maintenance.stream("Snapshot", ServerStream, d.serveSnapshot)
	maintenance.missing("Downgrade")

	d.addAuth(file)
	d.addConcurrency()
	d.addHealth()
}

// addAuth adds the Auth service: whether it is enabled can be told, all else is yet to come.
func (d *Door) addAuth(file any) {
	auth := d.addService(pb.Auth_ServiceDesc.ServiceName, file)
	for _, m := range pb.Auth_ServiceDesc.Methods {
		if m.MethodName == "AuthStatus" {
			cold(auth, m.MethodName, d.serveAuthStatus)
			continue
		}
		auth.missing(m.MethodName)
	}
}

// addConcurrency adds the Lock and Election services, which are yet to come.
func (d *Door) addConcurrency() {
	lock := d.addService("v3lockpb.Lock", nil)
	lock.missing("Lock")
	lock.missing("Unlock")

	election := d.addService("v3electionpb.Election", nil)
	for _, name := range []string{"Campaign", "Proclaim", "Leader", "Resign"} {
		election.missing(name)
	}
	election.stream("Observe", ServerStream, func(*stream) error {
		return notYet("v3electionpb.Election/Observe")
	})
}

// addHealth adds the standard health service.
func (d *Door) addHealth() {
	desc := &healthpb.Health_ServiceDesc
	s := d.addService(desc.ServiceName, desc.Metadata)
	cold(s, "Check",
		func(ctx context.Context, r *healthpb.HealthCheckRequest) (
			*healthpb.HealthCheckResponse, error,
		) {
			return d.health.Check(ctx, r)
		})
	cold(s, "List",
		func(ctx context.Context, r *healthpb.HealthListRequest) (
			*healthpb.HealthListResponse, error,
		) {
			return d.health.List(ctx, r)
		})
	s.stream("Watch", ServerStream, func(st *stream) error {
		r := new(healthpb.HealthCheckRequest)
		if err := st.RecvMsg(r); err != nil {
			return err
		}
		return d.health.Watch(r, &grpc.GenericServerStream[
			healthpb.HealthCheckRequest, healthpb.HealthCheckResponse]{ServerStream: st})
	})
}
