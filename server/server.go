// Package server assembles a member: configuration, files, consensus, state, doors. It is the only
// package that knows everyone; what it owns itself is the order of starting and stopping, the
// goroutines of the background work, and what is done about a full or failing disk.
//
// # Starting
//
//	data directory locked -> checkpoint -> record log -> raft log -> node (applies what is there)
//	-> peers are served -> a leader, this member published -> clients are served
//
// # Failing
//
// A write or sync that fails, an entry of an unknown version, a record that does not check where
// the state depends on it: [Server.Failed] tells, and the process must end at once, answering no
// one.
package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/internal/version"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/node"
	"github.com/cairnkv/cairn/ops"
	"github.com/cairnkv/cairn/peer"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/server/datadir"
	"github.com/cairnkv/cairn/server/logging"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/task"
	"github.com/cairnkv/cairn/upkeep"
	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/watch"
	"go.etcd.io/etcd/api/v3/membershippb"
	"google.golang.org/protobuf/proto"
)

// Server is a running member.
type Server struct {
	cfg    *config.Config
	logger *slog.Logger
	sys    system
	clk    clock.Clock // the system's
	tasks  task.Tasks  // the system's

	ctx     context.Context // ends when the member stops
	cancel  context.CancelFunc
	workers task.Group
	failed  chan error

	starting context.Context // ends when the start is given up
	removing atomic.Bool     // this member was removed from the cluster
	removed  chan struct{}   // closed when it is to be stopped for that

	cluster   *cluster
	peerCalls peerCalls
	peersMu   sync.Mutex                // the order of lists of peers
	nodeRef   atomic.Pointer[node.Node] // the node, for those that may come before it runs
	install   *installer

	stores    *stores
	node      *node.Node
	hub       *watch.Hub
	lessor    *upkeep.Lessor
	compactor *upkeep.Compactor
	back      *backend
	metrics   *ops.Metrics
	totals    totals
	damage    *damageLog
	leading   leading
	doors     *doors
	corker    atomic.Pointer[rpc.Server] // once clients are served

	checkpointMu  task.Mutex // one checkpoint is made at a time
	trail         trail      // of checkpoints; checkpointMu guards it
	saved         atomic.Pointer[checkpointed]
	appliedBytes  atomic.Int64 // of entries, since the last checkpoint
	checkpointDue chan struct{}
	reclaimDue    chan struct{}
	compactDue    chan struct{}
	prepareDue    chan struct{}

	ready bool // the start has succeeded; of who starts and stops
}

// Start runs a member on files and by a clock, most often the machine's, and returns when it serves
// clients. ctx bounds the start alone. On an error nothing of it is left running.
func Start(
	ctx context.Context, cfg *config.Config, logger *slog.Logger, fs vfs.FS, clk clock.Clock,
) (*Server, error) {
	return start(ctx, cfg, logger, system{
		fs: fs, clock: clk, doors: true, walBytes: walSegmentBytes,
	})
}

