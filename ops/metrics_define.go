package ops

import "github.com/cairnkv/cairn/internal/process"

// The help texts are etcd's, word for word: tools that compare scrapes see no difference.

// storage defines what is about data and disks.
func (d definer) storage(m *Metrics, s Sources) {
	m.Puts = d.counter("etcd_mvcc_put_total", "Total number of puts seen by this member.")
	m.Deletes = d.counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member.")
	m.Ranges = d.counter("etcd_mvcc_range_total", "Total number of ranges seen by this member.")
	m.Txns = d.counter("etcd_mvcc_txn_total", "Total number of txns seen by this member.")
	gauge(d, "etcd_mvcc_db_total_size_in_bytes",
		"Total size of the underlying database physically allocated in bytes.", s.Size)
	gauge(d, "etcd_mvcc_db_total_size_in_use_in_bytes",
		"Total size of the underlying database logically in use in bytes.", s.SizeInUse)
	gauge(d, "etcd_mvcc_db_open_read_transactions",
		"The number of currently open read transactions", s.OpenReads)
	m.Hash = d.histogram("etcd_mvcc_hash_duration_seconds",
		"The latency distribution of storage hash operation.", doubling(.01, 15))
	m.HashRev = d.histogram("etcd_mvcc_hash_rev_duration_seconds",
		"The latency distribution of storage hash by revision operation.", doubling(.01, 15))

	const debugging = "etcd_debugging_mvcc_"
	gauge(d, debugging+"keys_total", "Total number of keys.", s.Keys)
	gauge(d, debugging+"current_revision", "The current revision of store.", s.Revision)
	gauge(d, debugging+"compact_revision", "The revision of the last compaction in store.",
		s.CompactRevision)
	gauge(d, debugging+"total_put_size_in_bytes",
		"The total size of put kv pairs seen by this member.", s.PutBytes)
	m.CompactedKeys = d.counter(debugging+"db_compaction_keys_total",
		"Total number of db keys compacted.")
	m.CompactionLast = d.setGauge(debugging+"db_compaction_last",
		"The unix time of the last db compaction. Resets to 0 on start.")
	m.CompactionPause = d.histogram(debugging+"db_compaction_pause_duration_milliseconds",
		"Bucketed histogram of db compaction pause duration.", doubling(1, 13))
	m.CompactionTotal = d.histogram(debugging+"db_compaction_total_duration_milliseconds",
		"Bucketed histogram of db compaction total duration.", doubling(100, 14))
	m.IndexCompactionPause = d.histogram(debugging+"index_compaction_pause_duration_milliseconds",
		"Bucketed histogram of index compaction pause duration.", doubling(0.5, 14))

	m.WALFsync = d.histogram("etcd_disk_wal_fsync_duration_seconds",
		"The latency distributions of fsync called by WAL.", doubling(.001, 14))
	m.WALWrite = d.histogram("etcd_disk_wal_write_duration_seconds",
		"The latency distributions of write called by WAL.", doubling(.001, 14))
	gauge(d, "etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL.", s.WALBytes)
	m.Commit = d.histogram("etcd_disk_backend_commit_duration_seconds",
		"The latency distributions of commit called by backend.", doubling(.001, 14))
	m.Snapshot = d.histogram("etcd_disk_backend_snapshot_duration_seconds",
		"The latency distribution of backend snapshots.", doubling(.01, 17))
	gauge(d, "os_fd_used", "The number of used file descriptors.",
		func() int64 { return int64(process.OpenFiles()) })
	gauge(d, "os_fd_limit", "The file descriptor limit.", process.FileLimit)
}

