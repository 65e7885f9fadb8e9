package ctl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cairnkv/cairn/cli/internal/terminal"
	"github.com/cairnkv/cairn/vfs"
)

// snapshotCommand makes the verb "snapshot".
func (a *app) snapshotCommand() *cobra.Command {
	example := a.example(`  # Save snapshot to a given file
  $0 snapshot save /backup/etcd-snapshot.db

  # Get snapshot from given address and save it to file
  $0 snapshot save --endpoints=127.0.0.1:3000 /backup/etcd-snapshot.db

  # Get snapshot from given address with certificates
  $0 --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/ca.crt --cert=/etc/etcd/etcd.crt ` +
		`--key=/etc/etcd/etcd.key snapshot save /backup/etcd-snapshot.db

  # Get snapshot with certain user and password
  $0 --user=root --password=password123 snapshot save /backup/etcd-snapshot.db

  # Get snapshot from given address with timeout
  $0 --endpoints=https://127.0.0.1:2379 --dial-timeout=20s snapshot save /backup/etcd-snapshot.db

  # Save snapshot with desirable time format
  $0 snapshot save /mnt/backup/etcd/backup_$(date +%Y%m%d_%H%M%S).db`)
	cmd := &cobra.Command{
		Use:     "snapshot <subcommand>",
		Short:   "Manages etcd node snapshots",
		Example: example,
	}
	cmd.AddCommand(&cobra.Command{
		Use:     "save <filename>",
		Short:   "Stores an etcd node backend snapshot to a given file",
		Example: example,
		RunE:    a.snapshotSave,
	})
	return cmd
}

func (a *app) snapshotSave(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return terminal.Failf(terminal.ExitBadArgs,
			"snapshot save expects one argument <filename>")
	}
	spec, err := a.clientSpec(cmd)
	if err != nil {
		return err
	}
	if len(spec.Endpoints) != 1 {
		return terminal.Failf(terminal.ExitInterrupted, "snapshot must be requested to one "+
			"selected node, not multiple %v", spec.Endpoints)
	}
	cfg, err := a.clientConfig(spec)
	if err != nil {
		return err
	}
	if cfg.Logger == nil {
		cfg.Logger = a.logger().Named("client")
	}
	c, err := clientv3.New(cfg)
	if err != nil {
		return terminal.Fail(terminal.ExitInterrupted, err)
	}
	defer c.Close()
	// A snapshot takes as long as it takes, unless the user says otherwise.
	ctx, cancel := context.WithCancel(cmd.Context())
	if cmd.Flags().Changed("command-timeout") {
		ctx, cancel = a.withTimeout(cmd.Context())
	}
	defer cancel()
	version, err := a.saveSnapshot(ctx, c, args[0])
	if err != nil {
		return terminal.Fail(terminal.ExitInterrupted, err)
	}
	text := fmt.Sprintf("Snapshot saved at %s", args[0])
	if version != "" {
		text += "\nServer version " + version
	}
	return a.say("%s", text)
}

// saveSnapshot stores the snapshot of the client's one endpoint at path, under the name path.part
// until it is complete, checked and on disk. It returns the version of the server.
func (a *app) saveSnapshot(ctx context.Context, c *clientv3.Client, path string) (
	version string, err error) {
	log := a.logger()
	part := path + ".part"
	f, err := a.cfg.FS.Create(part)
	if err != nil {
		return "", fmt.Errorf("could not open %s (%w)", part, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), a.removePart(part))
		}
	}()
	log.Info("created temporary db file", zap.String("path", part))
	start := time.Now()
	resp, err := c.SnapshotWithVersion(ctx)
	if err == io.EOF {
		return "", errors.New("the server sent no snapshot, and no reason")
	}
	if err != nil {
		return "", err
	}
	defer resp.Snapshot.Close()
	log.Info("fetching snapshot", zap.String("endpoint", c.Endpoints()[0]))
	size, err := copySnapshot(f, resp.Snapshot)
	if err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", fmt.Errorf("could not fsync snapshot: %w", err)
	}
	log.Info("fetched snapshot",
		zap.String("endpoint", c.Endpoints()[0]),
		zap.String("size", terminal.Bytes(uint64(size))),
		zap.Duration("took", time.Since(start)),
		zap.String("etcd-version", resp.Version))
	if err := a.cfg.FS.Rename(part, path); err != nil {
		return "", fmt.Errorf("could not rename %s to %s (%w)", part, path, err)
	}
	if err := a.cfg.FS.SyncDir(filepath.Dir(path)); err != nil {
		return "", fmt.Errorf("could not fsync %s: %w", filepath.Dir(path), err)
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("could not close file descriptor: %w", err)
	}
	log.Info("saved", zap.String("path", path))
	return resp.Version, nil
}

// removePart removes what an interrupted snapshot left.
func (a *app) removePart(part string) error {
	if err := a.cfg.FS.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sectorSize divides the length of a database; a snapshot is one with a SHA-256 behind it.
const sectorSize = 512

// copySnapshot writes r to f and returns the size in bytes. The last 32 bytes must be the SHA-256
// of those before them.
func copySnapshot(f vfs.File, r io.Reader) (int64, error) {
	sum := &trailerHash{Hash: sha256.New()}
	size, err := io.Copy(io.MultiWriter(io.NewOffsetWriter(f, 0), sum), r)
	if err != nil {
		return 0, fmt.Errorf("could not write snapshot: %w", err)
	}
	if size%sectorSize != sha256.Size {
		return 0, fmt.Errorf("sha256 checksum not found [bytes: %d]", size)
	}
	if got := sum.Sum(nil); !bytes.Equal(got, sum.held) {
		return 0, fmt.Errorf("snapshot was damaged on its way: expected sha256 %x, got %x",
			sum.held, got)
	}
	return size, nil
}

// trailerHash hashes all that is written to it but the last sha256.Size bytes, which it holds back.
type trailerHash struct {
	hash.Hash
	held []byte
}

func (t *trailerHash) Write(p []byte) (int, error) {
	t.held = append(t.held, p...)
	if n := len(t.held) - sha256.Size; n > 0 {
		t.Hash.Write(t.held[:n]) // a hash never fails
		t.held = append(t.held[:0], t.held[n:]...)
	}
	return len(p), nil
}
