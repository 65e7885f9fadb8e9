// Package state is the replicated machine: it executes the commands of the raft log, one after the
// other, and everything that a command touches in several places (a lease's end deletes keys, a
// put moves a key between leases, an alarm refuses writes) is written here, once.
//
// # Contract
//
// The machine is pure: the same commands give the same state on every member. It reads no clock,
// draws no random number and depends on no map's order; what is not deterministic was decided
// before the command was proposed. Its only side effect is the record log below package mvcc.
//
// The applier (package node) is the caller's loop:
//
//	for each committed entry:   machine.Apply(index, term, data, &results)
//	once for all of them:       machine.Publish()     -> readers and watchers may see them
//	then:                       the results go to the clients that wait
//
// Apply and Publish belong to the applier, one goroutine at a time. Reading (Store, Leases, Alarms,
// Members, ReadTxn) is open to all goroutines.
package state

import (
	"errors"
	"fmt"
	"sync/atomic"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/lease"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Machine is the replicated state of one member.
type Machine struct {
	local   cairn.MemberID // this member: stands in response headers, not in the state
	store   *mvcc.Store
	leases  *lease.Table
	alarms  *alarm.Set
	members *member.Set
	conf    *raftpb.ConfState
	index   uint64        // last applied entry; the applier's
	term    atomic.Uint64 // its term
	events  []LeaseEvent
	counts  Counts
	changed bool  // the membership, since the last TakeMembersChanged
	damage  error // a record that an answer lacked, since the last TakeDamage

	put    cairn.PutRequest // decoded requests, reused; the applier's
	del    cairn.DeleteRangeRequest
	txn    cairn.TxnRequest
	runner txnRunner

	// lacks, if set, says which kinds this process is to know nothing of.
	lacks func(command.Kind) bool
}

// Lack makes the machine that of a version before some kinds of commands: it refuses them with
// command.ErrVersion as it does those of later versions. For simulations of upgrades; to be called
// before the first entry.
func (m *Machine) Lack(kinds func(command.Kind) bool) { m.lacks = kinds }

// Counts are numbers of operations executed, as etcd's metrics count them.
type Counts struct {
	Puts, Deletes, Ranges, Txns, PutBytes int64
}

// TakeCounts returns what was executed since the last call. The applier's.
func (m *Machine) TakeCounts() Counts {
	c := m.counts
	m.counts = Counts{}
	return c
}

// TakeDamage returns the error of a record that does not check, if an answer could not be given for
// it since the last call: a *revlog.CorruptError, or nil. The applier's.
func (m *Machine) TakeDamage() error {
	err := m.damage
	m.damage = nil
	return err
}

// LeaseEvent tells the owner of the clocks what happened to a lease.
type LeaseEvent struct {
	lease.Info
	Kind LeaseEventKind
}

// LeaseEventKind is what happened to a lease.
type LeaseEventKind uint8

// The kinds.
const (
	LeaseGranted LeaseEventKind = iota
	LeaseCheckpointed
	LeaseRevoked
)

// fullBytes is how much commands may bring before Results.Full is called, keptReplies how much
// memory of replies is kept.
const fullBytes, keptReplies = 8 << 20, 4 << 20

// Results collects the outcomes of commands in the order of execution, replies one after the other
// in one buffer. Reset keeps the memory.
type Results struct {
	Replies []byte
	List    []Result
	// Full, if set, is called between two commands, of one entry too, when the replies and the
	// changes that are not published exceed fullBytes: a small command can bring much. It has to
	// publish, use the results and Reset them. Its error is that of Apply.
	Full func() error
}

// Result is the outcome of one command: either Err is set, or Replies[From:To] is the response
// message, header included. There is none of a command of another member, for nobody waits for it.
type Result struct {
	Origin   uint64
	Sequence uint64
	Position int // which command of the batch
	Kind     command.Kind
	From, To int
	Err      error // *cairn.Error
}

// Reset forgets the results.
func (r *Results) Reset() {
	r.Replies, r.List = r.Replies[:0], r.List[:0]
	if cap(r.Replies) > keptReplies {
		r.Replies = nil
	}
}

// New makes the machine of an opened store and the rest of an image.
func New(local cairn.MemberID, img *Image, store *mvcc.Store) *Machine {
	m := &Machine{
		local: local, store: store, leases: img.Leases, alarms: img.Alarms,
		members: img.Members, conf: img.Conf, index: img.Index,
	}
	if mutate.On(mutate.AlarmForgotten) {
		m.alarms = &alarm.Set{}
	}
	m.term.Store(img.Term)
	m.attachAll(m.leases)
	return m
}

// attachAll hangs the keys that name a lease on it: the table of leases does not store them.
func (m *Machine) attachAll(leases *lease.Table) {
	if leases.Len() == 0 || mutate.On(mutate.LeaseForgotten) {
		return
	}
	view := m.store.View()
	defer view.Close()
	view.Ascend(nil, []byte{0}, func(key []byte, v mvcc.Version) bool {
		leases.Attach(v.Lease, key)
		return true
	})
}

// Restore makes the machine what a snapshot holds whose records the store has taken over already.
// img is given away. The applier's.
func (m *Machine) Restore(img *Image) {
	m.attachAll(img.Leases)
	m.leases.Replace(img.Leases)
	m.alarms.Replace(img.Alarms)
	m.members.Replace(img.Members)
	if mutate.On(mutate.InstallKeepsConf) && m.index > 0 {
		img.Conf = m.conf
	}
	m.conf, m.index, m.changed = img.Conf, img.Index, true
	m.term.Store(img.Term)
}

// Store, Leases, Alarms and Members are the parts, for readers.
func (m *Machine) Store() *mvcc.Store      { return m.store }
func (m *Machine) Leases() *lease.Table    { return m.leases }
func (m *Machine) Alarms() *alarm.Set      { return m.alarms }
func (m *Machine) Members() *member.Set    { return m.members }
func (m *Machine) Term() uint64            { return m.term.Load() }
func (m *Machine) Local() cairn.MemberID   { return m.local }
func (m *Machine) Conf() *raftpb.ConfState { return m.conf }

// Index is the last applied entry; the applier's.
func (m *Machine) Index() uint64 { return m.index }

// Header is a response's header at the newest published revision.
func (m *Machine) Header() cairn.Header { return m.header(m.store.Rev()) }

func (m *Machine) header(rev int64) cairn.Header {
	return cairn.Header{
		ClusterID: m.members.ClusterID(), MemberID: m.local, Revision: rev, RaftTerm: m.Term(),
	}
}

// ErrOutOfOrder says that an entry was given that does not follow the last one.
var ErrOutOfOrder = errors.New("state: log entry out of order")

// ApplyEntry executes a committed entry of any type: Apply or ApplyConf, whose result it returns.
func (m *Machine) ApplyEntry(
	e *raftpb.Entry, out *Results,
) (*raftpb.ConfChangeV2, error) {
	switch e.GetType() {
	case raftpb.EntryNormal:
		return nil, m.Apply(e.GetIndex(), e.GetTerm(), e.GetData(), out)
	case raftpb.EntryConfChangeV2:
		var cc raftpb.ConfChangeV2
		if err := proto.Unmarshal(e.GetData(), &cc); err != nil {
			return nil, fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
		}
		return m.ApplyConf(e.GetIndex(), e.GetTerm(), &cc, out)
	}
	return nil, fmt.Errorf("apply entry %d: entries of type %v are not known to this version",
		e.GetIndex(), e.GetType())
}

// Apply executes a committed entry. An error means that the machine cannot go on (the disk failed,
// a record that the command depends on is damaged, an unknown version wrote the entry): the
// process must end, and nothing since the last Publish may be shown to anyone.
func (m *Machine) Apply(index, term uint64, data []byte, out *Results) error {
	if index != m.index+1 {
		return fmt.Errorf("%w: entry %d after %d", ErrOutOfOrder, index, m.index)
	}
	m.index = index
	m.term.Store(term)
	if len(data) == 0 {
		return nil // raft's own, at the start of a term
	}
	if mutate.On(mutate.ApplyTwice) && index%64 == 0 {
		if err := m.applyBatch(data, &Results{}); err != nil {
			return err
		}
	}
	if err := m.applyBatch(data, out); err != nil {
		return fmt.Errorf("apply entry %d: %w", index, err)
	}
	return nil
}

// applyBatch executes the commands of an entry.
func (m *Machine) applyBatch(data []byte, out *Results) error {
	batch, err := command.Decode(data)
	for position := 0; err == nil && batch.Count > 0; position++ {
		var kind command.Kind
		var request []byte
		if kind, request, err = batch.Next(); err != nil {
			break
		}
		r := Result{Origin: batch.Origin, Sequence: batch.Sequence, Position: position, Kind: kind,
			From: len(out.Replies)}
		var reply []byte
		if reply, err = m.execute(out.Replies, kind, request); err == nil {
			out.Replies = reply
		} else if apiErr := (*cairn.Error)(nil); errors.As(err, &apiErr) {
			if corrupt := (*revlog.CorruptError)(nil); errors.As(err, &corrupt) {
				m.damage = corrupt
			}
			r.Err, err = apiErr, nil
		}
		if r.Origin != m.local {
			out.Replies = out.Replies[:r.From]
		}
		r.To = len(out.Replies)
		out.List = append(out.List, r)
		if out.Full != nil && err == nil && len(out.Replies)+m.store.Unpublished() > fullBytes {
			err = out.Full()
		}
	}
	return err
}

// execute runs one command and appends its reply to dst.
func (m *Machine) execute(dst []byte, kind command.Kind, request []byte) ([]byte, error) {
	if m.lacks != nil && m.lacks(kind) {
		if mutate.On(mutate.PassOverUnknown) {
			return dst, nil
		}
		return dst, fmt.Errorf("%w: %v", command.ErrVersion, kind)
	}
	if err := m.refusal(kind); err != nil {
		return dst, err
	}
	switch kind {
	case command.Put:
		return m.applyPut(dst, request)
	case command.DeleteRange:
		return m.applyDeleteRange(dst, request)
	case command.Txn:
		return m.applyTxn(dst, request)
	case command.Compact:
		return m.applyCompact(dst, request)
	case command.LeaseGrant:
		return m.applyLeaseGrant(dst, request)
	case command.LeaseRevoke:
		return m.applyLeaseRevoke(dst, request)
	case command.LeaseCheckpoint:
		return m.applyLeaseCheckpoint(dst, request)
	case command.Alarm:
		return m.applyAlarm(dst, request)
	case command.MemberAttributes:
		return m.applyMemberAttributes(dst, request)
	case command.ClusterVersion:
		return m.applyClusterVersion(dst, request)
	case command.MemberChange:
		return m.applyMemberUpdate(dst, request)
	}
	return dst, fmt.Errorf("%w: %v", command.ErrVersion, kind)
}

// refusal is the error by which an alarm refuses commands (etcd server/etcdserver/apply:
// corrupt.go, capped.go). A transaction is refused by NOSPACE only if it puts: applyTxn looks
// itself.
func (m *Machine) refusal(kind command.Kind) error {
	switch kind {
	case command.Put, command.DeleteRange, command.Txn, command.Compact, command.LeaseGrant,
		command.LeaseRevoke:
		if m.alarms.Active(alarm.Corrupt) {
			return cairn.ErrCorrupt
		}
	}
	if (kind == command.Put || kind == command.LeaseGrant) && m.alarms.Active(alarm.NoSpace) {
		return cairn.ErrNoSpace
	}
	return nil
}

// Publish makes all that was applied visible to readers. It returns the revision and the
// events since the last call; they are valid until the next Apply.
func (m *Machine) Publish() (rev int64, events []mvcc.Event, err error) {
	return m.store.Publish()
}

// LeaseEvents returns what happened to leases since the last call; valid until the next Apply.
func (m *Machine) LeaseEvents() []LeaseEvent {
	events := m.events
	m.events = m.events[:0]
	return events
}

// damaged turns a record that does not check, met while a reply is built, into the client's error;
// the command's effects do not depend on it. Other errors stay.
func damaged(err error) error {
	var corrupt *revlog.CorruptError
	if errors.As(err, &corrupt) {
		return errors.Join(cairn.ErrDamaged, err)
	}
	return err
}