// consensus defines what is about raft, leases, and this member.
func (d definer) consensus(m *Metrics, s Sources) {
	const server = "etcd_server_"
	d.flag(server+"has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.",
		s.HasLeader)
	d.flag(server+"is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.",
		s.IsLeader)
	d.flag(server+"is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.",
		s.IsLearner)
	gauge(d, server+"proposals_committed_total",
		"The total number of consensus proposals committed.", s.Committed)
	gauge(d, server+"proposals_applied_total",
		"The total number of consensus proposals applied.", s.Applied)
	gauge(d, server+"proposals_pending",
		"The current number of pending proposals to commit.", s.Pending)
	gauge(d, server+"quota_backend_bytes", "Current backend storage quota size in bytes.", s.Quota)
	m.LeaderChanges = d.counter(server+"leader_changes_seen_total",
		"The number of leader changes seen.")
	m.ProposalsFailed = d.counter(server+"proposals_failed_total",
		"The total number of failed proposals seen.")
	m.HeartbeatFailures = d.counter(server+"heartbeat_send_failures_total", "The total number of "+
		"leader heartbeat send failures (likely overloaded from slow disk).")
	m.SlowApplies = d.counter(server+"slow_apply_total",
		"The total number of slow apply requests (likely overloaded from slow disk).")
	m.SlowReadIndexes = d.counter(server+"slow_read_indexes_total", "The total number of pending "+
		"read indexes not in sync with leader's or timed out read index requests.")
	m.ReadIndexFailed = d.counter(server+"read_indexes_failed_total",
		"The total number of failed read indexes seen.")
	m.LearnerPromotions = d.counter(server+"learner_promote_successes", "The total number of "+
		"successful learner promotions while this member is leader.")
	m.PromotionFailures = d.counters(server+"learner_promote_failures", "The total number of "+
		"failed learner promotions (likely learner not ready) while this member is leader.",
		"Reason")

	m.SnapshotApplying = d.setGauge(server+"snapshot_apply_in_progress_total",
		"1 if the server is applying the incoming snapshot. 0 if none.")
	m.SnapshotSent = d.counter("cairn_snapshot_sent_bytes_total",
		"The total number of bytes of snapshots sent to other members.")
	m.SnapshotReceived = d.counter("cairn_snapshot_received_bytes_total",
		"The total number of bytes of snapshots received from other members.")

	const lease = "etcd_debugging_lease_"
	m.LeasesGranted = d.counter(lease+"granted_total", "The total number of granted leases.")
	m.LeasesRenewed = d.counter(lease+"renewed_total",
		"The number of renewed leases seen by the leader.")
	m.LeasesRevoked = d.counter(lease+"revoked_total", "The total number of revoked leases.")
	m.LeasesExpired = d.counter("etcd_debugging_server_lease_expired_total",
		"The total number of expired leases.")
	m.LeaseTTL = d.histogram(lease+"ttl_total", "Bucketed histogram of lease TTLs.",
		doubling(1, 24))
}

// requests defines what is about clients.
func (d definer) requests(m *Metrics, s Sources) {
	m.ReceivedBytes = d.counter("etcd_network_client_grpc_received_bytes_total",
		"The total number of bytes received from grpc clients.")
	m.SentBytes = d.counter("etcd_network_client_grpc_sent_bytes_total",
		"The total number of bytes sent to grpc clients.")
	m.StreamFailures = d.counters("etcd_network_server_stream_failures_total",
		"The total number of stream failures from the local server.", "Type", "API")
	m.clientRequests = d.counters("etcd_server_client_requests_total",
		"The total number of client requests per client version.", "type", "client_api_version")
	m.Apply = d.histograms("etcd_server_apply_duration_seconds",
		"The latency distributions of v2 apply called by backend.", doubling(0.0001, 20),
		"version", "op", "success")
	m.RangeDuration = d.histograms("etcd_server_range_duration_seconds",
		"The latency distributions of txn.Range", doubling(0.0001, 20), "success")
	m.Request = d.histograms("etcd_server_request_duration_seconds",
		"Response latency distribution in seconds for each type.", doubling(0.001, 14),
		"type", "success")

	// These have series from the start, as etcd's have once its own first entries are applied.
	m.Apply.WithLabelValues("v3", "Put", "true")
	m.RangeDuration.WithLabelValues("true")
	m.Request.WithLabelValues("Put", "true")

	m.healthSuccesses = d.counter("etcd_server_health_success",
		"The total number of successful health checks")
	m.healthFailures = d.counter("etcd_server_health_failures",
		"The total number of failed health checks")
	m.healthResult = d.gauges("etcd_server_healthcheck",
		"The result of each kind of healthcheck.", "type", "name")
	m.healthTotal = d.counters("etcd_server_healthchecks_total",
		"The total number of each kind of healthcheck.", "type", "name", "status")

	const watch = "etcd_debugging_mvcc_"
	gauge(d, watch+"watch_stream_total", "Total number of watch streams.", s.WatchStreams)
	gauge(d, watch+"watcher_total", "Total number of watchers.", s.Watchers)
	gauge(d, watch+"slow_watcher_total", "Total number of unsynced slow watchers.", s.SlowWatchers)
	gauge(d, watch+"pending_events_total", "Total number of pending events to be sent.",
		s.PendingEvents)
	d.total(watch+"events_total", "Total number of events sent by this member.", s.Events)
}

