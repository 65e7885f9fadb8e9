package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/node"
	"github.com/cairnkv/cairn/ops"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/task"
	"github.com/cairnkv/cairn/upkeep"
	v3 "github.com/cairnkv/cairn/v3"
	"github.com/cairnkv/cairn/watch"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// backend is the member as the doors see it (v3.Backend).
type backend struct {
	node    *node.Node
	machine *state.Machine
	hub     *watch.Hub
	lessor  *upkeep.Lessor
	clk     clock.Clock
	log     *slog.Logger
	stored  func() revlog.Stats
	live    func() int64 // bytes that the quota counts
	backup  backupMaker
	damage  *damageLog
	metrics *ops.Metrics
	ranges  outcomes
	cluster *cluster
	leading *leading
	renewer renewer
	timeout time.Duration // of what is asked of other members
	quota   int64         // bytes in use at which writes are refused; 0: none
	chunk   int           // bytes of a piece of a streamed range

	sending    chan struct{}   // holds a token for each snapshot that is being sent
	raising    sync.Map        // of alarm.Alarm: those that are being proposed
	full       atomic.Bool     // the disk is: what would fill it more is refused at once
	prepareDue chan<- struct{} // asks to look at the disk again
}

var _ v3.Backend = (*backend)(nil)

// Costs of a request against the quota beyond its own bytes (etcd server/storage/quota.go).
const (
	entryOverheadBytes = 256
	leaseOverheadBytes = 64
)

func (b *backend) Header() cairn.Header {
	h := b.machine.Header()
	h.RaftTerm = b.node.Status().Term
	return h
}

func (b *backend) Leader() cairn.MemberID { return b.node.Status().Leader }

func (b *backend) Learner() bool { return b.node.Status().Learner }

// Propose refuses what does not fit any more and passes the rest to the node.
func (b *backend) Propose(kind command.Kind, req []byte, done func(reply []byte, err error)) {
	if err := b.admit(kind, req); err != nil {
		done(nil, err)
		return
	}
	b.node.Propose(kind, req, done)
}

// admit is the check before the log: at the quota the alarm is raised and the request refused, so
// that what the state machine refuses anyway does not fill the disk.
func (b *backend) admit(kind command.Kind, req []byte) error {
	var cost int64
	switch kind {
	case command.Put, command.Txn:
		cost = int64(len(req)) + entryOverheadBytes
	case command.LeaseGrant:
		cost = leaseOverheadBytes
	case command.Alarm:
		poke(b.prepareDue) // who disarms it may have made room
		return nil
	default:
		return nil
	}
	full := b.full.Load()
	if !full && (b.quota <= 0 || b.live()+cost <= b.quota) {
		return nil
	}
	if kind == command.Txn && !state.TxnPuts(req) {
		return nil
	}
	if full {
		return cairn.ErrNoSpace // the alarm is on its way
	}
	b.raiseNoSpace("the quota is used up", slog.Int64("quota-size-bytes", b.quota))
	return cairn.ErrNoSpace
}

// raiseNoSpace proposes the alarm unless it is raised or on its way.
func (b *backend) raiseNoSpace(why string, attrs ...any) {
	if b.raise(alarm.NoSpace) {
		b.log.Warn("raising the NOSPACE alarm: "+why, attrs...)
	}
}

// raiseCorrupt stops writes: stored data does not check. What is whole can still be read.
func (b *backend) raiseCorrupt(err error) {
	b.log.Error("stored data is damaged; raising the CORRUPT alarm", slog.Any("error", err))
	b.raise(alarm.Corrupt)
}

// raise proposes an alarm of this member, unless it is on its way or one of its type is raised.
func (b *backend) raise(t alarm.Type) bool {
	return !b.machine.Alarms().Active(t) && b.raiseFor(b.machine.Local(), t)
}

// raiseFor proposes an alarm of any member, unless that very one is on its way: another member's
// says nothing of this one.
func (b *backend) raiseFor(id cairn.MemberID, t alarm.Type) bool {
	a := alarm.Alarm{Member: id, Type: t}
	if _, proposed := b.raising.LoadOrStore(a, nil); proposed {
		return false
	}
	done := func([]byte, error) { b.raising.Delete(a) }
	req, err := proto.Marshal(&etcdserverpb.AlarmRequest{
		Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: id,
		Alarm: etcdserverpb.AlarmType(t),
	})
	if err != nil {
		done(nil, err)
		return false
	}
	b.node.Propose(command.Alarm, req, done)
	return true
}

func (b *backend) Barrier(done func(reply []byte, err error)) {
	b.node.Barrier(func(err error) { done(nil, err) })
}

