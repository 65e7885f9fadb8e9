package state

import (
	"fmt"

	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/lease"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"google.golang.org/protobuf/proto"
)

func decode(request []byte, into proto.Message) error {
	if err := proto.Unmarshal(request, into); err != nil {
		return fmt.Errorf("%T in the log: %w", into, err)
	}
	return nil
}

func (m *Machine) applyLeaseGrant(dst, request []byte) ([]byte, error) {
	var r etcdserverpb.LeaseGrantRequest
	if err := decode(request, &r); err != nil {
		return dst, err
	}
	if err := m.leases.Grant(r.ID, r.TTL); err != nil {
		return dst, err
	}
	m.events = append(m.events, LeaseEvent{lease.Info{ID: r.ID, TTL: r.TTL}, LeaseGranted})
	return m.appendReply(dst, &etcdserverpb.LeaseGrantResponse{
		Header: m.protoHeader(), ID: r.ID, TTL: r.TTL,
	})
}

// applyLeaseRevoke removes the lease and deletes its keys in order, in one revision.
func (m *Machine) applyLeaseRevoke(dst, request []byte) ([]byte, error) {
	var r etcdserverpb.LeaseRevokeRequest
	if err := decode(request, &r); err != nil {
		return dst, err
	}
	keys, err := m.leases.Revoke(r.ID)
	if err != nil {
		return dst, err
	}
	m.events = append(m.events, LeaseEvent{lease.Info{ID: r.ID}, LeaseRevoked})
	if err := m.deleteKeys(keys); err != nil {
		return dst, err
	}
	return m.appendReply(dst, &etcdserverpb.LeaseRevokeResponse{Header: m.protoHeader()})
}

func (m *Machine) deleteKeys(keys []string) error {
	tx := m.store.Begin()
	defer tx.End()
	m.counts.Deletes += int64(len(keys))
	for _, key := range keys {
		if _, _, err := tx.Delete([]byte(key)); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) applyLeaseCheckpoint(dst, request []byte) ([]byte, error) {
	var r etcdserverpb.LeaseCheckpointRequest
	if err := decode(request, &r); err != nil {
		return dst, err
	}
	for _, c := range r.Checkpoints {
		m.leases.Checkpoint(c.ID, c.Remaining_TTL)
		if info, ok := m.leases.Lookup(c.ID); ok {
			m.events = append(m.events, LeaseEvent{info, LeaseCheckpointed})
		}
	}
	return m.appendReply(dst, &etcdserverpb.LeaseCheckpointResponse{Header: m.protoHeader()})
}

// applyAlarm is etcd's applierV3backend.Alarm: the reply names what was changed or asked for.
func (m *Machine) applyAlarm(dst, request []byte) ([]byte, error) {
	var r etcdserverpb.AlarmRequest
	if err := decode(request, &r); err != nil {
		return dst, err
	}
	a := alarm.Alarm{Member: r.MemberID, Type: alarm.Type(r.Alarm)}
	var list []alarm.Alarm
	switch r.Action {
	case etcdserverpb.AlarmRequest_GET:
		list = m.alarms.List(a.Type)
	case etcdserverpb.AlarmRequest_ACTIVATE:
		if a.Type != alarm.None {
			m.alarms.Raise(a)
			list = []alarm.Alarm{a}
		}
	case etcdserverpb.AlarmRequest_DEACTIVATE:
		if m.alarms.Clear(a) {
			list = []alarm.Alarm{a}
		}
	}
	reply := &etcdserverpb.AlarmResponse{Header: m.protoHeader()}
	for _, a := range list {
		reply.Alarms = append(reply.Alarms, &etcdserverpb.AlarmMember{
			MemberID: a.Member, Alarm: etcdserverpb.AlarmType(a.Type),
		})
	}
	return m.appendReply(dst, reply)
}

func (m *Machine) applyMemberAttributes(dst, request []byte) ([]byte, error) {
	var r membershippb.ClusterMemberAttrSetRequest
	if err := decode(request, &r); err != nil {
		return dst, err
	}
	attrs := r.GetMemberAttributes()
	m.members.SetAttributes(r.GetMember_ID(), attrs.GetName(), attrs.GetClientUrls())
	return dst, nil
}

func (m *Machine) applyClusterVersion(dst, request []byte) ([]byte, error) {
	var r membershippb.ClusterVersionSetRequest
	if err := decode(request, &r); err != nil {
		return dst, err
	}
	m.members.SetVersion(r.GetVer())
	return dst, nil
}