func start(
	ctx context.Context, cfg *config.Config, logger *slog.Logger, sys system,
) (_ *Server, err error) {
	s := &Server{
		cfg: cfg, logger: logger, sys: sys, clk: sys.clock, tasks: sys.tasks,
		starting:      ctx,
		failed:        make(chan error, 1),
		removed:       make(chan struct{}),
		lessor:        upkeep.NewLessor(sys.leaseCheckpoint),
		checkpointDue: make(chan struct{}, 1),
		reclaimDue:    make(chan struct{}, 1),
		compactDue:    make(chan struct{}, 1),
		prepareDue:    make(chan struct{}, 1),
	}
	s.damage = &damageLog{log: logger, ends: s.endForRepair}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if sys.doors {
		if s.doors, err = openDoors(ctx, s); err != nil {
			return nil, err
		}
	}
	if err := s.openData(); err != nil {
		return nil, err
	}
	if err := s.openCluster(); err != nil {
		return nil, err
	}
	if err := s.repair(ctx); err != nil {
		return nil, err
	}
	if err := s.startNode(); err != nil {
		return nil, err
	}
	s.membersChanged()
	s.nodeRef.Store(s.node)
	if s.doors != nil {
		s.doors.servePeers(s)
	} else if s.sys.servePeers != nil {
		s.sys.servePeers(s.peerCalls.serve(peer.Handler(peerBackend{s.back}, s.clk, s.logger)))
	}
	s.startBackground()
	if err := s.publish(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(s.stores.checkProven(), s.checkAtStart(ctx)); err != nil {
		return nil, err
	}
	s.logger.Info("ready to serve client requests")
	if s.doors != nil {
		if err := s.doors.serve(s); err != nil {
			return nil, err
		}
	}
	s.ready = true
	return s, nil
}

// Failed gives the error after which the process must end at once.
func (s *Server) Failed() <-chan error { return s.failed }

// fatal reports an error after which nothing may be answered any more.
func (s *Server) fatal(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

func (s *Server) openData() error {
	dir, err := datadir.Open(s.sys.fs, s.cfg.DataDir, s.cfg.WALDir)
	if err != nil {
		return err
	}
	started := s.clk.Now()
	if s.stores, err = openStores(s, dir); err != nil {
		return errors.Join(err, dir.Close())
	}
	s.saved.Store(&s.stores.saved)
	s.trail = trail{{index: s.stores.saved.index}}
	s.logger.Info("opened the data directory", slog.String("data-dir", s.cfg.DataDir),
		slog.Uint64("checkpoint-index", s.stores.saved.index),
		slog.Int64("revision", s.stores.machine.Store().Rev()),
		slog.Duration("took", s.clk.Since(started)))
	return nil
}

func (s *Server) startNode() error {
	machine := s.stores.machine
	s.hub = watch.NewHub(machine.Store(), s.clk, s.watchOptions())
	first, err := randomSequence()
	if err != nil {
		return err
	}
	s.install = newInstaller(s)
	s.node, err = node.Start(node.Config{
		ID: machine.Local(), TickInterval: s.cfg.Heartbeat(), ElectionTicks: s.cfg.ElectionTicks(),
		RequestTimeout: s.cfg.RequestTimeout(), FirstSequence: first,
		AdvanceTicks: s.advanceTicks(),
		Log:          s.raftLog(), Machine: machine, Clock: s.clk, Tasks: s.tasks,
		Logger:         logging.Raft(s.logger),
		Transport:      s.cluster.transport,
		Installer:      s.install,
		Published:      s.published,
		Leases:         s.leasesChanged,
		Applied:        s.noteApplied,
		MembersChanged: s.membersChanged,
		LeaderChanged:  s.leaderChanged,
		ProposalsFailed: func(n int) {
			if m := s.totals.metrics.Load(); m != nil {
				m.ProposalsFailed.Add(float64(n))
			}
		},
		ReadsFailed: func(n int) {
			if m := s.totals.metrics.Load(); m != nil {
				m.ReadIndexFailed.Add(float64(n))
			}
		},
		SlowRead: func() {
			if m := s.totals.metrics.Load(); m != nil {
				m.SlowReadIndexes.Inc()
			}
		},
		Together: s.together, Divided: s.sys.divided,
		Fatal: s.fatal,
	})
	if err != nil {
		return err
	}
	s.metrics = s.newMetrics()
	made := &backups{
		node: s.node, fs: s.stores.dir.FS, tmp: s.stores.dir.Tmp(), live: s.stores.log.LiveBytes,
	}
	if s.sys.tmp != "" {
		made.fs, made.tmp = vfs.OS(), s.sys.tmp
	}
	s.back = &backend{
		node: s.node, machine: machine, hub: s.hub, lessor: s.lessor, clk: s.clk, log: s.logger,
		stored: s.stores.log.Stats, live: s.stores.log.LiveBytes, quota: s.cfg.Quota(),
		chunk:  int(s.cfg.MaxRequestBytes),
		backup: made, damage: s.damage, metrics: s.metrics,
		ranges: newOutcomes(s.metrics.RangeDuration), prepareDue: s.prepareDue,
		sending: make(chan struct{}, maxSnapshotSends),
		renewer: renewer{clk: s.clk, tasks: s.tasks},
		cluster: s.cluster, leading: &s.leading, timeout: s.cfg.RequestTimeout(),
	}
	return nil
}

// advanceTicks are the ticks of the first election timeout that count as gone: all but one, so that
// a cluster that starts has a leader soon (etcd: --initial-election-tick-advance). A voter among
// several waits for its turn: raft draws each timeout at random.
func (s *Server) advanceTicks() int {
	if !s.cfg.ElectionTickAdvance || s.cfg.ElectionTicks() <= 2 {
		return 0
	}
	return s.cfg.ElectionTicks() - 1
}

// randomSequence begins the numbers of this process's proposals where no earlier one's lie.
func randomSequence() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("read random bytes: %w", err)
	}
	return binary.LittleEndian.Uint64(b[:]) >> 1, nil
}

// published runs on the applier when a batch became visible.
func (s *Server) published(rev int64, events []mvcc.Event) {
	s.hub.Publish(rev, events)
}

// leasesChanged runs on the applier.
func (s *Server) leasesChanged(events []state.LeaseEvent) {
	s.countLeases(events)
	now := s.clk.Now()
	for i := range events {
		if events[i].Kind == state.LeaseRevoked {
			s.lessor.Revoked(events[i].ID)
		} else {
			s.lessor.Granted(now, events[i].Info)
		}
	}
}

// leaderChanged runs on the node's loop.
func (s *Server) leaderChanged(st node.Status) {
	s.countLeader(st)
	s.leading.change(st, s.lessor)
	s.logger.Info("the leader changed", slog.String("leader", fmt.Sprintf("%x", st.Leader)),
		slog.Uint64("term", st.Term), slog.Bool("this-member", st.IsLeader))
}

