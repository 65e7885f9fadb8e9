package server

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/task"
	"github.com/cairnkv/cairn/upkeep"
	"github.com/cairnkv/cairn/vfs"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Intervals and limits of the work in the background.
const (
	// checkpointBytes of applied entries make a checkpoint due, besides --snapshot-count entries.
	checkpointBytes = 64 << 20
	// catchUpBytes bounds the entries kept behind a checkpoint for slow followers.
	catchUpBytes = 128 << 20
	// checkpointAge makes one due when anything was applied since the last.
	checkpointAge = 5 * time.Minute
	// leaveTime bounds the wait for the applier at the checkpoint of a stop.
	leaveTime = 5 * time.Second
	// leaseTick is how often leases are looked at (etcd: 500 ms).
	leaseTick = 500 * time.Millisecond
	// compactTick is how often the automatic compaction is asked.
	compactTick = time.Second
	// compactPause is the rest between pieces of --compaction-batch-limit versions.
	compactPause = time.Millisecond
	// watchTick is how often idle watches are looked at for progress notifications.
	watchTick = 100 * time.Millisecond
	// prepareTick is how often space is made ready ahead of the logs when nothing asks for it.
	prepareTick = 50 * time.Millisecond
	// prepareBytes of raft log make a look due at once.
	prepareBytes = 1 << 20
	// walSegmentBytes is the size of the raft log's segments. Up to four exist when all is quiet
	// (in use, ahead, two spare): small ones, so that a small store takes little room. Each costs
	// one sync more.
	walSegmentBytes = 8 << 20
	// spaceRetry is the pause after a full disk or another failure that may pass.
	spaceRetry = time.Second
	// reclaimStepBytes and reclaimPause bound the rate at which old segments are rewritten:
	// 1 MiB every 10 ms at most, 100 MiB/s.
	reclaimStepBytes = 1 << 20
	reclaimPause     = 10 * time.Millisecond
	// reclaimIdle is how often reclaim looks for work when nothing calls it.
	reclaimIdle = time.Second
)

// background runs fn, which ends when the server stops.
func (s *Server) background(name string, fn func(ctx context.Context)) {
	s.workers.Go(s.tasks, name, func() { fn(s.ctx) })
}

// pause waits for d or for a poke on wake (which may be nil) and says whether to go on.
func (s *Server) pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := s.clk.NewTimer(d)
	defer timer.Stop()
	return s.tasks.Wait(timer.C(), ctx.Done(), wake) != 0
}

// every calls fn each d.
func (s *Server) every(
	name string, d time.Duration, fn func(ctx context.Context, now time.Time),
) {
	s.background(name, func(ctx context.Context) {
		ticker := s.clk.NewTicker(d)
		defer ticker.Stop()
		for s.tasks.Wait(ticker.C(), ctx.Done()) == task.Timer {
			fn(ctx, s.clk.Now())
		}
	})
}

