package sim

import (
	"math/rand/v2"
	"time"

	"github.com/cairnkv/cairn/command"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Members and clients of different versions.

// addedLater are kinds of commands that an older version may lack: all that a cluster can do
// without for a while.
var addedLater = []command.Kind{
	command.DeleteRange, command.Txn, command.Compact, command.LeaseGrant, command.LeaseRevoke,
	command.LeaseCheckpoint, command.Alarm,
}

// lacks is what the process knows nothing of, for all its life.
func (l *life) lacks() func(command.Kind) bool {
	if kind := l.m.lacks; kind != 0 {
		return func(k command.Kind) bool { return k == kind }
	}
	return nil
}

// older puts an older version in the place of a member's program, as an operator does who goes
// back, and the present one again after a while.
func (n *nemesis) older(rng *rand.Rand) {
	m := n.victim(rng)
	if m == nil {
		return
	}
	m.kill()
	m.lacks = pick(rng, addedLater)
	n.s.logf("%s: goes back to a version without %v", m.name, m.lacks)
	n.comeback(m, rng)
	n.later(between(rng, time.Second, 12*time.Second), func() { n.upgrade(m, rng) })
}

// upgrade puts the present version in the place of an older one.
func (n *nemesis) upgrade(m *member, rng *rand.Rand) {
	if m.lacks == 0 {
		return
	}
	n.s.logf("%s: is upgraded", m.name)
	m.lacks = 0
	if m.life != nil {
		m.kill()
		n.comeback(m, rng)
	}
}

// outdated takes a process that ended because it does not know a command of the log. Whatever looks
// after it starts it again, in vain, until somebody upgrades it.
func (n *nemesis) outdated(m *member) {
	rng := n.s.faultRNG
	if rng.IntN(3) == 0 {
		n.upgrade(m, rng)
	}
	n.s.after(between(rng, time.Millisecond, time.Second), m.start)
}

// alarm is raised for a full disk, by hand, and taken back after a while.
func (n *nemesis) alarm(rng *rand.Rand) {
	m := n.victim(rng)
	if m == nil || m.id == 0 {
		return
	}
	n.s.clients.Go("alarm", func() {
		err := n.s.submit(m, command.Alarm, &pb.AlarmRequest{
			Action: pb.AlarmRequest_ACTIVATE, MemberID: uint64(m.id), Alarm: pb.AlarmType_NOSPACE,
		}, &pb.AlarmResponse{})
		n.s.logf("alarm for %s: %v", m.name, err)
	})
	n.s.clientsRun()
	n.later(between(rng, 100*time.Millisecond, 4*time.Second), func() {
		n.s.clients.Go("disarm", func() {
			for _, m := range n.s.living() {
				n.s.disarm(m)
			}
		})
		n.s.clientsRun()
	})
}

// firstLater is the number from which on fields are those of later versions.
const firstLater = 1000

// addUnknown adds fields that this version does not know to a message and to all messages in it. A
// client of a later version sends them; they go into the log as they are.
func addUnknown(m protoreflect.Message, rng *rand.Rand) {
	for i := range m.Descriptor().Fields().Len() {
		field := m.Descriptor().Fields().Get(i)
		switch {
		case field.Kind() != protoreflect.MessageKind || !m.Has(field):
		case field.IsList():
			for k := range m.Get(field).List().Len() {
				addUnknown(m.Get(field).List().Get(k).Message(), rng)
			}
		default:
			addUnknown(m.Get(field).Message(), rng)
		}
	}
	b := m.GetUnknown()
	for range 1 + rng.IntN(3) {
		number := protowire.Number(firstLater + rng.IntN(1000))
		switch rng.IntN(4) {
		case 0:
			b = protowire.AppendTag(b, number, protowire.VarintType)
			b = protowire.AppendVarint(b, rng.Uint64())
		case 1:
			b = protowire.AppendTag(b, number, protowire.Fixed32Type)
			b = protowire.AppendFixed32(b, rng.Uint32())
		case 2:
			b = protowire.AppendTag(b, number, protowire.Fixed64Type)
			b = protowire.AppendFixed64(b, rng.Uint64())
		default:
			b = protowire.AppendTag(b, number, protowire.BytesType)
			b = protowire.AppendBytes(b, make([]byte, rng.IntN(40)))
		}
	}
	m.SetUnknown(b)
}
