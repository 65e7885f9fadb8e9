package server

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cairnkv/cairn/internal/remedy"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/server/datadir"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/wal"
)

// stores are a member's opened files and the state that they hold.
type stores struct {
	dir     *datadir.Dir
	wal     *wal.WAL
	log     *revlog.Log
	machine *state.Machine
	saved   checkpointed // the checkpoint that the start used
	damaged bool         // records are missing that the state needs; see repair.go
	proven  int64        // the revision that the raft log must reach; 0: none is known
}

// checkpointed is what the newest durable checkpoint holds.
type checkpointed struct {
	index      uint64
	mark       revlog.Mark
	compactRev int64
}

// openStores opens or makes a member's data: checkpoint, record log cut to it, raft log.
func openStores(s *Server, dir *datadir.Dir) (_ *stores, err error) {
	img, found, err := dir.Load()
	if err != nil {
		return nil, err
	}
	s.logger.LogAttrs(s.ctx, slog.LevelInfo, "starting an etcd server", s.cfg.Fields(found)...)
	if found {
		err = dir.CheckWAL()
	} else if err = dir.CheckBegin(); err == nil {
		img, err = s.firstImage()
	}
	if err != nil {
		return nil, err
	}
	st := &stores{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close())
		}
	}()
	if st.wal, err = wal.Open(dir.FS, dir.WAL(), s.walOptions(datadir.Identity(img))); err != nil {
		return nil, err
	}
	if err := st.reconcile(s, img, found); err != nil {
		return nil, err
	}
	store, err := st.openRecords(s, img)
	if err != nil {
		return nil, err
	}
	st.machine = state.New(img.Local, img, store)
	st.machine.Lack(s.sys.lacks)
	st.saved = checkpointed{img.Index, img.Mark, img.CompactRev}
	if s.cfg.ForceNewCluster {
		return st, st.forceNewCluster(s)
	}
	return st, nil
}

// openRecords opens the record log, cut to the image's mark, and the store on it. Of a damaged one
// what is whole is kept, if other members can give the rest (see repair.go).
func (st *stores) openRecords(s *Server, img *state.Image) (store *mvcc.Store, err error) {
	if st.damaged, err = st.dir.Repairing(img.Index); err != nil {
		return nil, err
	}
	if st.damaged && s.cfg.ForceNewCluster {
		return nil, fmt.Errorf("%w: records are missing in %s that were being fetched from other "+
			"members; --force-new-cluster would lose them for good; restore from a backup, or "+
			"force the new cluster on another member", datadir.ErrDamaged, st.dir.Root)
	}
	records := revlog.Options{
		SegmentBytes: s.sys.revlogBytes, Rolled: func() { poke(s.prepareDue) },
	}
	if !st.damaged {
		if st.proven, err = st.prove(s, img, records); err != nil {
			return nil, err
		}
	}
	store, err = st.openStore(img, records)
	if corrupt := (*revlog.CorruptError)(nil); errors.As(err, &corrupt) &&
		len(img.Members.List()) > 1 && !s.cfg.ForceNewCluster {
		s.logger.Error("stored data is damaged; it will be fetched from other members",
			slog.Any("error", err))
		if err := st.salvage(img, records); err != nil {
			return nil, err
		}
		return st.openStore(img, records)
	}
	return store, err
}

func (st *stores) openStore(img *state.Image, records revlog.Options) (*mvcc.Store, error) {
	log, err := revlog.Open(st.dir.FS, st.dir.Revlog(), records, img.Mark)
	if err != nil {
		return nil, err
	}
	open := mvcc.Open
	if st.damaged {
		open = mvcc.OpenSalvaged
	}
	store, err := open(log, img.Rev, img.CompactRev)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	st.log = log
	return store, nil
}

