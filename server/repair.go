package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/state"
)

// repairPause is the rest when no other member could give what is missing.
const repairPause = time.Second

// A member whose record log is damaged at rest keeps what is whole of it and, before it takes part
// in anything, fetches the rest from another member, as one that was away does. What it has
// promised to the others stands in its raft log and stays.
//
//	REPAIRING noted -> damaged files to donors/ -> checkpoint with the shorter log
//	-> state of another member, at this one's index or later, staged and grafted
//	-> synced -> checkpoint -> raft log emptied if it ends before -> REPAIRING and donors/ removed
//
// A crash in between leaves REPAIRING, and the next start goes on.

// salvage keeps what is whole of the record log and makes img name it.
func (st *stores) salvage(img *state.Image, records revlog.Options) error {
	if err := st.dir.BeginRepair(img.Index); err != nil {
		return err
	}
	kept, err := revlog.Salvage(st.dir.FS, st.dir.Revlog(), records, img.Mark, st.dir.Donors())
	if err != nil {
		return err
	}
	img.Mark, img.Rev = kept.Mark, max(kept.Rev, mvcc.FirstRev)
	img.CompactRev = min(img.CompactRev, img.Rev)
	payload, err := img.Encode()
	if err != nil {
		return err
	}
	st.damaged = true
	return st.dir.Save(img.Index, payload)
}

// repair completes the records of a member that has lost some. It returns when they are there.
func (s *Server) repair(ctx context.Context) (err error) {
	if !s.stores.damaged {
		return s.stores.dir.EndRepair() // of an earlier start that ended too early
	}
	started := s.clk.Now()
	s.membersChanged() // the others can be reached
	dir := s.stores.dir
	donors, err := revlog.OpenDonors(dir.FS, dir.Donors(), revlog.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, donors.Close()) }()
	i := newInstaller(s)
	if err := i.open(donors); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.close()) }()
	img, err := s.fetchRepair(ctx, i)
	if err != nil {
		return err
	}
	if err := s.installRepair(i, img); err != nil {
		return fmt.Errorf("repair the record log: %w", err)
	}
	s.logger.Info("repaired the record log", slog.Uint64("index", img.Index),
		slog.Int64("revision", s.stores.machine.Store().Rev()),
		slog.Duration("took", s.clk.Since(started)))
	return nil
}

// fetchRepair asks the other members in turn until one has given what is missing.
func (s *Server) fetchRepair(ctx context.Context, i *installer) (*state.Image, error) {
	m := s.stores.machine
	for {
		for _, other := range m.Members().List() {
			if other.ID == m.Local() {
				continue
			}
			if s.removing.Load() {
				return nil, ErrRemoved
			}
			img, err := i.ensure(ctx, other.ID, s.stores.saved.index, m.Store().Rev(),
				m.Store().CompactRev())
			if err == nil {
				return img, nil
			}
			s.logger.Warn("a member did not give the records that are missing here",
				slog.Any("member-id", hexID(other.ID)), slog.Any("error", err))
		}
		if !s.pause(ctx, repairPause, nil) {
			return nil, ctx.Err()
		}
	}
}

// installRepair makes the fetched state this member's.
func (s *Server) installRepair(i *installer, img *state.Image) error {
	st, m := s.stores, s.stores.machine
	if _, err := i.incoming.Graft(m.Store()); err != nil {
		return err
	}
	m.Restore(img)
	own := m.Image()
	payload, err := own.Encode()
	if err != nil {
		return err
	}
	if err := st.log.Sync(); err != nil {
		return err
	}
	term, err := st.wal.Term(img.Index)
	reset := err != nil || term != img.Term
	if reset {
		if err := st.dir.BeginInstall(img.Index); err != nil {
			return err
		}
	}
	if err := st.dir.Save(img.Index, payload); err != nil {
		return err
	}
	if reset {
		if err := st.wal.Reset(img.Index, img.Term); err != nil {
			return err
		}
		if err := st.dir.EndInstall(); err != nil {
			return err
		}
	}
	st.saved = checkpointed{own.Index, own.Mark, own.CompactRev}
	st.damaged = false
	s.saved.Store(&st.saved)
	s.trail = trail{{index: own.Index}}
	return errors.Join(i.incoming.Remove(), st.dir.EndRepair())
}

// endForRepair ends a member whose stored data is found damaged while it runs, if there are others:
// it must not serve what it cannot check, and the next start repairs it. One that is alone goes on
// with what is whole.
func (s *Server) endForRepair(err error) bool {
	if s.node == nil || s.node.Status().Lone {
		return false
	}
	s.fatal(fmt.Errorf("stored data is damaged; the next start fetches it from other members: %w",
		err))
	return true
}
