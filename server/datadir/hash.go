package datadir

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/internal/remedy"
	"github.com/cairnkv/cairn/mvcc"
	"github.com/cairnkv/cairn/revlog"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/vfs"
	"github.com/cairnkv/cairn/wal"
)

// checkWhole refuses a directory that lacks records, or is about to empty its raft log.
func (d *Dir) checkWhole(index uint64) error {
	damaged, err := d.Repairing(index)
	if err != nil {
		return err
	}
	installed, _, err := d.Installed(index)
	if err == nil && (damaged || installed) {
		err = fmt.Errorf("%w: the member in %s is fetching what it lacks from others; start it "+
			"and let it get well first", ErrDamaged, d.Root)
	}
	return err
}

// lockPoll is how often a directory that is in use is tried again.
const lockPoll = 100 * time.Millisecond

// HashKV is etcd's hash of a data directory at rest, up to rev (0: all): the state of the newest
// checkpoint and of what the raft log says is committed after it. It waits as long as wait (0:
// without bound) for a process that has the directory.
func HashKV(
	ctx context.Context, fs vfs.FS, root string, rev int64, wait time.Duration,
) (hash uint32, hashRev, compactRev int64, err error) {
	d, err := openWaiting(ctx, fs, root, wait)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	img, ok, err := d.Load()
	if err != nil {
		return 0, 0, 0, err
	}
	if !ok {
		return 0, 0, 0, fmt.Errorf("%w in %s: it was never started", ErrMissing, root)
	}
	if err := d.CheckWAL(); err != nil {
		return 0, 0, 0, err
	}
	if err := d.checkWhole(img.Index); err != nil {
		return 0, 0, 0, err
	}
	newest, err := revlog.Newest(fs, d.Revlog(), revlog.Options{}, img.Mark)
	if err != nil {
		return 0, 0, 0, err
	}
	proven, err := d.Prove(newest)
	if err != nil {
		return 0, 0, 0, err
	}
	log, err := revlog.Open(fs, d.Revlog(), revlog.Options{}, img.Mark)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	store, err := mvcc.Open(log, img.Rev, img.CompactRev)
	if err != nil {
		return 0, 0, 0, err
	}
	if err := d.replay(img, state.New(img.Local, img, store)); err != nil {
		return 0, 0, 0, err
	}
	if got := store.Rev(); got < proven {
		return 0, 0, 0, fmt.Errorf("%w: the raft log in %s leads to revision %d, but %d had been "+
			"written: its end is missing or damaged; %s", ErrDamaged, d.WAL(), got, proven,
			remedy.Replace)
	}
	if err := d.Proven(); err != nil {
		return 0, 0, 0, err
	}
	return store.HashKV(ctx, rev)
}

func openWaiting(
	ctx context.Context, fs vfs.FS, root string, wait time.Duration,
) (*Dir, error) {
	clk := clock.Real()
	started := clk.Now()
	for {
		d, err := OpenExisting(fs, root, "")
		if !errors.Is(err, ErrLocked) || wait > 0 && clk.Since(started) >= wait {
			return d, err
		}
		timer := clk.NewTimer(lockPoll)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// replay applies the committed entries behind the image to m. What that appends to the record log
// is behind the checkpoint's mark: the next start cuts it off and does the same again.
func (d *Dir) replay(img *state.Image, m *state.Machine) (err error) {
	w, err := wal.Open(d.FS, d.WAL(), wal.Options{Metadata: Identity(img)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if last := w.LastIndex(); last < img.Index {
		return fmt.Errorf("%w: the raft log in %s ends at entry %d, the checkpoint at %d; %s",
			ErrDamaged, d.WAL(), last, img.Index, remedy.Replace)
	}
	commit := min(w.HardState().GetCommit(), w.LastIndex())
	if slices.Equal(img.Conf.GetVoters(), []uint64{img.Local}) {
		commit = w.LastIndex() // of a lone voter all that is in the log is committed
	}
	return Replay(w, m, commit)
}

// replayBytes bounds the entries held in memory at once.
const replayBytes = 16 << 20

// Replay applies the entries of a raft log behind the machine's index, up to one that is committed.
func Replay(w *wal.WAL, m *state.Machine, to uint64) error {
	var results state.Results
	results.Full = func() error {
		results.Reset()
		_, _, err := m.Publish()
		return err
	}
	for m.Index() < to {
		entries, err := w.Entries(m.Index()+1, to+1, replayBytes)
		if err != nil {
			return err
		}
		results.Reset()
		for _, e := range entries {
			if _, err := m.ApplyEntry(e, &results); err != nil {
				return err
			}
		}
		if _, _, err := m.Publish(); err != nil {
			return err
		}
	}
	return nil
}
