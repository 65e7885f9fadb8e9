package server

import (
	"context"
	"io"

	"github.com/cairnkv/cairn/alarm"
	v3 "github.com/cairnkv/cairn/v3"
)

// backupMaker makes a backup file of the newest state.
type backupMaker interface {
	// Make returns the file, to be read to its end and closed, and its length in bytes.
	Make(ctx context.Context) (r io.ReadCloser, size int64, err error)
}

func (b *backend) Status() v3.Status {
	s, stored := b.node.Status(), b.stored()
	return v3.Status{
		StoredBytes: stored.DiskBytes, InUseBytes: b.live(), QuotaBytes: b.quota,
		Leader: s.Leader, RaftIndex: s.Commit, AppliedIndex: s.Applied, Learner: s.Learner,
		Alarms: b.machine.Alarms().List(alarm.None),
	}
}

func (b *backend) HashKV(ctx context.Context, rev int64) (v3.HashKV, error) {
	hash, hashRev, compactRev, err := b.machine.Store().HashKV(ctx, rev)
	return v3.HashKV{
		Hash: hash, HashRev: hashRev, CompactRev: compactRev, CurrentRev: b.machine.Store().Rev(),
	}, b.readError(err)
}

// Hash is over all that the store retains; as in etcd it is for tests, and comparable only between
// members of one version.
func (b *backend) Hash(ctx context.Context) (uint32, int64, error) {
	hash, rev, _, err := b.machine.Store().HashKV(ctx, 0)
	return hash, rev, b.readError(err)
}

func (b *backend) Snapshot(ctx context.Context) (io.ReadCloser, int64, error) {
	r, size, err := b.backup.Make(ctx)
	return r, size, b.readError(err)
}

// Defragment has nothing to do: space comes back by itself.
func (b *backend) Defragment(context.Context) error { return nil }
