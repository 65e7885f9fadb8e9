package server

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/snapshot"
	"github.com/cairnkv/cairn/state"
)

const (
	// snapshotBytesPerSecond bounds what one receiver gets of this member's state, so that a member
	// that catches up does not crowd out the clients.
	snapshotBytesPerSecond = 100 << 20
	// maxSnapshotSends bounds the receivers at once.
	maxSnapshotSends = 4
)

// SendSnapshot streams this member's state as far as the caller lacks it (peer.Backend).
func (b peerBackend) SendSnapshot(
	ctx context.Context, to cairn.MemberID, w io.Writer, request []byte,
) (err error) {
	have, err := snapshot.DecodeHave(request)
	if err != nil {
		return err
	}
	select {
	case b.sending <- struct{}{}:
		defer func() { <-b.sending }()
	default:
		return cairn.ErrTooManyRequests
	}
	src, err := b.captureState(ctx)
	if err != nil {
		return err
	}
	started, done := b.clk.Now(), b.metrics.SendingSnapshot(to)
	defer func() { done(b.clk.Since(started), err) }()
	b.log.Info("sending a snapshot", slog.Any("to", hexID(to)),
		slog.Int64("base-revision", have.Base),
		slog.Int64("revision", src.View.Rev()), slog.Uint64("index", src.Index))
	stats, err := snapshot.Send(ctx, w, src, have, snapshot.Limits{
		BytesPerSecond: snapshotBytesPerSecond, Clock: b.clk, Tasks: b.cluster.tasks,
		Progress: func(n int) { b.metrics.SnapshotSent.Add(float64(n)) },
	})
	if err != nil {
		return err
	}
	b.log.Info("sent a snapshot", slog.Int64("records", stats.Records),
		slog.Int64("named", stats.Kept), slog.Int64("bytes", stats.Bytes),
		slog.Duration("took", b.clk.Since(started)))
	return nil
}

// captureState takes the tables and a view of the records between two batches. Send closes the
// view.
func (b peerBackend) captureState(ctx context.Context) (snapshot.Source, error) {
	var mu sync.Mutex // guards what follows: the applier may come when nobody waits any more
	var src snapshot.Source
	var failure error
	var gone bool
	err := b.node.Visit(ctx, func(m *state.Machine) {
		mu.Lock()
		defer mu.Unlock()
		if gone {
			return
		}
		img := m.Image()
		src = snapshot.Source{Index: img.Index, Term: img.Term}
		if src.Image, failure = img.Encode(); failure == nil {
			src.View = m.Store().View()
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		gone = true
		closeView(src.View)
		return src, err
	}
	return src, failure
}

func closeView(v *mvcc.View) {
	if v != nil {
		v.Close()
	}
}

// receiving counts a transfer that begins; done is called at its end.
func (s *Server) receiving(from cairn.MemberID) (
	done func(bytes int64, took time.Duration, err error),
) {
	m := s.totals.metrics.Load()
	end := func(time.Duration, error) {} // no metrics yet while a member is repaired
	if m != nil {
		end = m.ReceivingSnapshot(from)
	}
	return func(bytes int64, took time.Duration, err error) {
		end(took, err)
		if m != nil {
			m.SnapshotReceived.Add(float64(bytes))
		}
		if err != nil {
			s.logger.Warn("a snapshot did not arrive", slog.Any("from", hexID(from)),
				slog.Int64("bytes", bytes), slog.Duration("took", took), slog.Any("error", err))
		}
	}
}
