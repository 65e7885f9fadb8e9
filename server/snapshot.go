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
func (b peerBackend) SendSnapshot(ctx context.Context, w io.Writer, request []byte) error {
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
	started := b.clk.Now()
	b.log.Info("sending a snapshot", slog.Int64("base-revision", have.Base),
		slog.Int64("revision", src.View.Rev()), slog.Uint64("index", src.Index))
	stats, err := snapshot.Send(ctx, w, src, have, snapshot.Limits{
		BytesPerSecond: snapshotBytesPerSecond, Clock: b.clk,
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

// noteReceived counts a transfer.
func (s *Server) noteReceived(from cairn.MemberID, bytes int64, took time.Duration, err error) {
	if m := s.totals.metrics.Load(); m != nil { // not yet there while a member is repaired
		m.SnapshotReceived.Add(float64(bytes))
	}
	if err != nil {
		s.logger.Warn("a snapshot did not arrive", slog.Any("from", hexID(from)),
			slog.Int64("bytes", bytes), slog.Duration("took", took), slog.Any("error", err))
	}
}
