package config

// memberOptions are the options of one member that have an effect.
func memberOptions() []option {
	return append(identityOptions(), limitOptions()...)
}

// identityOptions say who the member is, where its data is, and how it keeps time.
func identityOptions() []option {
	g := memberGroup
	return []option{
		{name: "name", group: g, def: DefaultName, example: "infra0",
			help:  "Name of this member, unique in the cluster, as in --initial-cluster.",
			field: func(c *Config) any { return &c.Name }},
		{name: "data-dir", group: g, example: "./infra0.cairn",
			help:  "Directory of the data. Default: ${name}.cairn; ${name}.etcd if called as etcd.",
			field: func(c *Config) any { return &c.DataDir }},
		{name: "wal-dir", group: g,
			help:  "Directory of the log, for a disk of its own. Default: in --data-dir.",
			field: func(c *Config) any { return &c.WALDir }},
		{name: "snapshot-count", group: g, def: "10000",
			help:  "Log entries after which a checkpoint is written.",
			field: func(c *Config) any { return &c.SnapshotCount }},
		{name: "snapshot-catchup-entries", group: g, def: "5000",
			help:  "Log entries kept behind a checkpoint for slow followers.",
			field: func(c *Config) any { return &c.SnapshotCatchUpEntries }},
		{name: "heartbeat-interval", group: g, def: "100", example: "100",
			help:  "Time between heartbeats of the leader, in milliseconds.",
			field: func(c *Config) any { return &c.HeartbeatMs }},
		{name: "election-timeout", group: g, def: "1000", example: "1000",
			help: "Time without a leader after which an election begins, in milliseconds: " +
				"at least 5 heartbeats, at most 50000.",
			field: func(c *Config) any { return &c.ElectionMs }},
		{name: "initial-election-tick-advance", group: g, def: "true",
			help:  "Shorten the first election timeout after the start.",
			field: func(c *Config) any { return &c.ElectionTickAdvance }},
		{name: "listen-peer-urls", group: g, def: "http://localhost:2380",
			help:  "URLs to listen on for other members, separated by commas.",
			field: func(c *Config) any { return &c.ListenPeerURLs }},
		{name: "listen-client-urls", group: g, def: "http://localhost:2379",
			example: "http://127.0.0.1:2379,unix://localhost:2379",
			help: "URLs to listen on for clients, separated by commas: http, https, unix, unixs; " +
				"gRPC and HTTP share a port.",
			field: func(c *Config) any { return &c.ListenClientURLs }},
		{name: "listen-client-http-urls", group: g,
			help:  "URLs to listen on for HTTP alone; --listen-client-urls then serve gRPC alone.",
			field: func(c *Config) any { return &c.ListenClientHTTPURLs }},
	}
}

// limitOptions bound what clients may ask for.
func limitOptions() []option {
	g := memberGroup
	return []option{
		{name: "quota-backend-bytes", group: g, def: "0", example: "8589934592",
			help: "Size of the data in bytes at which writes are refused and the alarm NOSPACE " +
				"is raised. 0 is 2 GiB, a negative number no limit.",
			field: func(c *Config) any { return &c.QuotaBytes }},
		{name: "max-txn-ops", group: g, def: "128",
			help:  "Operations that a transaction may have.",
			field: func(c *Config) any { return &c.MaxTxnOps }},
		{name: "max-request-bytes", group: g, def: "1572864",
			help:  "Size of a request in bytes that is accepted.",
			field: func(c *Config) any { return &c.MaxRequestBytes }},
		{name: "max-concurrent-streams", group: g, def: "4294967295",
			help:  "Streams (requests and watches) open at once on one connection.",
			field: func(c *Config) any { return &c.MaxConcurrentStreams }},
		{name: "grpc-keepalive-min-time", group: g, def: "5s",
			help:  "Clients that ping more often than this are disconnected (duration).",
			field: func(c *Config) any { return &c.KeepAliveMinTime }},
		{name: "grpc-keepalive-interval", group: g, def: "2h",
			help:  "Time after which an idle connection is pinged (duration; 0 never).",
			field: func(c *Config) any { return &c.KeepAliveInterval }},
		{name: "grpc-keepalive-timeout", group: g, def: "20s",
			help:  "Time to wait for the answer to a ping before closing (duration).",
			field: func(c *Config) any { return &c.KeepAliveTimeout }},
		{name: "socket-reuse-port", group: g, def: "false", file: "socket-options.reuse-port",
			help:  "Set SO_REUSEPORT on listening sockets.",
			field: func(c *Config) any { return &c.ReusePort }},
		{name: "socket-reuse-address", group: g, def: "false", file: "socket-options.reuse-address",
			help:  "Set SO_REUSEADDR on listening sockets.",
			field: func(c *Config) any { return &c.ReuseAddress }},
		{name: "feature-gates", group: g, example: "CompactHashCheck=true",
			help:  "Features to turn on and off, as name=true,name=false; see below.",
			field: func(c *Config) any { return &c.Gates }},
	}
}

// clusterOptions are the options about the cluster that have an effect.
func clusterOptions() []option {
	g := clusterGroup
	return []option{
		{name: "initial-advertise-peer-urls", group: g, def: "http://localhost:2380",
			help:  "URLs of this member for other members, separated by commas.",
			field: func(c *Config) any { return &c.AdvertisePeerURLs }},
		{name: "initial-cluster", group: g,
			example: "infra0=http://10.0.0.1:2380",
			help: "Members of a new cluster as name=url, separated by commas. " +
				"Default: this member with its advertised URLs.",
			field: func(c *Config) any { return &c.InitialCluster }},
		{name: "initial-cluster-state", group: g, def: ClusterNew,
			valid: []string{ClusterNew, ClusterExisting},
			help:  "'new' to begin a cluster, 'existing' to join one; a restart ignores it.",
			field: func(c *Config) any { return &c.InitialClusterState }},
		{name: "initial-cluster-token", group: g, def: "etcd-cluster",
			help: "Word that goes into the ids of cluster and members, so that two clusters of " +
				"the same addresses stay apart.",
			field: func(c *Config) any { return &c.InitialClusterToken }},
		{name: "advertise-client-urls", group: g, def: "http://localhost:2379",
			example: "http://10.0.0.1:2379",
			help: "URLs of this member for clients, separated by commas; needed if " +
				"--listen-client-urls is given.",
			field: func(c *Config) any { return &c.AdvertiseClientURLs }},
		{name: "auto-compaction-mode", group: g, def: CompactPeriodic,
			help: "'periodic': --auto-compaction-retention is a time; 'revision': a number of " +
				"revisions.",
			field: func(c *Config) any { return &c.AutoCompactionMode }},
		{name: "auto-compaction-retention", group: g, def: "0", example: "1h",
			help: "History that is kept: a duration (a bare number is hours), or revisions, by " +
				"the mode. 0 compacts nothing.",
			field: func(c *Config) any { return &c.AutoCompactionRetention }},
	}
}