// forceNewCluster makes this member the only one, with all that its raft log holds: entries of
// which it does not know whether they were committed too, for some that were acknowledged may be
// among them (etcd gives those up).
func (st *stores) forceNewCluster(s *Server) error {
	if err := datadir.Replay(st.wal, st.machine, st.wal.LastIndex()); err != nil {
		return fmt.Errorf("--force-new-cluster: %w", err)
	}
	if err := st.machine.Alone(); err != nil {
		return fmt.Errorf("--force-new-cluster: %w", err)
	}
	if err := st.checkProven(); err != nil { // while all is there yet
		return fmt.Errorf("--force-new-cluster: %w", err)
	}
	img := st.machine.Image()
	payload, err := img.Encode()
	if err != nil {
		return err
	}
	// What has come of the old cluster's state must not be added to what the new one will write.
	err = errors.Join(st.dir.DropIncoming(), st.log.Sync(), st.dir.BeginInstall(img.Index))
	if err != nil {
		return err
	}
	if err := st.dir.Save(img.Index, payload); err != nil {
		return err
	}
	if err := st.wal.Reset(img.Index, img.Term); err != nil {
		return err
	}
	st.saved = checkpointed{img.Index, img.Mark, img.CompactRev}
	s.logger.Warn("began a new cluster of this member alone",
		slog.Uint64("index", img.Index), slog.Int64("revision", img.Rev))
	return st.dir.EndInstall()
}

// prove keeps in mind how far the record log had come: a record is written only after its entry is
// durable in the raft log, so a raft log that does not lead there again has lost acknowledged
// writes. With --unsafe-no-fsync it may.
func (st *stores) prove(s *Server, img *state.Image, o revlog.Options) (int64, error) {
	if s.cfg.UnsafeNoFsync {
		return 0, st.dir.Proven()
	}
	newest, err := revlog.Newest(st.dir.FS, st.dir.Revlog(), o, img.Mark)
	if err != nil {
		return 0, err
	}
	if newest <= img.Rev {
		newest = 0
	}
	return st.dir.Prove(newest)
}

// checkProven ends the proof when the raft log is applied.
func (st *stores) checkProven() error {
	rev := st.machine.Store().Rev()
	if rev < st.proven {
		return fmt.Errorf("%w: the raft log in %s leads to revision %d, but %d had been written: "+
			"its end is missing or damaged; %s", datadir.ErrDamaged, st.dir.WAL(), rev, st.proven,
			remedy.Replace)
	}
	if st.proven == 0 {
		return nil
	}
	return st.dir.Proven()
}

// reconcile holds the raft log against the checkpoint, and begins a new data directory.
func (st *stores) reconcile(s *Server, img *state.Image, found bool) error {
	if got, want := st.wal.Metadata(), datadir.Identity(img); string(got) != string(want) {
		return fmt.Errorf("%w: the raft log in %s is of another member (%x, this one is %x); "+
			"start with this member's --wal-dir, or an empty one for a new member",
			datadir.ErrWALDir, st.dir.WAL(), got, want)
	}
	first, last := st.wal.FirstIndex(), st.wal.LastIndex()
	if !found {
		if last > img.Index {
			return fmt.Errorf("%w: %s has a raft log up to entry %d and no checkpoint; %s",
				datadir.ErrDamaged, st.dir.Root, last, remedy.Replace)
		}
		return st.dir.Begin(img, st.wal)
	}
	if first > img.Index+1 {
		return fmt.Errorf("%w: the raft log begins at entry %d, the checkpoint ends at %d; %s",
			datadir.ErrDamaged, first, img.Index, remedy.Replace)
	}
	installed, stale, err := st.dir.Installed(img.Index)
	if err != nil {
		return err
	}
	if installed {
		if err := st.wal.Reset(img.Index, img.Term); err != nil {
			return err
		}
		return st.dir.EndInstall()
	}
	if stale { // a later checkpoint of this member's own might be of that index
		if err := st.dir.EndInstall(); err != nil {
			return err
		}
	}
	if last < img.Index {
		if !s.cfg.UnsafeNoFsync {
			return fmt.Errorf("%w: the raft log ends at entry %d, the checkpoint at %d; %s",
				datadir.ErrDamaged, last, img.Index, remedy.Replace)
		}
		s.logger.Warn("the raft log ends before the checkpoint; --unsafe-no-fsync lost entries",
			slog.Uint64("last", last), slog.Uint64("checkpoint", img.Index))
		return st.wal.Reset(img.Index, img.Term)
	}
	return nil
}

// close gives the files free; what was not opened is skipped.
func (st *stores) close() error {
	var errs []error
	if st.wal != nil {
		errs = append(errs, st.wal.Close())
	}
	if st.log != nil {
		errs = append(errs, st.log.Close())
	}
	return errors.Join(errs...)
}