func (s *Server) startBackground() {
	mode, retention, keep := s.compaction()
	s.compactor = upkeep.NewCompactor(mode, retention, keep)
	s.background("checkpoints", s.runCheckpoints)
	s.background("compaction", s.runCompaction)
	s.background("reclaim", s.runReclaim)
	s.background("prepare", s.runPrepare)
	s.background("catch-up", s.runCatchUp)
	s.background("hashes", s.runHashChecks)
	s.every("version", versionTick, s.tickVersion)
	s.every("leases", leaseTick, s.tickLeases)
	s.every("compact", compactTick, s.tickCompaction)
	s.every("watches", watchTick, func(_ context.Context, now time.Time) { s.hub.Tick(now) })
}

// compaction is the automatic compaction that the flags ask for.
func (s *Server) compaction() (upkeep.CompactionMode, time.Duration, int64) {
	retention, keep := s.cfg.Retention()
	switch {
	case keep > 0:
		return upkeep.CompactRevision, 0, keep
	case retention > 0:
		return upkeep.CompactPeriodic, retention, 0
	}
	return upkeep.CompactOff, 0, 0
}

// publish tells the cluster this member's name and client URLs, and decides the cluster version.
// When it returns, this member has applied an entry of the current term.
func (s *Server) publish(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.tasks.Go("publish", func() {
		switch err, which := task.Receive(s.tasks, s.failed, s.removed, ctx.Done()); which {
		case task.Timer:
			s.fatal(err) // for whoever waits for it after us
			cancel()
		case 0:
			cancel()
		}
	})
	id := s.stores.machine.Local()
	err := s.insist(ctx, command.MemberAttributes,
		&membershippb.ClusterMemberAttrSetRequest{
			Member_ID: id,
			MemberAttributes: &membershippb.Attributes{
				Name: s.cfg.Name, ClientUrls: s.cfg.AdvertiseClientURLs.Strings(),
			},
		})
	if err == nil && s.stores.machine.Members().Version() == "" {
		err = s.insist(ctx, command.ClusterVersion,
			&membershippb.ClusterVersionSetRequest{Ver: version.Cluster})
	}
	if err != nil {
		select {
		case cause := <-s.failed:
			s.fatal(cause)
			return cause
		case <-s.removed:
			return ErrRemoved
		default:
		}
		return fmt.Errorf("publish this member to the cluster: %w", err)
	}
	s.logger.Info("published local member to cluster through raft",
		slog.String("local-member-id", fmt.Sprintf("%x", id)),
		slog.String("cluster-id", fmt.Sprintf("%x", s.stores.machine.Members().ClusterID())))
	return nil
}

// insist proposes until it is applied: a disk that is slow, or a long log that is replayed before,
// may take longer than a client would wait.
func (s *Server) insist(ctx context.Context, kind command.Kind, m proto.Message) error {
	for {
		err := s.back.proposeAndWait(ctx, kind, m)
		again := errors.Is(err, cairn.ErrTimeout) || errors.Is(err, cairn.ErrTimeoutLeaderFailed)
		if !again || ctx.Err() != nil {
			return err
		}
		st := s.node.Status()
		if st.Leader == 0 {
			s.logger.Warn("no leader: still waiting for a majority of the members to be reachable",
				slog.Int("members", len(s.stores.machine.Members().List())),
				slog.Uint64("applied", st.Applied))
			continue
		}
		s.logger.Warn("still waiting for the log to be applied",
			slog.Uint64("applied", st.Applied), slog.Uint64("committed", st.Commit))
	}
}

// handOverTime is how long a leader that stops waits until another member leads.
const handOverTime = 500 * time.Millisecond

// handOver gives the leadership away before the member stops, so that the others need not find out
// that it is gone.
func (s *Server) handOver() {
	if s.node == nil || s.back == nil {
		return
	}
	if st := s.node.Status(); !st.IsLeader || st.Voters < 2 {
		return
	}
	ctx, cancel := clock.WithTimeout(s.ctx, s.clk, handOverTime)
	defer cancel()
	if err := s.back.HandOver(ctx, 0); err != nil {
		s.logger.Warn("leadership transfer failed", slog.Any("error", err))
	}
}

// Stop ends the member: the leadership given away, no new requests, the waiting ones told so, a
// checkpoint made, files closed.
func (s *Server) Stop() error {
	s.handOver()
	var errs []error
	if s.doors != nil {
		errs = append(errs, s.doors.stop(s))
	}
	s.leaveCheckpoint()
	s.cancel()
	if s.node != nil {
		s.node.Stop()
	}
	if s.cluster != nil {
		s.cluster.transport.Close()
	}
	s.peerCalls.stop(s.tasks)
	s.workers.Wait(s.tasks)
	errs = append(errs, s.install.close())
	if s.stores != nil {
		errs = append(errs, s.stores.close(), s.stores.dir.Close())
	}
	return errors.Join(errs...)
}
