// Package config turns a command line, the environment and a configuration file into one typed
// [Config], the way etcd 3.7 does, so that a unit file, a manifest or a script written for etcd
// starts Cairn unchanged.
//
// # One table
//
// Every option that etcd 3.4 to 3.7 knows, and those of its older releases that are still met, is
// one row of one table (table_*.go): name, group, default, help, example, type, and whether it has
// an effect here. Parsing, the names of environment variables, the keys of the configuration file
// and --help all derive from it; a default stands nowhere else.
//
// # Rules
//
// Flags are written --name value, --name=value or with one dash; the last one of a name wins. An
// option a-b is the variable ETCD_A_B. A variable and a flag for the same option is an error, as in
// etcd; an ETCD_ variable that nobody knows is a warning. With --config-file (or ETCD_CONFIG_FILE)
// the file alone counts. An option that is known and has no effect yet is accepted with one
// warning; one that nobody knows is refused with the nearest name.
package config

import (
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"
)

// Config is what the server is started with. Parse fills it, nobody changes it after.
type Config struct {
	Name    string // of this member, as in --initial-cluster
	DataDir string
	WALDir  string // "" is below DataDir

	SnapshotCount          uint64 // log entries between checkpoints
	SnapshotCatchUpEntries uint64 // log entries kept for slow followers
	HeartbeatMs            uint
	ElectionMs             uint
	ElectionTickAdvance    bool

	ListenPeerURLs       URLs
	ListenClientURLs     URLs
	ListenClientHTTPURLs URLs // if set, HTTP moves here and ListenClientURLs serve gRPC alone
	ListenMetricsURLs    URLs
	AdvertisePeerURLs    URLs
	AdvertiseClientURLs  URLs

	InitialCluster      string // "name=url,name=url"
	InitialClusterState string // ClusterNew or ClusterExisting
	InitialClusterToken string

	MaxTxnOps            uint
	MaxRequestBytes      uint
	MaxConcurrentStreams uint32
	KeepAliveMinTime     time.Duration // clients that ping more often are cut off
	KeepAliveInterval    time.Duration // 0: the server does not ping
	KeepAliveTimeout     time.Duration
	QuotaBytes           int64 // as given: 0 is the default, negative is unlimited; see Quota

	AutoCompactionMode      string // CompactPeriodic or CompactRevision
	AutoCompactionRetention string // as given; see Retention
	CompactionBatchLimit    int    // 0 is the default; see BatchLimit
	CompactionSleep         time.Duration
	WatchProgressInterval   time.Duration
	CorruptCheckTime        time.Duration // between comparisons of data; see HashInterval
	HashCheckTime           time.Duration
	WarningApply            time.Duration
	WarningUnaryRequest     time.Duration

	ClientTLS        TLS
	PeerTLS          TLS           // ciphers and versions are those of ClientTLS
	SelfSignedYears  uint          // validity of the certificates of TLS.Auto, in years
	RaftReadTimeout  time.Duration // of a silent connection between members, >= 5 s
	RaftWriteTimeout time.Duration // of one write to such a connection, >= 5 s
	StrictReconfig   bool          // refuse member changes that would lose the quorum
	MaxLearners      int           // that the cluster may have

	CORS          []string // origins; "*" is all
	HostWhitelist []string // host names that plain HTTP requests may carry; "*" or none is all
	ReusePort     bool
	ReuseAddress  bool

	Log         Log
	EnablePprof bool
	Metrics     string // MetricsBasic or MetricsExtensive
	Gates       Gates

	ForceNewCluster bool
	UnsafeNoFsync   bool

	ConfigFile string          // "" if flags and environment were used
	Set        map[string]bool // the options given explicitly, by name
}

// Log is how the server logs; package logging reads it.
type Log struct {
	Logger       string   // "zap": the format of the lines
	Level        string   // debug, info, warn, error, panic, fatal
	Format       string   // json or console
	Outputs      []string // "default", "stderr", "stdout", paths; at least one
	Rotate       bool
	RotationJSON string // sizes and ages, see logging
}

// TLS names the files and limits of TLS on the client or the peer URLs.
type TLS struct {
	CertFile, KeyFile             string
	ClientCertFile, ClientKeyFile string // shown when dialling; "" is the pair above
	TrustedCAFile                 string // client certificates are demanded and checked if set
	ClientCertAuth                bool
	CRLFile                       string   // DER; read at each connection
	AllowedCNs                    []string // of peers: one must be the certificate's common name
	AllowedHostnames              []string // one of them must match the certificate
	SkipClientSAN                 bool     // of peers: do not compare their address with it
	Auto                          bool     // make a certificate; never with CertFile or KeyFile
	CipherSuites                  []string // Go's names; none is Go's choice
	MinVersion                    string   // "TLS1.2", "TLS1.3"
	MaxVersion                    string   // "" is the newest
}

