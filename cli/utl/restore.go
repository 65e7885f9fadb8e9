package utl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// Defaults of the flags of snapshot restore, etcdutl's.
const (
	defaultName         = "default"
	defaultPeerURL      = "http://localhost:2380"
	defaultClusterToken = "etcd-cluster"
	defaultMmapSize     = 10 << 30
)

// snapshotCommand makes the verb "snapshot".
func (a *app) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot <subcommand>",
		Short: "Manages etcd node snapshots",
	}
	cmd.AddCommand(a.snapshotRestoreCommand(), a.snapshotStatusCommand())
	return cmd
}

// restoreOptions are the flags of snapshot restore.
type restoreOptions struct {
	dataDir        string
	walDir         string
	initialCluster string
	clusterToken   string
	peerURLs       string
	name           string
	skipHashCheck  bool
	mmapSize       uint64
	bumpRevision   uint64
	markCompacted  bool
}

func (o *restoreOptions) register(fs *pflag.FlagSet) {
	fs.StringVar(&o.dataDir, "data-dir", "", "Path to the output data directory")
	fs.StringVar(&o.walDir, "wal-dir", "",
		"Path to the WAL directory (use --data-dir if none given)")
	fs.StringVar(&o.initialCluster, "initial-cluster", defaultName+"="+defaultPeerURL,
		"Initial cluster configuration for restore bootstrap")
	fs.StringVar(&o.clusterToken, "initial-cluster-token", defaultClusterToken,
		"Initial cluster token for the etcd cluster during restore bootstrap")
	fs.StringVar(&o.peerURLs, "initial-advertise-peer-urls", defaultPeerURL,
		"List of this member's peer URLs to advertise to the rest of the cluster")
	fs.StringVar(&o.name, "name", defaultName, "Human-readable name for this member")
	fs.BoolVar(&o.skipHashCheck, "skip-hash-check", false, "Ignore snapshot integrity hash value "+
		"(required if copied from data directory)")
	fs.Uint64Var(&o.mmapSize, "initial-memory-map-size", defaultMmapSize, "Initial memory map "+
		"size of the database in bytes. It uses the default value if not defined or defined to 0")
	fs.Uint64Var(&o.bumpRevision, "bump-revision", 0,
		"How much to increase the latest revision after restore")
	fs.BoolVar(&o.markCompacted, "mark-compacted", false, "Mark the latest revision after restore "+
		"as the point of scheduled compaction "+
		"(required if --bump-revision > 0, disallowed otherwise)")
}

// snapshotRestoreCommand makes the verb "snapshot restore".
func (a *app) snapshotRestoreCommand() *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore <filename> --data-dir {output dir} [options]",
		Short: "Restores an etcd member snapshot to an etcd directory",
		Example: fmt.Sprintf("  %[1]s snapshot restore /backup/etcd-snapshot.db --data-dir %[2]s\n"+
			"  %[1]s snapshot restore /backup/etcd-snapshot.db --data-dir %[2]s "+
			"--bump-revision=1000000 --mark-compacted", a.cfg.Name, defaultName+a.dirSuffix()),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.snapshotRestore(cmd, o, args)
		},
	}
	o.register(cmd.Flags())
	for _, err := range []error{
		cmd.MarkFlagDirname("data-dir"), cmd.MarkFlagDirname("wal-dir"),
	} {
		if err != nil {
			panic(err) // the flags were declared a line above
		}
	}
	return cmd
}

// dirSuffix is what the server appends to a member's name for its data directory: called as one of
// etcd's programs, what etcd does.
func (a *app) dirSuffix() string {
	if a.cfg.Name == face {
		return ".etcd"
	}
	return ".cairn"
}

func (a *app) snapshotRestore(cmd *cobra.Command, o restoreOptions, args []string) (err error) {
	if len(args) != 1 {
		return terminal.Failf(terminal.ExitBadArgs,
			"snapshot restore requires exactly one argument")
	}
	if o.bumpRevision > 0 != o.markCompacted {
		return terminal.Failf(terminal.ExitBadArgs,
			"--mark-compacted required if --revision-bump > 0")
	}
	if o.dataDir == "" {
		o.dataDir = o.name + a.dirSuffix()
	}
	cfg, err := o.config(cmd.Context())
	if err == nil {
		err = a.checkDirs(cfg)
	}
	if err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	if cmd.Flags().Changed("initial-memory-map-size") {
		fmt.Fprintln(a.cfg.Stderr, "Warning: --initial-memory-map-size has no effect: "+
			"Cairn maps its files as they grow.")
	}
	fmt.Fprintf(a.cfg.Stderr, "restoring snapshot %q to %q\n", args[0], cfg.DataDir)
	if err := a.restoreFile(cmd.Context(), cfg, o, args[0]); err != nil {
		return terminal.Fail(terminal.ExitError, err)
	}
	fmt.Fprintf(a.cfg.Stderr, "restored snapshot %q to %q\n", args[0], cfg.DataDir)
	return nil
}

// restoreFile opens the snapshot and hands it over.
func (a *app) restoreFile(ctx context.Context, cfg RestoreConfig, o restoreOptions, path string) (
	err error) {
	cfg.Snapshot, err = openSnapshot(a.cfg.FS, path, openOptions{
		needHash:   !o.skipHashCheck,
		ignoreHash: o.skipHashCheck,
		wait:       a.lockTimeout,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cfg.Snapshot.Close()) }()
	_, latest, err := cfg.Snapshot.bounds()
	if err != nil {
		return err
	}
	if limit := uint64(math.MaxInt64 - latest); cfg.RevisionBump > limit {
		return fmt.Errorf("--bump-revision=%d is too large: the snapshot's latest revision is %d, "+
			"so that the most is %d", cfg.RevisionBump, latest, limit)
	}
	return a.cfg.DataDir.Restore(ctx, cfg)
}

// config turns the flags into a configuration, checking that they describe a cluster that this
// member belongs to.
func (o restoreOptions) config(ctx context.Context) (RestoreConfig, error) {
	peers, err := types.NewURLs(strings.Split(o.peerURLs, ","))
	if err != nil {
		return RestoreConfig{}, err
	}
	cluster, err := types.NewURLsMap(o.initialCluster)
	if err != nil {
		return RestoreConfig{}, err
	}
	if err := checkCluster(ctx, o.name, peers, cluster); err != nil {
		return RestoreConfig{}, err
	}
	cfg := RestoreConfig{
		DataDir:             o.dataDir,
		WALDir:              o.walDir,
		Name:                o.name,
		PeerURLs:            peers.StringSlice(),
		InitialCluster:      make(map[string][]string, len(cluster)),
		InitialClusterToken: o.clusterToken,
		RevisionBump:        o.bumpRevision,
	}
	for name, urls := range cluster {
		cfg.InitialCluster[name] = urls.StringSlice()
	}
	return cfg, nil
}

// checkDirs refuses to write over anything.
func (a *app) checkDirs(cfg RestoreConfig) error {
	names, err := a.cfg.FS.List(cfg.DataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(names) > 0 {
		return fmt.Errorf("data-dir %q not empty or could not be read", cfg.DataDir)
	}
	if cfg.WALDir == "" {
		return nil
	}
	if _, err := a.cfg.FS.Stat(filepath.Clean(cfg.WALDir)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("wal-dir %q exists", cfg.WALDir)
	}
	return nil
}
