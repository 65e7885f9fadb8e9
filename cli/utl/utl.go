// Package utl is the offline companion of the server: the verbs of etcdutl 3.7 that have a meaning
// for Cairn, on snapshot files (ours or etcd's) and on Cairn's data directories.
//
//	snapshot status FILE    what a snapshot holds
//	snapshot restore FILE   a new data directory from a snapshot
//	hashkv FILE|DIR         the hash of the history, as `etcdctl endpoint hashkv` shows it
//	defrag --data-dir DIR   accepted for scripts: there is nothing to do
//
// # Contract
//
// What is written to stdout, and the exit status, are etcdutl 3.7.3's for the same file. Files are
// only read (etcdutl opens them for writing), and one with a SHA-256 behind it is refused when that
// does not fit, by every verb (etcdutl looks at it on restore only).
//
// # A snapshot file
//
// A snapshot is a bbolt database with etcd's buckets, and the SHA-256 of it:
//
//	+-------------------------------------------------+----------------+
//	| bbolt pages (a multiple of 512 bytes)           | SHA-256 (32 B) |
//	+-------------------------------------------------+----------------+
//
// A file copied from etcd's data directory (member/snap/db) lacks the hash; --skip-hash-check
// restores it all the same. Of the buckets, these matter here:
//
//	key    main (8 B, big-endian) '_' sub (8 B) ['t']  ->  mvccpb.KeyValue; 't' marks a tombstone
//	meta   finishedCompactRev, scheduledCompactRev (as key), storageVersion ("3.7.0")
//	lease  id (8 B, big-endian)  ->  leasepb.Lease
//
// Writing a data directory is somebody else's work: the caller passes a [DataDir].
package utl

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnkv/cairn/cli/internal/terminal"
	"github.com/cairnkv/cairn/vfs"
)

// face is the program whose outputs are reproduced.
const face = "etcdutl"

// defaultLockTimeout is how long a verb waits for a file that another process holds, by default.
const defaultLockTimeout = 10 * time.Second

// Config says how the program was called and what it works with.
type Config struct {
	// Name is the program as the user types it; usage lines show it: "etcdutl" or "cairn utl".
	Name string
	// Args are the arguments behind the program's name.
	Args []string

	Stdout io.Writer
	Stderr io.Writer

	// FS is the file system. Files are locked by bbolt, so it must be the operating system's.
	FS vfs.FS
	// DataDir knows Cairn's data directories.
	DataDir DataDir
}

// DataDir reads and writes Cairn's data directories. No method is called while another runs.
type DataDir interface {
	// Restore makes the data directory of a new member of a new cluster. See RestoreConfig.
	Restore(ctx context.Context, cfg RestoreConfig) error
	// HashKV hashes the history in dir up to revision rev, the latest for 0, as etcd does. It waits
	// at most wait for a process that holds dir, without bound for 0.
	HashKV(ctx context.Context, dir string, rev int64, wait time.Duration) (HashKV, error)
}

// RestoreConfig says what a restored member is to be. Everything in it was checked: the URLs are
// well formed, Name is in InitialCluster with PeerURLs, DataDir is missing or empty, WALDir is
// missing, the snapshot is whole (or the user said --skip-hash-check, and its structure is sound).
type RestoreConfig struct {
	// Snapshot is open until Restore returns.
	Snapshot *Snapshot
	// DataDir is the directory to make, or to fill.
	DataDir string
	// WALDir is the directory for the raft log, "" for its place in DataDir.
	WALDir string

	// Name is the member's name; PeerURLs are where the others reach it.
	Name     string
	PeerURLs []string
	// InitialCluster maps the names of all members to their peer URLs. Member and cluster ids are
	// computed from them and from InitialClusterToken, as etcd does. None is a learner.
	InitialCluster      map[string][]string
	InitialClusterToken string

	// RevisionBump is how far the latest revision is moved ahead of the snapshot's, so that clients
	// never see it go back; 0 leaves it. The sum fits into an int64. With it, all up to the new
	// latest revision is compacted: watches from before it are told so.
	RevisionBump uint64
}

// HashKV is the hash of a history.
type HashKV struct {
	// Hash is a CRC-32C, Revision the last one in it.
	Hash     uint32 `json:"hash"`
	Revision int64  `json:"hashRevision"`
	// CompactRevision is the last revision compacted, -1 without one.
	CompactRevision int64 `json:"compactRevision"`
}

// app is one run of the program.
type app struct {
	cfg         Config
	writeOut    string
	lockTimeout time.Duration
}

// Main runs one command and returns the process's exit status (see package terminal).
func Main(ctx context.Context, cfg Config) int {
	return terminal.Run(ctx, New(cfg), cfg.Args, cfg.Stderr)
}

// New returns the command tree, for documentation and completion. Config is as for Main.
func New(cfg Config) *cobra.Command {
	if err := cfg.valid(); err != nil {
		panic(err) // the calling program is wrong, not its user
	}
	a := &app{cfg: cfg}
	root := terminal.Root(cfg.Name, "An administrative command line tool for etcd3.")
	root.SetOut(cfg.Stdout)
	root.SetErr(cfg.Stderr)
	fs := root.PersistentFlags()
	fs.DurationVar(&a.lockTimeout, "timeout", defaultLockTimeout,
		"time to wait to obtain a file lock on db file, 0 to block indefinitely")
	fs.StringVarP(&a.writeOut, "write-out", "w", "simple",
		"set the output format (fields, json, protobuf, simple, table)")
	err := root.RegisterFlagCompletionFunc("write-out", func(*cobra.Command, []string, string) (
		[]string, cobra.ShellCompDirective) {
		return []string{"fields", "json", "protobuf", "simple", "table"},
			cobra.ShellCompDirectiveDefault
	})
	if err != nil {
		panic(err) // the flag was declared a line above
	}
	root.SetHelpTemplate(`{{.UsageString}}`)
	root.AddCommand(
		a.defragCommand(),
		a.snapshotCommand(),
		a.hashKVCommand(),
		terminal.Version(cfg.Name, face, cfg.Stdout),
		terminal.Completion(cfg.Name, cfg.Stdout, func() *cobra.Command { return New(cfg) }),
	)
	return root
}

func (c *Config) valid() error {
	if c.Name == "" || c.Stdout == nil || c.Stderr == nil || c.FS == nil || c.DataDir == nil {
		return errors.New("utl: Config needs Name, Stdout, Stderr, FS and DataDir")
	}
	return nil
}
