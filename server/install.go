package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/snapshot"
	"github.com/cairnkv/cairn/state"
	"go.etcd.io/raft/v3/raftpb"
)

const (
	// fetchPause is the rest after a failed attempt to fetch a state, fetchTries bounds the
	// attempts for one message of the leader, which comes again.
	fetchPause = 200 * time.Millisecond
	fetchTries = 10
	// settleTime bounds the wait for what is committed to be applied before a state is fetched.
	settleTime, settlePoll = 10 * time.Second, 10 * time.Millisecond
	// stallTime is for how long a transfer may bring nothing before it is given up.
	stallTime = 10 * time.Second
)

// installer takes over the state of another member when the log entries that this one lacks are
// gone (node.Installer).
type installer struct {
	s *Server

	mu       sync.Mutex // guards what follows
	busy     bool       // a state is being fetched or installed
	incoming *snapshot.Incoming
}

func newInstaller(s *Server) *installer { return &installer{s: s} }

// take says whether the caller may use incoming, until give.
func (i *installer) take() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.busy {
		return false
	}
	i.busy = true
	return true
}

func (i *installer) give() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.busy = false
}

// Fetch gets a state at the message's index or a later one, in the background.
func (i *installer) Fetch(m *raftpb.Message) {
	if !i.take() {
		return // the leader asks again
	}
	i.s.background("fetch", func(ctx context.Context) {
		img, err := i.fetch(ctx, m)
		if err == nil {
			// Nothing else may be staged until this is installed, or raft does not want it.
			i.s.node.Fetched(m, img.Index, img.Term, img.Conf, func(taken bool) {
				if !taken {
					i.give()
				}
			})
			return
		}
		i.give()
		if ctx.Err() == nil {
			i.s.logger.Warn("failed to fetch a snapshot; the leader will ask again",
				slog.Any("error", err))
		}
	})
}

// fetch asks the leader, or who told of the state, until all is here.
func (i *installer) fetch(ctx context.Context, m *raftpb.Message) (img *state.Image, err error) {
	index := m.GetSnapshot().GetMetadata().GetIndex()
	i.settle(ctx)
	for try := range fetchTries {
		if try > 0 && !i.s.pause(ctx, fetchPause, nil) {
			return nil, ctx.Err()
		}
		from := m.GetFrom()
		if leader := i.s.node.Status().Leader; leader != 0 {
			from = leader
		}
		store := i.s.stores.machine.Store()
		img, err = i.ensure(ctx, from, index, store.Rev(), store.CompactRev())
		if err == nil {
			return img, nil
		}
	}
	return nil, err
}

// settle waits until the member has applied what it knows to be committed, after a restart most of
// all: what it has need not be fetched.
func (i *installer) settle(ctx context.Context) {
	for n := settleTime / settlePoll; n > 0; n-- {
		if s := i.s.node.Status(); s.Applied >= s.Commit || !i.s.pause(ctx, settlePoll, nil) {
			return
		}
	}
}

// ensure makes sure that a state at index or later is staged for a store at rev; if there is none
// yet it asks a member for what is lacking, once. Its caller has taken i.
func (i *installer) ensure(
	ctx context.Context, from cairn.MemberID, index uint64, rev, compactRev int64,
) (*state.Image, error) {
	s := i.s
	if err := i.open(nil); err != nil {
		return nil, err
	}
	h, ok := i.incoming.Complete()
	if ok && h.Index >= index && h.Rev >= rev && i.incoming.Continues(rev) {
		return i.image()
	}
	have, err := i.incoming.Have(rev, compactRev)
	if err != nil {
		return nil, err
	}
	s.logger.Info("fetching a snapshot", slog.Any("from", hexID(from)),
		slog.Int64("base-revision", have.Base), slog.Uint64("index", index))
	started := s.clk.Now()
	done := s.receiving(from)
	received, err := i.receive(ctx, from, have)
	done(received, s.clk.Since(started), err)
	if err != nil {
		return nil, err
	}
	h, ok = i.incoming.Complete()
	if !ok || h.Index < index {
		return nil, fmt.Errorf("the snapshot of member %x is of index %d, wanted is %d or later",
			from, h.Index, index)
	}
	s.logger.Info("fetched a snapshot", slog.Any("from", hexID(from)),
		slog.Uint64("index", h.Index), slog.Int64("revision", h.Rev),
		slog.Int64("bytes", received), slog.Duration("took", s.clk.Since(started)))
	return i.image()
}