// Warning is something that the operator should know and that does not stop the start. The caller
// logs it once its logger stands.
type Warning struct {
	Level slog.Level
	Msg   string
	Attrs []slog.Attr
}

// The values of options that take one of a few words.
const (
	ClusterNew       = "new"
	ClusterExisting  = "existing"
	CompactPeriodic  = "periodic"
	CompactRevision  = "revision"
	MetricsBasic     = "basic"
	MetricsExtensive = "extensive"
	DefaultName      = "default"
)

// Numbers that etcd has in code and not in a flag's default.
const (
	defaultQuotaBytes = 2 << 30 // etcd's server/storage/quota.go
	defaultBatchLimit = 1000
	defaultSleep      = 10 * time.Millisecond
	defaultProgress   = 10 * time.Minute
	requestQueueTime  = 5 * time.Second // queueing, computation, disk

	defaultSnapshotCount  = 10000
	defaultCatchUpEntries = 5000
	defaultWarningUnary   = 300 * time.Millisecond
	minRaftTimeout        = 5 * time.Second
)

// Heartbeat is the time of one tick.
func (c *Config) Heartbeat() time.Duration {
	return time.Duration(c.HeartbeatMs) * time.Millisecond
}

// ElectionTicks is how many ticks without a leader pass before a member stands for election; >= 5.
func (c *Config) ElectionTicks() int { return int(c.ElectionMs / c.HeartbeatMs) }

// RequestTimeout bounds a replicated request: 5 s and two elections, as in etcd.
func (c *Config) RequestTimeout() time.Duration {
	return requestQueueTime + 2*time.Duration(c.ElectionTicks())*c.Heartbeat()
}

// Quota is the size of the data in bytes at which writes are refused; 0 is no limit.
func (c *Config) Quota() int64 {
	switch {
	case c.QuotaBytes == 0:
		return defaultQuotaBytes
	case c.QuotaBytes < 0:
		return 0
	}
	return c.QuotaBytes
}

// BatchLimit is how many revisions one step of a compaction handles.
func (c *Config) BatchLimit() int {
	if c.CompactionBatchLimit <= 0 {
		return defaultBatchLimit
	}
	return c.CompactionBatchLimit
}

// BatchSleep is the pause between the steps of a compaction.
func (c *Config) BatchSleep() time.Duration {
	if c.CompactionSleep <= 0 {
		return defaultSleep
	}
	return c.CompactionSleep
}

// ProgressInterval is the time between progress notifications of an idle watch.
func (c *Config) ProgressInterval() time.Duration {
	if c.WatchProgressInterval <= 0 {
		return defaultProgress
	}
	return c.WatchProgressInterval
}

// HashInterval is the time between comparisons of the members' data; 0 is never.
func (c *Config) HashInterval() time.Duration {
	switch {
	case c.CorruptCheckTime > 0:
		return c.CorruptCheckTime
	case c.Gates.Enabled("CompactHashCheck"):
		return c.HashCheckTime
	}
	return 0
}

// Extensive says whether the histograms of gRPC latencies are kept.
func (c *Config) Extensive() bool { return c.Metrics == MetricsExtensive }

// Secure says whether a certificate was given, or is to be made.
func (t *TLS) Secure() bool { return t.given() || t.Auto }

func (t *TLS) given() bool { return t.CertFile != "" || t.KeyFile != "" }

// MemberAddr is the address to dial other members from: with the feature gate SetMemberLocalAddr
// the first one of --initial-advertise-peer-urls that is an address, and neither loopback nor
// unspecified; nil is the system's choice.
func (c *Config) MemberAddr() net.IP {
	if !c.Gates.Enabled("SetMemberLocalAddr") {
		return nil
	}
	for _, u := range c.AdvertisePeerURLs {
		ip := net.ParseIP(u.Hostname())
		if ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() {
			return ip
		}
	}
	return nil
}

// URLs is a sorted list of URLs without duplicates.
type URLs []url.URL

// Strings returns the URLs as text, in order.
func (u URLs) Strings() []string {
	out := make([]string, len(u))
	for i := range u {
		out[i] = u[i].String()
	}
	return out
}

func (u URLs) String() string { return strings.Join(u.Strings(), ",") }