func (b *backend) AppendRange(
	ctx context.Context, dst []byte, r *cairn.RangeRequest, budget v3.Budget,
) ([]byte, error) {
	h := b.Header()
	started := b.clk.Now()
	out, err := b.machine.Store().AppendRangeWithin(ctx, dst, &h, r, mvcc.Budget(budget))
	if errors.Is(err, mvcc.ErrLong) {
		return out, v3.ErrLong
	}
	b.metrics.Ranges.Inc()
	b.ranges.observe(err == nil, b.clk.Since(started))
	return out, b.readError(err)
}

func (b *backend) WriteRange(
	ctx context.Context, r *cairn.RangeRequest, begin func(size int) error,
	write func(piece []byte) error,
) error {
	b.metrics.Ranges.Inc()
	h := b.Header()
	started := b.clk.Now()
	err := b.machine.Store().WriteRange(ctx, &h, r, begin, write)
	b.ranges.observe(err == nil, b.clk.Since(started))
	return b.readError(err)
}

func (b *backend) AppendReadTxn(
	_ context.Context, dst []byte, t *cairn.TxnRequest,
) ([]byte, error) {
	out, err := b.machine.ReadTxn(dst, t)
	return out, b.readError(err)
}

// readError is what a client is told of an error of the store: of a record that does not check
// that there is damage, while the log says where.
func (b *backend) readError(err error) error {
	corrupt := (*revlog.CorruptError)(nil)
	if !errors.As(err, &corrupt) {
		return err
	}
	b.damage.note(corrupt)
	return cairn.ErrDamaged
}

// damageLog logs damaged places, each once in a row: clients may ask for it again and again. Safe
// for concurrent use.
type damageLog struct {
	log  *slog.Logger
	last atomic.Pointer[string]
	// ends, if set, ends the process of a member whose data others can give: the next start
	// fetches it.
	ends func(err error) bool
}

func (d *damageLog) note(err error) {
	if d.ends != nil && d.ends(err) {
		return
	}
	text := err.Error()
	if last := d.last.Swap(&text); last == nil || *last != text {
		d.log.Error("stored data is damaged", slog.Any("error", err))
	}
}

func (b *backend) StreamRange(
	ctx context.Context, r *cairn.RangeRequest, send func(resp []byte) error,
) error {
	h := b.Header()
	return b.readError(b.machine.Store().StreamRange(ctx, &h, r, b.chunk, send))
}

// compactionPoll is how often a client that asked for a physical compaction is looked after.
const compactionPoll = 10 * time.Millisecond

func (b *backend) WaitCompacted(ctx context.Context, rev int64) error {
	ticker := b.clk.NewTicker(compactionPoll)
	defer ticker.Stop()
	for b.machine.Store().CompactedRev() < rev {
		if b.cluster.tasks.Wait(ticker.C(), ctx.Done()) == 0 {
			return ctx.Err()
		}
	}
	return nil
}

func (b *backend) OpenWatch(wake func()) v3.WatchStream {
	return watchStream{b.hub.Open(b.Header, wake)}
}

// watchStream gives a stream of the hub the door's vocabulary.
type watchStream struct{ *watch.Stream }

func (w watchStream) Create(r v3.WatchCreate) {
	w.Stream.Create(watch.CreateRequest{
		Key: r.Key, End: r.End, StartRevision: r.StartRevision, ID: r.ID, PrevKV: r.PrevKV,
		Progress: r.ProgressNotify, Fragment: r.Fragment, NoPut: r.NoPut, NoDelete: r.NoDelete,
	})
}

// proposeAndWait proposes a command of the server's own.
func (b *backend) proposeAndWait(ctx context.Context, kind command.Kind, m proto.Message) error {
	req, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	b.node.Propose(kind, req, func(_ []byte, err error) { result <- err })
	return b.await(ctx, result)
}

func (b *backend) Leases(context.Context) ([]cairn.LeaseID, error) {
	var ids []cairn.LeaseID
	for _, info := range b.lessor.ByDeadline(b.machine.Leases().All()) {
		ids = append(ids, info.ID)
	}
	return ids, nil
}

// barrier waits for a linearizable read point.
func (b *backend) barrier(ctx context.Context) error {
	result := make(chan error, 1)
	b.node.Barrier(func(err error) { result <- err })
	return b.await(ctx, result)
}

// await waits for an outcome.
func (b *backend) await(ctx context.Context, result <-chan error) error {
	err, which := task.Receive(b.cluster.tasks, result, ctx.Done())
	if which == 0 {
		return ctx.Err()
	}
	return err
}