// open finds what is staged; donors may be nil.
func (i *installer) open(donors snapshot.Donors) (err error) {
	if i.incoming != nil {
		return nil
	}
	dir := i.s.stores.dir
	i.incoming, err = snapshot.Open(dir.FS, dir.Incoming(), snapshot.Options{Donors: donors})
	return err
}

func (i *installer) image() (*state.Image, error) {
	b, err := i.incoming.Image()
	if err != nil {
		return nil, err
	}
	return state.DecodeImage(b)
}

// receive stages one member's answer.
func (i *installer) receive(
	ctx context.Context, from cairn.MemberID, have snapshot.Have,
) (bytes int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errStalled) {
			err = fmt.Errorf("member %x: %w", from, errStalled)
		}
	}()
	in := &watchedReader{}
	// From the question on: who is asked may hang before it answers at all.
	i.s.background("stall", func(context.Context) {
		in.watch(ctx, i.s, func() { cancel(errStalled) })
	})
	body, err := i.s.cluster.client.Snapshot(ctx, from, have.AppendTo(nil))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	in.r = body
	err = i.incoming.Receive(ctx, in)
	return in.total(), err
}

// errStalled ends a transfer that does not go on.
var errStalled = fmt.Errorf("nothing came for %v", stallTime)

// watchedReader counts what is read and gives up when nothing comes.
type watchedReader struct {
	r  io.Reader  // the reading task's
	mu sync.Mutex // guards n
	n  int64
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.mu.Lock()
	w.n += int64(n)
	w.mu.Unlock()
	return n, err
}

func (w *watchedReader) total() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// watch calls give up when stallTime has brought nothing; it ends with ctx.
func (w *watchedReader) watch(ctx context.Context, s *Server, giveUp func()) {
	for last := int64(-1); s.pause(ctx, stallTime, nil); {
		now := w.total()
		if now == last {
			giveUp()
			return
		}
		last = now
	}
}

// Install makes the fetched state that of this member (node.Installer). On the writer.
func (i *installer) Install(index, term uint64) error {
	s := i.s
	defer i.give() // it was taken by the fetch
	s.checkpointMu.Lock(s.tasks)
	defer s.checkpointMu.Unlock()
	s.metrics.SnapshotApplying.Set(1)
	defer s.metrics.SnapshotApplying.Set(0)
	started := s.clk.Now()
	if !mutate.On(mutate.NoInstallNote) {
		if err := s.stores.dir.BeginInstall(index); err != nil {
			return err
		}
	}
	var next checkpointed
	var payload []byte
	var failure error
	err := s.node.Visit(s.ctx, func(m *state.Machine) {
		next, payload, failure = i.graft(m, index)
	})
	if err != nil {
		return cairn.ErrStopped // the visit may still come: what it sets is not ours to read
	}
	if failure != nil {
		return fmt.Errorf("install the snapshot of index %d: %w", index, failure)
	}
	if err := i.commit(next, term, payload); err != nil {
		return fmt.Errorf("install the snapshot of index %d: %w", index, err)
	}
	s.logger.Info("applied snapshot", slog.Uint64("index", index),
		slog.Int64("revision", s.stores.machine.Store().Rev()),
		slog.Duration("took", s.clk.Since(started)))
	return nil
}

// graft adds the staged records to the store and gives the machine the rest. On the applier.
func (i *installer) graft(m *state.Machine, index uint64) (
	next checkpointed, payload []byte, err error,
) {
	img, err := i.image()
	if err != nil {
		return next, nil, err
	}
	if img.Index != index {
		return next, nil, fmt.Errorf("a state of index %d is staged", img.Index)
	}
	if _, err := i.incoming.Graft(m.Store()); err != nil {
		return next, nil, err
	}
	m.Restore(img)
	i.s.hub.Jump(m.Store().Rev())
	own := m.Image()
	payload, err = own.Encode()
	return checkpointed{own.Index, own.Mark, own.CompactRev}, payload, err
}

// commit makes an installed state durable: its records, the checkpoint, then the raft log is
// emptied.
func (i *installer) commit(next checkpointed, term uint64, payload []byte) error {
	st := i.s.stores
	if err := st.log.Sync(); err != nil {
		return err
	}
	if err := i.s.saveCheckpoint(next.index, payload); err != nil {
		return err
	}
	if err := st.wal.Reset(next.index, term); err != nil {
		return err
	}
	i.s.saved.Store(&next)
	i.s.trail = trail{{index: next.index}}
	i.s.appliedBytes.Store(0)
	return errors.Join(st.dir.EndInstall(), i.incoming.Remove())
}

// close gives the staging file free; what is staged stays.
func (i *installer) close() error {
	if i == nil || i.incoming == nil {
		return nil
	}
	return i.incoming.Close()
}
