package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/peer"
)

const (
	// hashShare keeps the hashing of all that is stored below one part in hashShare of the time.
	hashShare = 100
	// hashTimeout bounds one member's answer.
	hashTimeout = 30 * time.Second
)

// errDiverged is what a member is accused of whose data differs.
var errDiverged = errors.New("the data differs from that of the other members at the same revision")

// runHashChecks compares the members' data from time to time, while this member leads (etcd:
// server/etcdserver/corrupt.go). Unlike etcd's it is on by default, since it is the only one that
// finds what no checksum does: members that have gone apart.
func (s *Server) runHashChecks(ctx context.Context) {
	interval := s.cfg.HashInterval()
	var checked int64 // revision
	for interval > 0 && s.pause(ctx, interval, nil) {
		interval = s.cfg.HashInterval()
		rev := s.stores.machine.Store().Rev()
		if st := s.node.Status(); !st.IsLeader || st.Lone || rev == checked {
			continue
		}
		started := s.clk.Now()
		ok, err := s.checkHashes(ctx, rev)
		took := s.clk.Since(started)
		interval = max(interval, hashShare*took)
		switch {
		case err != nil && ctx.Err() == nil:
			s.logger.Warn("the members' data could not be compared", slog.Any("error", err))
		case ok:
			checked = rev
			s.logger.Info("finished compaction hash check", slog.Int64("revision", rev),
				slog.Duration("took", took))
		}
	}
}

// checkHashes compares the members that have come to rev. ok says that all are equal.
func (s *Server) checkHashes(ctx context.Context, rev int64) (ok bool, err error) {
	own, err := (peerBackend{s.back}).HashKV(ctx, rev)
	if err != nil {
		return false, err
	}
	hashes := []peer.HashKV{own}
	members := s.stores.machine.Members().List()
	for _, m := range members {
		if m.ID == own.Member {
			continue
		}
		h, err := s.hashOf(ctx, m.ID, rev)
		if err != nil {
			s.logger.Debug("a member's hash is not known", slog.Any("member-id", hexID(m.ID)),
				slog.Any("error", err))
			continue
		}
		if h.CompactRev == own.CompactRev || mutate.On(mutate.HashComparesAll) {
			// Of other compactions they need not be equal.
			hashes = append(hashes, h)
		}
	}
	bad, cluster := diverged(hashes, members)
	for _, id := range bad {
		s.accuse(id, rev)
	}
	if cluster {
		s.accuse(0, rev)
	}
	return len(bad) == 0 && !cluster && len(hashes) == len(members), nil
}

func (s *Server) hashOf(ctx context.Context, id cairn.MemberID, rev int64) (peer.HashKV, error) {
	ctx, cancel := clock.WithTimeout(ctx, s.clk, hashTimeout)
	defer cancel()
	h, err := s.cluster.client.HashKV(ctx, id, rev)
	h.Member = id
	return h, err
}

// diverged are the members whose hash is another than that of a majority of all; cluster says that
// hashes differ and no majority tells which is right.
func diverged(hashes []peer.HashKV, members []member.Member) (bad []cairn.MemberID, cluster bool) {
	votes := make(map[uint32]int)
	for _, h := range hashes {
		votes[h.Hash]++
	}
	if len(votes) <= 1 {
		return nil, false
	}
	for hash, n := range votes {
		if n <= len(members)/2 {
			continue
		}
		for _, h := range hashes {
			if h.Hash != hash {
				bad = append(bad, h.Member)
			}
		}
		return bad, false
	}
	return nil, true
}

// accuse raises the CORRUPT alarm for a member, 0: nobody knows which.
func (s *Server) accuse(id cairn.MemberID, rev int64) {
	s.logger.Error("found hash mismatch: raising the CORRUPT alarm",
		slog.Any("member-id", hexID(id)), slog.Int64("revision", rev),
		slog.Any("error", errDiverged))
	s.back.raiseFor(id, alarm.Corrupt)
}

// checkAtStart compares this member's data with the others' before it serves, if the feature gate
// InitialCorruptCheck is on: one that differs from any does not start (etcd: InitialCheck).
func (s *Server) checkAtStart(ctx context.Context) error {
	if !s.cfg.Gates.Enabled("InitialCorruptCheck") {
		return nil
	}
	own, err := (peerBackend{s.back}).HashKV(ctx, s.stores.machine.Store().Rev())
	if err != nil {
		return err
	}
	for _, m := range s.stores.machine.Members().List() {
		if m.ID == own.Member {
			continue
		}
		h, err := s.hashOf(ctx, m.ID, own.HashRev)
		if err != nil {
			s.logger.Warn("a member's data could not be compared at the start",
				slog.Any("member-id", hexID(m.ID)), slog.Any("error", err))
			continue
		}
		if h.CompactRev == own.CompactRev && h.Hash != own.Hash {
			return fmt.Errorf("%x found data inconsistency with peers: at revision %d member %x "+
				"has hash %d, this one %d; replace this member", own.Member, own.HashRev, m.ID,
				h.Hash, own.Hash)
		}
	}
	s.logger.Info("initial corruption checking passed; no corruption")
	return nil
}
