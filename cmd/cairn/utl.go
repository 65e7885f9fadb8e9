package main

import (
	"context"
	"time"

	"github.com/cairnkv/cairn/cli/utl"
	"github.com/cairnkv/cairn/server/datadir"
	"github.com/cairnkv/cairn/vfs"
)

// dataDir gives utl the data directories of the server.
type dataDir struct{}

func (dataDir) Restore(ctx context.Context, c utl.RestoreConfig) error {
	members, local, err := datadir.FirstMembers(c.InitialCluster, c.InitialClusterToken, c.Name)
	if err != nil {
		return err
	}
	return datadir.Restore(ctx, vfs.OS(), datadir.RestoreConfig{
		DataDir: c.DataDir, WALDir: c.WALDir, Members: members, Local: local,
		RevisionBump: int64(c.RevisionBump),
	}, c.Snapshot)
}

func (dataDir) HashKV(
	ctx context.Context, dir string, rev int64, wait time.Duration,
) (utl.HashKV, error) {
	hash, hashRev, compactRev, err := datadir.HashKV(ctx, vfs.OS(), dir, rev, wait)
	return utl.HashKV{Hash: hash, Revision: hashRev, CompactRevision: compactRev}, err
}