// absent defines etcd's metrics of things that do not exist here; they stay 0.
func (d definer) absent() {
	for _, c := range []struct{ name, help string }{
		{"etcd_debugging_store_expires_total", "Total number of expired keys."},
		{"etcd_debugging_store_watch_requests_total",
			"Total number of incoming watch requests (new or reestablished)."},
		{"etcd_grpc_proxy_events_coalescing_total", "Total number of events coalescing"},
	} {
		d.counter(c.name, c.help)
	}
	for _, g := range []struct{ name, help string }{
		{"etcd_debugging_auth_revision", "The current revision of auth store."},
		{"etcd_debugging_store_watchers", "Count of currently active watchers."},
		{"etcd_disk_defrag_inflight",
			"Whether or not defrag is active on the member. 1 means active, 0 means not."},
		{"etcd_grpc_proxy_cache_hits_total", "Total number of cache hits"},
		{"etcd_grpc_proxy_cache_keys_total", "Total number of keys/ranges cached"},
		{"etcd_grpc_proxy_cache_misses_total", "Total number of cache misses"},
		{"etcd_grpc_proxy_watchers_coalescing_total",
			"Total number of current watchers coalescing"},
	} {
		d.setGauge(g.name, g.help)
	}
	const send = "etcd_debugging_server_watch_send_loop_"
	for _, h := range []struct {
		name, help string
		start      float64
		buckets    int
	}{
		{"etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
			"The latency distributions of commit.rebalance called by bboltdb backend.", .001, 14},
		{"etcd_debugging_disk_backend_commit_spill_duration_seconds",
			"The latency distributions of commit.spill called by bboltdb backend.", .001, 14},
		{"etcd_debugging_disk_backend_commit_write_duration_seconds",
			"The latency distributions of commit.write called by bboltdb backend.", .001, 14},
		{"etcd_disk_backend_defrag_duration_seconds",
			"The latency distribution of backend defragmentation.", .1, 13},
		{send + "control_stream_duration_seconds", "The total duration in seconds of running " +
			"through the send loop control stream response.", .001, 14},
		{send + "progress_duration_seconds", "The total duration in seconds of running through " +
			"the progress loop control stream response.", .001, 14},
		{send + "watch_stream_duration_per_event_seconds", "The average duration in seconds of " +
			"running through the send loop watch stream response, per event.", .001, 14},
		{send + "watch_stream_duration_seconds", "The total duration in seconds of running " +
			"through the send loop watch stream response all events.", .001, 14},
		{"etcd_debugging_snap_save_marshalling_duration_seconds",
			"The marshalling cost distributions of save called by snapshot.", .001, 14},
		{"etcd_debugging_snap_save_total_duration_seconds",
			"The total latency distributions of save called by snapshot.", .001, 14},
		{"etcd_snap_db_fsync_duration_seconds",
			"The latency distributions of fsyncing .snap.db file", .001, 14},
		{"etcd_snap_db_save_total_duration_seconds",
			"The total latency distributions of v3 snapshot save", .1, 10},
		{"etcd_snap_fsync_duration_seconds",
			"The latency distributions of fsync called by snap.", .001, 14},
	} {
		d.histogram(h.name, h.help, doubling(h.start, h.buckets))
	}
}
