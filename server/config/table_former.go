package config

// formerOptions are options of etcd releases before 3.7, as old unit files and manifests have them.
// What has a successor is passed on to it, the rest is accepted with a warning.
func formerOptions() []option {
	var rows []option
	for _, name := range ignoredNames() {
		rows = append(rows, option{name: name, effect: ignored, help: "Option of etcd 0.4."})
	}
	for former, now := range renamedNames() {
		rows = append(rows, option{name: former, effect: renamed, alias: now,
			help: "Former name of --" + now + "."})
	}
	for _, k := range []struct {
		kind  kind
		names []string
	}{{boolean, formerBooleans()}, {duration, formerDurations()}, {signed, formerNumbers()},
		{text, formerTexts()}} {
		for _, name := range k.names {
			rows = append(rows, option{name: name, effect: later, kind: k.kind,
				help: "Option of a former etcd release."})
		}
	}
	for i := range rows {
		rows[i].group = formerGroup
	}
	return rows
}

// ignoredNames are options of etcd 0.4 that etcd ignores ever since (server/etcdmain/config.go).
func ignoredNames() []string {
	return []string{"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval",
		"config", "force", "max-result-buffer", "max-retry-attempts", "peer-heartbeat-interval",
		"peer-election-timeout", "retry-interval", "snapshot", "v", "vv"}
}

// renamedNames are options that live on under another name: 3.5 and 3.6 had them as experimental.
func renamedNames() map[string]string {
	return map[string]string{
		"experimental-compaction-batch-limit":            "compaction-batch-limit",
		"experimental-compaction-sleep-interval":         "compaction-sleep-interval",
		"experimental-watch-progress-notify-interval":    "watch-progress-notify-interval",
		"experimental-warning-apply-duration":            "warning-apply-duration",
		"experimental-warning-unary-request-duration":    "warning-unary-request-duration",
		"experimental-snapshot-catchup-entries":          "snapshot-catchup-entries",
		"experimental-max-learners":                      "max-learners",
		"experimental-peer-skip-client-san-verification": "peer-skip-client-san-verification",
		"log-output": "log-outputs",
	}
}

func formerBooleans() []string {
	return []string{
		// 3.4 to 3.6
		"experimental-initial-corrupt-check", "experimental-compact-hash-check-enabled",
		"experimental-enable-lease-checkpoint", "experimental-enable-lease-checkpoint-persist",
		"experimental-memory-mlock", "experimental-txn-mode-write-with-shared-buffer",
		"experimental-stop-grpc-service-on-defrag", "experimental-set-member-localaddr",
		"experimental-enable-distributed-tracing", "enable-v2", "debug",
		"next-cluster-version-compatible",
		// 3.0 to 3.3
		"experimental-v3demo",
	}
}

func formerDurations() []string {
	return []string{
		"experimental-corrupt-check-time", "experimental-compact-hash-check-time",
		"experimental-downgrade-check-time", "experimental-wait-cluster-ready-timeout",
		"experimental-defrag-interval",
	}
}

func formerNumbers() []string {
	return []string{
		"experimental-bootstrap-defrag-threshold-megabytes",
		"experimental-distributed-tracing-sampling-rate",
		// the proxy of 2.x, milliseconds
		"proxy-failure-wait", "proxy-refresh-interval", "proxy-dial-timeout",
		"proxy-write-timeout", "proxy-read-timeout",
	}
}

func formerTexts() []string {
	return []string{
		"experimental-enable-v2v3", "experimental-backend-bbolt-freelist-type",
		"experimental-distributed-tracing-address",
		"experimental-distributed-tracing-service-name",
		"experimental-distributed-tracing-instance-id",
		"log-package-levels",
		// 2.x
		"discovery", "discovery-proxy", "proxy", "ca-file", "peer-ca-file",
		// 0.4
		"addr", "bind-addr", "peer-addr", "peer-bind-addr", "peers", "peers-file",
	}
}
