package config

// securityOptions are the options about TLS and HTTP access that have an effect.
func securityOptions() []option {
	g := securityGroup
	const section = "client-transport-security."
	return []option{
		{name: "cert-file", group: g, example: "server.crt", file: section + "cert-file",
			help:  "Certificate of the server for https client URLs (PEM); read at each handshake.",
			field: func(c *Config) any { return &c.ClientTLS.CertFile }},
		{name: "key-file", group: g, example: "server.key", file: section + "key-file",
			help:  "Key of the certificate (PEM).",
			field: func(c *Config) any { return &c.ClientTLS.KeyFile }},
		{name: "trusted-ca-file", group: g, file: section + "trusted-ca-file",
			help:  "Authorities that sign client certificates (PEM); demands a certificate.",
			field: func(c *Config) any { return &c.ClientTLS.TrustedCAFile }},
		{name: "client-cert-auth", group: g, def: "false", file: section + "client-cert-auth",
			help:  "Demand a client certificate that an authority signed.",
			field: func(c *Config) any { return &c.ClientTLS.ClientCertAuth }},
		{name: "client-crl-file", group: g,
			help:  "Revoked client certificates (DER); read at each connection.",
			field: func(c *Config) any { return &c.ClientTLS.CRLFile }},
		{name: "client-cert-allowed-hostname", group: g, file: section + "allowed-hostname",
			help:  "Host names of which a client's certificate must have one, separated by commas.",
			field: func(c *Config) any { return &c.ClientTLS.AllowedHostnames }},
		{name: "cipher-suites", group: g,
			help:  "Cipher suites of TLS 1.2, separated by commas (empty: Go's choice).",
			field: func(c *Config) any { return &c.ClientTLS.CipherSuites }},
		{name: "tls-min-version", group: g, def: "TLS1.2",
			help:  "Oldest TLS version that is accepted: TLS1.2 or TLS1.3.",
			field: func(c *Config) any { return &c.ClientTLS.MinVersion }},
		{name: "tls-max-version", group: g,
			help:  "Newest TLS version that is accepted: TLS1.2 or TLS1.3 (empty: the newest).",
			field: func(c *Config) any { return &c.ClientTLS.MaxVersion }},
		{name: "cors", group: g, def: "*", example: "https://ui.example.com:443",
			help:  "Origins that browsers may call from, separated by commas; * is all.",
			field: func(c *Config) any { return &c.CORS }},
		{name: "host-whitelist", group: g, def: "*",
			help: "Host names that requests without TLS may carry, separated by commas; * is " +
				"all. Protects against DNS rebinding.",
			field: func(c *Config) any { return &c.HostWhitelist }},
	}
}

// otherOptions are monitoring, logging, features, unsafe and the rest that have an effect.
func otherOptions() []option {
	return append(loggingOptions(), []option{
		{name: "enable-pprof", group: monitorGroup, def: "false",
			help:  "Serve profiles below /debug/pprof/ on the client URLs.",
			field: func(c *Config) any { return &c.EnablePprof }},
		{name: "metrics", group: monitorGroup, def: MetricsBasic, example: MetricsExtensive,
			help:  "'extensive' adds histograms of gRPC latencies to /metrics.",
			field: func(c *Config) any { return &c.Metrics }},
		{name: "listen-metrics-urls", group: monitorGroup, example: "http://127.0.0.1:2381",
			help:  "URLs to listen on for /metrics, /health, /livez and /readyz alone.",
			field: func(c *Config) any { return &c.ListenMetricsURLs }},

		{name: "compaction-batch-limit", group: featureGroup, def: "0", example: "1000",
			help:  "Revisions handled in one step of a compaction (0 is 1000).",
			field: func(c *Config) any { return &c.CompactionBatchLimit }},
		{name: "compaction-sleep-interval", group: featureGroup, def: "0s",
			help:  "Pause between the steps of a compaction (duration; 0 is 10ms).",
			field: func(c *Config) any { return &c.CompactionSleep }},
		{name: "corrupt-check-time", group: featureGroup, def: "0s",
			help: "Time between comparisons of the members' data (duration; 0 is " +
				"--compact-hash-check-time).",
			field: func(c *Config) any { return &c.CorruptCheckTime }},
		{name: "compact-hash-check-time", group: featureGroup, def: "1m0s",
			help:  "The same, unless the feature gate CompactHashCheck is off (duration, > 0).",
			field: func(c *Config) any { return &c.HashCheckTime }},
		{name: "watch-progress-notify-interval", group: featureGroup, def: "0s", example: "10m",
			help:  "Time between progress notifications of idle watches (duration; 0 is 10m).",
			field: func(c *Config) any { return &c.WatchProgressInterval }},
		{name: "warning-apply-duration", group: featureGroup, def: "100ms",
			help:  "Applying a request longer than this is logged (duration).",
			field: func(c *Config) any { return &c.WarningApply }},
		{name: "warning-unary-request-duration", group: featureGroup, def: "300ms",
			help:  "A request that takes longer than this is logged (duration).",
			field: func(c *Config) any { return &c.WarningUnaryRequest }},

		{name: "force-new-cluster", group: unsafeGroup, def: "false", example: "true",
			help:  "Begin a new cluster of this member with the data that is there.",
			field: func(c *Config) any { return &c.ForceNewCluster }},
		{name: "unsafe-no-fsync", group: unsafeGroup, def: "false",
			help:  "Do not wait for the disk: a power failure loses acknowledged data.",
			field: func(c *Config) any { return &c.UnsafeNoFsync }},

		{name: "config-file", group: otherGroup, example: "etcd.conf.yml",
			help: "Configuration in YAML or JSON; other flags and variables are then ignored. " +
				"Durations are nanoseconds or text as on the command line.",
			field: func(c *Config) any { return &c.ConfigFile }},
		{name: "version", group: otherGroup, def: "false", kind: boolean, file: "-",
			help: "Print the version and end."},
		{name: "help", group: otherGroup, def: "false", kind: boolean, file: "-",
			help: "Print this text and end."},
	}...)
}

// loggingOptions say where log lines go and how they look.
func loggingOptions() []option {
	g := loggingGroup
	return []option{
		{name: "logger", group: g, def: "zap",
			help:  "Format of the log lines; 'zap' is the only one.",
			field: func(c *Config) any { return &c.Log.Logger }},
		{name: "log-outputs", group: g, def: "default", example: "stderr,./cairn.log",
			help: "Where lines go, separated by commas: stderr, stdout, or paths. 'default' is " +
				"stderr.",
			field: func(c *Config) any { return &c.Log.Outputs }},
		{name: "log-level", group: g, def: "info",
			help:  "Lowest level that is logged: debug, info, warn, error, panic, fatal.",
			field: func(c *Config) any { return &c.Log.Level }},
		{name: "log-format", group: g, def: "json", example: "console",
			help:  "json or console.",
			field: func(c *Config) any { return &c.Log.Format }},
		{name: "enable-log-rotation", group: g, def: "false",
			help:  "Rotate the one file of --log-outputs.",
			field: func(c *Config) any { return &c.Log.Rotate }},
		{name: "log-rotation-config-json", group: g,
			def: `{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, ` +
				`"compress": false}`,
			help: "Size in MB, age in days and number of rotated files (0: no limit), and " +
				"whether names use local time and files are compressed.",
			field: func(c *Config) any { return &c.Log.RotationJSON }},
	}
}
