package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"time"
)

// maxElectionMs is etcd's bound on the election timeout.
const maxElectionMs = 50000

// minHeartbeats is how many heartbeats must fit into an election timeout.
const minHeartbeats = 5

// maxRetentionHours is what a time.Duration holds.
const maxRetentionHours = math.MaxInt64 / int64(time.Hour)

// ErrUnsetAdvertise says that clients would not learn where to connect.
var ErrUnsetAdvertise = errors.New(
	"--advertise-client-urls is required when --listen-client-urls is set explicitly")

// ErrRotation says that there is no one file to rotate.
var ErrRotation = errors.New("--log-outputs requires a single file path when " +
	"--log-rotate-config-json is defined")

// validate checks what the options mean together. The texts are etcd's (server/embed/config.go)
// where etcd has the check.
func (c *Config) validate() error {
	for _, check := range []func() error{
		c.validateLog, c.validateURLs, c.validateTimes, c.validateCompaction, c.validateGates,
		c.ClientTLS.validate, c.validateClientTLS, c.validatePeerTLS, c.validateMisc,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// validateIdle checks options without effect, so that a configuration that etcd refuses is refused.
func (p *parser) validateIdle() error {
	if p.idle["discovery-fallback"] == "proxy" {
		return errors.New(`v2 proxy is deprecated, and --discovery-fallback can't be configured ` +
			`as "proxy"`)
	}
	if (p.idle["discovery-token"] != "") != (p.idle["discovery-endpoints"] != "") {
		return errors.New("both --discovery-token and --discovery-endpoints must be set")
	}
	ways := 0
	for _, given := range []bool{p.set["initial-cluster"] && p.cfg.InitialCluster != "",
		p.idle["discovery-srv"] != "", p.idle["discovery-endpoints"] != ""} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("multiple discovery or bootstrap flags are set. Choose one of " +
			`"initial-cluster", "discovery-endpoints" or "discovery-srv"`)
	}
	if d := p.cfg.HashCheckTime; d <= 0 {
		return fmt.Errorf("--compact-hash-check-time must be >0 (set to %v)", d)
	}
	return nil
}

func (c *Config) validateLog() error {
	switch c.Log.Logger {
	case "zap":
	case "capnslog":
		return errors.New("--logger=capnslog is removed in v3.5")
	default:
		return fmt.Errorf("unknown logger option %q", c.Log.Logger)
	}
	levels := []string{"debug", "info", "warn", "error", "dpanic", "panic", "fatal"}
	if !slices.Contains(levels, c.Log.Level) {
		return fmt.Errorf("unknown level %q for --log-level: use debug, info, warn, error, panic "+
			"or fatal", c.Log.Level)
	}
	if !slices.Contains([]string{"json", "console"}, c.Log.Format) {
		return fmt.Errorf("unknown log format: %s, supported values json, console", c.Log.Format)
	}
	if len(c.Log.Outputs) > 1 && slices.Contains(c.Log.Outputs, "default") {
		return errors.New(`multi logoutput for "default" is not supported yet`)
	}
	if files := c.Log.files(); c.Log.Rotate && len(files) != 1 {
		return ErrRotation
	}
	return nil
}

// files returns the outputs that are paths.
func (l *Log) files() []string {
	return slices.DeleteFunc(slices.Clone(l.Outputs), func(s string) bool {
		return slices.Contains([]string{"default", "stderr", "stdout"}, s)
	})
}

func (c *Config) validateURLs() error {
	for _, l := range []URLs{c.ListenPeerURLs, c.ListenClientURLs, c.ListenClientHTTPURLs,
		c.ListenMetricsURLs} {
		if err := checkBind(l); err != nil {
			return err
		}
	}
	if err := checkHosts(c.AdvertisePeerURLs); err != nil {
		return fmt.Errorf(`--initial-advertise-peer-urls %q must be "host:port" (%w)`,
			c.AdvertisePeerURLs.String(), err)
	}
	if err := checkHosts(c.AdvertiseClientURLs); err != nil {
		return fmt.Errorf(`--advertise-client-urls %q must be in the format "host:port", `+
			`"unix:/path/to/socket" or "unixs:/path/to/socket" (%w)`,
			c.AdvertiseClientURLs.String(), err)
	}
	if len(c.ListenClientURLs) > 0 && len(c.AdvertiseClientURLs) == 0 {
		return ErrUnsetAdvertise
	}
	return c.checkShared()
}

// checkShared finds an address that two kinds of listeners want. (Clients with and without TLS may
// share one, and several free ports, :0, never clash.)
func (c *Config) checkShared() error {
	seen := map[string]string{}
	for _, l := range []struct {
		flag string
		urls URLs
	}{{"listen-client-urls", c.ListenClientURLs},
		{"listen-client-http-urls", c.ListenClientHTTPURLs},
		{"listen-peer-urls", c.ListenPeerURLs}, {"listen-metrics-urls", c.ListenMetricsURLs}} {
		for _, u := range l.urls {
			addr := u.Host + u.Path
			other, taken := seen[addr]
			if taken && other != l.flag && u.Port() != "0" {
				return fmt.Errorf("cannot bind both --%s and --%s on the same url %s",
					other, l.flag, u.String())
			}
			seen[addr] = l.flag
		}
	}
	return nil
}

// checkBind demands addresses, not names, for listeners: a name may mean several.
func checkBind(urls URLs) error {
	for _, u := range urls {
		if u.Scheme == "unix" || u.Scheme == "unixs" {
			if u.Host+u.Path == "" {
				return fmt.Errorf("unix socket without a path (%s)", u.String())
			}
			continue
		}
		host, port, err := net.SplitHostPort(u.Host)
		if err != nil {
			return err
		}
		if host != "localhost" && net.ParseIP(host) == nil {
			return fmt.Errorf("expected IP in URL for binding (%s)", u.String())
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("expected a port from 0 to 65535 in URL for binding (%s)", u.String())
		}
	}
	return nil
}

func checkHosts(urls URLs) error {
	for _, u := range urls {
		if u.Scheme == "unix" || u.Scheme == "unixs" {
			continue
		}
		host, _, err := net.SplitHostPort(u.Host)
		if err != nil {
			return err
		}
		if host == "" {
			return fmt.Errorf("unexpected empty host (%s)", u.String())
		}
	}
	return nil
}

func (c *Config) validateTimes() error {
	if c.HeartbeatMs == 0 {
		return fmt.Errorf("--heartbeat-interval must be >0 (set to %dms)", c.HeartbeatMs)
	}
	if c.ElectionMs == 0 {
		return fmt.Errorf("--election-timeout must be >0 (set to %dms)", c.ElectionMs)
	}
	if c.HeartbeatMs > c.ElectionMs/minHeartbeats {
		return fmt.Errorf("--election-timeout[%vms] should be at least as 5 times as "+
			"--heartbeat-interval[%vms]", c.ElectionMs, c.HeartbeatMs)
	}
	if c.ElectionMs > maxElectionMs {
		return fmt.Errorf("--election-timeout[%vms] is too long, and should be set less than %vms",
			c.ElectionMs, maxElectionMs)
	}
	return nil
}

func (c *Config) validateCompaction() error {
	switch c.AutoCompactionMode {
	case CompactPeriodic, CompactRevision:
	case "":
		return errors.New("undefined auto-compaction-mode")
	default:
		return fmt.Errorf("unknown auto-compaction-mode %q", c.AutoCompactionMode)
	}
	_, _, err := parseRetention(c.AutoCompactionMode, c.AutoCompactionRetention)
	return err
}

// Retention is how much history automatic compaction keeps: a time or a number of revisions, by the
// mode; both 0 is no automatic compaction.
func (c *Config) Retention() (period time.Duration, revisions int64) {
	period, revisions, err := parseRetention(c.AutoCompactionMode, c.AutoCompactionRetention)
	if err != nil {
		return 0, 0 // not after Parse, which checked it
	}
	return period, revisions
}

// parseRetention reads --auto-compaction-retention by the mode, as etcd does: a bare number is
// hours or revisions. (A duration in mode revision counts as nanoseconds there, here it is wrong.)
func parseRetention(mode, s string) (period time.Duration, revisions int64, err error) {
	if mode == CompactRevision {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return 0, 0, fmt.Errorf("error parsing CompactionRetention: %q is no number of "+
				"revisions", s)
		}
		return 0, n, nil
	}
	if n, err := strconv.ParseInt(s, 10, 32); err == nil && n >= 0 {
		if n > maxRetentionHours {
			return 0, 0, fmt.Errorf("error parsing CompactionRetention: %d hours are more than %d",
				n, maxRetentionHours)
		}
		return time.Duration(n) * time.Hour, 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, 0, fmt.Errorf("error parsing CompactionRetention: %w", err)
	}
	if d < 0 {
		return 0, 0, fmt.Errorf("error parsing CompactionRetention: %v is negative", d)
	}
	return d, 0, nil
}

func (c *Config) validateGates() error {
	if c.Gates.given["LeaseCheckpointPersist"] && !c.Gates.Enabled("LeaseCheckpoint") {
		return errors.New("enabling feature gate LeaseCheckpointPersist requires enabling " +
			"feature gate LeaseCheckpoint")
	}
	return nil
}

// maxRequestBytes leaves a frame between members (64 MiB) room for what is around a request.
const maxRequestBytes = 60 << 20

func (c *Config) validateMisc() error {
	switch {
	case c.Name == "":
		return errors.New("--name must not be empty")
	case c.MaxRequestBytes == 0:
		return errors.New("--max-request-bytes must be >0 (set to 0)")
	case c.MaxRequestBytes > maxRequestBytes:
		return fmt.Errorf("--max-request-bytes must be at most %d (set to %d): what is larger "+
			"cannot be sent to other members", maxRequestBytes, c.MaxRequestBytes)
	case c.MaxTxnOps == 0:
		return errors.New("--max-txn-ops must be >0 (set to 0)")
	case c.WarningUnaryRequest < 0 || c.WarningApply < 0:
		return errors.New("--warning-apply-duration and --warning-unary-request-duration must " +
			"not be negative")
	}
	return nil
}
