package config

import (
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/cairnkv/cairn/internal/version"
)

// Fields describes the configuration as the fields of etcd's line "starting an etcd server", named
// like the flags. initialized says whether there was data.
func (c *Config) Fields(initialized bool) []slog.Attr {
	period, _ := c.Retention()
	return append([]slog.Attr{
		slog.String("etcd-version", version.Etcd),
		slog.String("cairn-version", version.Cairn),
		slog.String("git-sha", version.GitSHA()),
		slog.String("go-version", runtime.Version()),
		slog.String("go-os", runtime.GOOS),
		slog.String("go-arch", runtime.GOARCH),
		slog.Int("max-cpu-set", runtime.GOMAXPROCS(0)),
		slog.Int("max-cpu-available", runtime.NumCPU()),
		slog.Bool("member-initialized", initialized),
		slog.String("name", c.Name),
		slog.String("data-dir", c.DataDir),
		slog.String("wal-dir", c.WALDir),
		slog.String("wal-dir-dedicated", c.WALDir),
		slog.String("member-dir", filepath.Clean(c.DataDir)),
		slog.Bool("force-new-cluster", c.ForceNewCluster),
		slog.Duration("heartbeat-interval", c.Heartbeat()),
		slog.Duration("election-timeout", time.Duration(c.ElectionTicks())*c.Heartbeat()),
		slog.Bool("initial-election-tick-advance", c.ElectionTickAdvance),
		slog.Uint64("snapshot-count", c.SnapshotCount),
		slog.Uint64("snapshot-catchup-entries", c.SnapshotCatchUpEntries),
	}, append(c.urlFields(), []slog.Attr{
		slog.Any("cors", c.CORS),
		slog.Any("host-whitelist", c.HostWhitelist),
		slog.String("initial-cluster", c.InitialCluster),
		slog.String("initial-cluster-state", c.InitialClusterState),
		slog.String("initial-cluster-token", c.InitialClusterToken),
		slog.Int64("quota-backend-bytes", c.Quota()),
		slog.Uint64("max-request-bytes", uint64(c.MaxRequestBytes)),
		slog.Uint64("max-concurrent-streams", uint64(c.MaxConcurrentStreams)),
		slog.Bool("pre-vote", true),
		slog.String("feature-gates", c.Gates.String()),
		slog.String("auto-compaction-mode", c.AutoCompactionMode),
		slog.String("auto-compaction-retention", c.AutoCompactionRetention),
		slog.Duration("auto-compaction-interval", period),
		slog.Int("compaction-batch-limit", c.BatchLimit()),
		slog.Bool("unsafe-no-fsync", c.UnsafeNoFsync),
	}...)...)
}

func (c *Config) urlFields() []slog.Attr {
	return []slog.Attr{
		slog.Any("initial-advertise-peer-urls", c.AdvertisePeerURLs.Strings()),
		slog.Any("listen-peer-urls", c.ListenPeerURLs.Strings()),
		slog.Any("advertise-client-urls", c.AdvertiseClientURLs.Strings()),
		slog.Any("listen-client-urls", c.ListenClientURLs.Strings()),
		slog.Any("listen-client-http-urls", c.ListenClientHTTPURLs.Strings()),
		slog.Any("listen-metrics-urls", c.ListenMetricsURLs.Strings()),
	}
}