func poke(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// runCheckpoints makes a checkpoint when one is due or asked for.
func (s *Server) runCheckpoints(ctx context.Context) {
	for s.pause(ctx, checkpointAge, s.checkpointDue) {
		if err := s.makeCheckpoint(ctx); err != nil && ctx.Err() == nil {
			if !errors.Is(err, vfs.ErrNoSpace) {
				s.fatal(err)
				return
			}
			s.back.raiseNoSpace("no room for a checkpoint", slog.Any("error", err))
			// A rewrite that waits for this checkpoint holds the room that it needs.
			if err := s.stores.log.AbortReclaim(); err != nil {
				s.fatal(err)
				return
			}
			s.pause(ctx, spaceRetry, nil)
			poke(s.checkpointDue)
		}
	}
}

// noteApplied counts what was applied since the last checkpoint. On the applier.
func (s *Server) noteApplied(index uint64, bytes int) {
	s.leading.applied(s.stores.machine, s.lessor, s.clk.Now())
	total := s.appliedBytes.Add(int64(bytes))
	s.count(s.stores.machine.TakeCounts())
	if err := s.stores.machine.TakeDamage(); err != nil {
		s.damage.note(err)
	}
	if store := s.stores.machine.Store(); store.CompactedRev() < store.CompactRev() {
		poke(s.compactDue)
	}
	if total >= checkpointBytes || index-s.saved.Load().index >= s.cfg.SnapshotCount {
		poke(s.checkpointDue)
	}
}

// makeCheckpoint writes the state at the last applied entry: records synced, then the checkpoint,
// then the raft log may lose what is behind it.
func (s *Server) makeCheckpoint(ctx context.Context) error {
	s.checkpointMu.Lock(s.tasks)
	defer s.checkpointMu.Unlock()
	var next checkpointed
	var payload []byte
	var encodeErr error
	var bytes int64
	err := s.node.Visit(ctx, func(m *state.Machine) {
		img := m.Image()
		next = checkpointed{img.Index, img.Mark, img.CompactRev}
		if next.index > s.saved.Load().index {
			payload, encodeErr = img.Encode()
			bytes = s.appliedBytes.Swap(0)
		}
	})
	if err != nil {
		return err // the visit may still come: what it sets is not ours to read
	}
	if encodeErr != nil {
		return encodeErr
	}
	if payload == nil {
		return nil // nothing was applied since the last one
	}
	started := s.clk.Now()
	if !mutate.On(mutate.EarlyCheckpoint) {
		if err := s.stores.log.Sync(); err != nil {
			s.fatal(err)
			return err
		}
	}
	if err := s.saveCheckpoint(next.index, payload); err != nil {
		return err
	}
	s.saved.Store(&next)
	s.truncateLog(next.index, bytes)
	s.metrics.Commit.Observe(s.clk.Since(started).Seconds())
	s.logger.Info("saved snapshot", slog.Uint64("snapshot-index", next.index),
		slog.Duration("took", s.clk.Since(started)))
	poke(s.reclaimDue)
	return nil
}

// leaveCheckpoint makes the checkpoint of a stop, so that the next start has nothing to replay. A
// member that has failed to start must not make one: what it refused is not to become the truth.
func (s *Server) leaveCheckpoint() {
	if !s.ready {
		return
	}
	ctx, cancel := clock.WithTimeout(s.ctx, s.clk, leaveTime)
	defer cancel()
	if err := s.makeCheckpoint(ctx); err != nil {
		s.logger.Warn("stopping without a checkpoint: the next start replays the raft log",
			slog.Any("error", err))
	}
}

// trail remembers past checkpoints, as far back as the raft log may reach.
type trail []trailPoint

type trailPoint struct {
	index uint64
	bytes int64 // of entries up to it, since the start
}

// add notes a checkpoint with the bytes of the entries since the last one, and returns the index up
// to which the log is not needed: it keeps the given number of entries for slow followers, but no
// more than catchUpBytes of them, for an entry may hold a mebibyte of commands.
func (t *trail) add(index uint64, bytes int64, keep uint64) (to uint64) {
	if n := len(*t); n > 0 {
		bytes += (*t)[n-1].bytes
	}
	*t = append(*t, trailPoint{index, bytes})
	for len(*t) > 1 && (bytes-(*t)[0].bytes > catchUpBytes || (*t)[1].index+keep <= index) {
		*t = (*t)[1:]
	}
	return max(index-min(keep, index), (*t)[0].index)
}

// truncateLog lets the raft log lose what a new checkpoint makes needless.
func (s *Server) truncateLog(index uint64, bytes int64) {
	to := s.trail.add(index, bytes, s.cfg.SnapshotCatchUpEntries)
	// The members, not the voters: a learner of a lone voter is to catch up, too.
	if len(s.stores.machine.Members().List()) == 1 {
		to = index // there is no one to catch up
	}
	if mutate.On(mutate.TruncateEarly) {
		to = s.node.Status().Applied
	}
	s.node.Truncate(to)
}

// saveCheckpoint writes a checkpoint; on a full disk in the room that is kept for it, for without
// checkpoints nothing gives space back.
func (s *Server) saveCheckpoint(index uint64, payload []byte) error {
	err := s.stores.dir.Save(index, payload)
	if !errors.Is(err, vfs.ErrNoSpace) {
		return err
	}
	if err := s.stores.dir.ReleaseReserve(); err != nil {
		return err
	}
	return s.stores.dir.Save(index, payload)
}

// runCompaction takes what compactions removed out of the key index, a bounded piece at a time.
func (s *Server) runCompaction(ctx context.Context) {
	store := s.stores.machine.Store()
	for s.pause(ctx, compactTick, s.compactDue) {
		target := store.CompactRev()
		if store.CompactedRev() >= target {
			continue
		}
		started := s.clk.Now()
		for !store.CompactStep(s.cfg.BatchLimit()) {
			if !s.pause(ctx, s.compactionPause(), nil) {
				return
			}
		}
		if store.CompactedRev() < target {
			continue // a reader of before the compaction holds it up
		}
		s.logger.Info("finished scheduled compaction", slog.Int64("compact-revision", target),
			slog.Duration("took", s.clk.Since(started)))
		poke(s.checkpointDue) // records go only when a checkpoint knows of the compaction
	}
}

// compactionPause is the rest between two pieces of a compaction: as asked for, else shorter than
// etcd's, since a piece here takes microseconds.
func (s *Server) compactionPause() time.Duration {
	if s.cfg.CompactionSleep > 0 {
		return s.cfg.CompactionSleep
	}
	return compactPause
}

// runReclaim rewrites segments that hold little that lives, at a bounded rate.
func (s *Server) runReclaim(ctx context.Context) {
	for s.pause(ctx, reclaimIdle, s.reclaimDue) {
		for {
			saved := s.saved.Load()
			did, err := s.stores.machine.Store().ReclaimStep(
				revlog.Checkpoint{Mark: saved.mark, CompactRev: saved.compactRev}, reclaimStepBytes)
			if corrupt := (*revlog.CorruptError)(nil); errors.As(err, &corrupt) {
				if !s.endForRepair(err) {
					s.back.raiseCorrupt(err)
				}
				return
			}
			if err != nil {
				s.fatal(err)
				return
			}
			if did == revlog.ReclaimWaits {
				poke(s.checkpointDue)
			}
			if did == revlog.ReclaimNoSpace {
				s.logger.Warn("no room to rewrite a segment; it is tried again later")
			}
			if did != revlog.ReclaimWorked {
				break
			}
			if !s.pause(ctx, reclaimPause, nil) {
				return
			}
		}
	}
}

// runPrepare keeps room ready ahead of both logs and for a checkpoint, so that a write does not
// meet a full disk: that shows here first, where refusing writes is still safe.
func (s *Server) runPrepare(ctx context.Context) {
	for s.pause(ctx, prepareTick, s.prepareDue) {
		full, err := s.prepare()
		if err != nil {
			s.fatal(err)
			return
		}
		s.back.full.Store(full != nil)
		if full == nil {
			continue
		}
		s.back.raiseNoSpace("the disk is full", slog.Any("error", full))
		if !s.pause(ctx, spaceRetry, s.prepareDue) {
			return
		}
	}
}

// prepare does one step of it. full says that the disk has no room; err is final.
func (s *Server) prepare() (full, err error) {
	w := s.stores.wal
	for _, step := range []func() error{w.Prepare, s.stores.log.Prepare, s.stores.dir.Reserve} {
		err := step()
		if err != nil && (!errors.Is(err, vfs.ErrNoSpace) || w.Err() != nil) {
			return nil, err
		}
		full = errors.Join(full, err)
	}
	return full, nil
}

// runCatchUp brings watchers that fell behind back, in bounded steps.
func (s *Server) runCatchUp(ctx context.Context) {
	for s.tasks.Wait(nil, ctx.Done(), s.hub.Work()) != 0 {
		for s.hub.Step() && ctx.Err() == nil {
		}
	}
}

// tickLeases ends leases and writes checkpoints of long ones, while this member leads. What it
// proposes is bound to its term: a later leader may have renewed the lease.
func (s *Server) tickLeases(_ context.Context, now time.Time) {
	term := s.leading.since()
	if term == 0 {
		return
	}
	revoke := s.lessor.Tick(now, func(checkpoints []upkeep.Checkpoint) {
		r := &etcdserverpb.LeaseCheckpointRequest{}
		for _, c := range checkpoints {
			r.Checkpoints = append(r.Checkpoints,
				&etcdserverpb.LeaseCheckpoint{ID: c.ID, Remaining_TTL: c.Remaining})
		}
		s.proposeIn(term, command.LeaseCheckpoint, r)
	})
	for _, id := range revoke {
		s.metrics.LeasesExpired.Inc()
		s.proposeIn(term, command.LeaseRevoke, &etcdserverpb.LeaseRevokeRequest{ID: id})
	}
}

// tickCompaction proposes an automatic compaction when it is time.
func (s *Server) tickCompaction(_ context.Context, now time.Time) {
	rev := s.stores.machine.Store().Rev()
	target := s.compactor.Tick(now, rev, s.node.Status().IsLeader)
	if target == 0 {
		return
	}
	s.compactor.Done(target)
	s.logger.Info("starting auto compaction", slog.Int64("revision", target))
	s.propose(command.Compact, &etcdserverpb.CompactionRequest{Revision: target})
}

// propose proposes a command that nobody waits for; what fails is tried again by its owner's tick.
func (s *Server) propose(kind command.Kind, m proto.Message) { s.proposeIn(0, kind, m) }

// proposeIn is propose for what this member decided as the leader of a term, 0: not as a leader. It
// queues and does not wait; what is refused is told to the log alone, so that a caller may hold a
// lock.
func (s *Server) proposeIn(term uint64, kind command.Kind, m proto.Message) {
	req, err := proto.Marshal(m)
	if err != nil {
		s.fatal(err)
		return
	}
	done := func(_ []byte, err error) {
		if err != nil {
			s.logger.Debug("a proposal of the server was refused",
				slog.String("kind", kind.String()), slog.Any("error", err))
		}
	}
	if term == 0 {
		s.node.Propose(kind, req, done)
		return
	}
	s.node.ProposeAsLeader(term, kind, req, done)
}
