package config

// laterOptions are etcd 3.7's other options: accepted, checked, and without effect so far.
func laterOptions() []option {
	rows := append(laterSecurity(), laterDiscovery()...)
	rows = append(rows, laterRest()...)
	for i := range rows {
		rows[i].effect = later
	}
	return rows
}

func laterSecurity() []option {
	g := securityGroup
	return []option{
		{name: "client-cert-file", group: g, file: "client-transport-security.client-cert-file",
			help:  "Certificate that the member shows as a client of itself.",
			field: func(c *Config) any { return &c.ClientTLS.ClientCertFile }},
		{name: "client-key-file", group: g, file: "client-transport-security.client-key-file",
			help:  "Key of that certificate.",
			field: func(c *Config) any { return &c.ClientTLS.ClientKeyFile }},
		{name: "auth-token", group: authGroup, def: "simple", example: "simple",
			help: "Kind of authentication tokens: simple or jwt with its options."},
		{name: "bcrypt-cost", group: authGroup, def: "10", kind: unsigned,
			help: "Cost of hashing passwords, 4 to 31."},
		{name: "auth-token-ttl", group: authGroup, def: "300", kind: unsigned,
			help: "Life of simple tokens, in seconds."},
	}
}

func laterDiscovery() []option {
	g := clusterGroup
	return []option{
		{name: "discovery-token", group: g,
			help: "Token of a cluster at a discovery service."},
		{name: "discovery-endpoints", group: g, help: "Addresses of a discovery service."},
		{name: "discovery-dial-timeout", group: g, def: "2s", kind: duration,
			help: "Time to connect to the discovery service."},
		{name: "discovery-request-timeout", group: g, def: "5s", kind: duration,
			help: "Time for one request to the discovery service."},
		{name: "discovery-keepalive-time", group: g, def: "2s", kind: duration,
			help: "Time between pings of the discovery service."},
		{name: "discovery-keepalive-timeout", group: g, def: "6s", kind: duration,
			help: "Time to wait for the answer to a ping."},
		{name: "discovery-insecure-transport", group: g, def: "true", kind: boolean,
			help: "Talk to the discovery service without TLS."},
		{name: "discovery-insecure-skip-tls-verify", group: g, def: "false", kind: boolean,
			help: "Do not check the discovery service's certificate."},
		{name: "discovery-cert", group: g, help: "Certificate for the discovery service."},
		{name: "discovery-key", group: g, help: "Key for the discovery service."},
		{name: "discovery-cacert", group: g, help: "Authorities of the discovery service."},
		{name: "discovery-user", group: g, secret: true, help: "User at the discovery service."},
		{name: "discovery-password", group: g, secret: true,
			help: "Password at the discovery service."},
		{name: "discovery-fallback", group: g, def: "exit", valid: []string{"exit", "proxy"},
			help: "What to do when discovery fails: exit."},
		{name: "discovery-srv", group: g, help: "DNS domain whose SRV records name the members."},
		{name: "discovery-srv-name", group: g, help: "Suffix of the SRV service name."},
		{name: "pre-vote", group: g, def: "true", kind: boolean,
			help: "Ask before standing for election (always done here)."},
	}
}

func laterRest() []option {
	return []option{
		{name: "max-snapshots", group: memberGroup, def: "5", kind: unsigned,
			deprec: "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
			help:   "Snapshot files to keep."},
		{name: "max-wals", group: memberGroup, def: "5", kind: unsigned,
			help: "Log files to keep."},
		{name: "memory-mlock", group: memberGroup, def: "false", kind: boolean,
			help: "Keep the data in memory."},
		{name: "backend-bbolt-freelist-type", group: memberGroup, def: "map",
			help: "Free list of etcd's database file; there is none here."},
		{name: "backend-batch-interval", group: memberGroup, def: "0s", kind: duration,
			help: "Commit interval of etcd's database file; there is none here."},
		{name: "backend-batch-limit", group: memberGroup, def: "0", kind: signed,
			help: "Commit batch of etcd's database file; there is none here."},
		{name: "enable-grpc-gateway", group: memberGroup, def: "true", kind: boolean,
			help: "Serve the JSON gateway."},
		{name: "v2-deprecation", group: clusterGroup, def: "write-only",
			valid: []string{"write-only", "write-only-skip-check", "write-only-drop-data", "gone"},
			deprec: "--v2-deprecation is deprecated and scheduled for removal in v3.8. The " +
				"default value is enforced, ignoring user input.",
			help: "Stage of the removal of etcd's v2 store."},
		{name: "enable-distributed-tracing", group: tracingGroup, def: "false", kind: boolean,
			example: "false", help: "Send traces to a collector."},
		{name: "distributed-tracing-address", group: tracingGroup, def: "localhost:4317",
			help: "Address of the collector."},
		{name: "distributed-tracing-service-name", group: tracingGroup, def: "etcd",
			help: "Name of the service in traces."},
		{name: "distributed-tracing-instance-id", group: tracingGroup,
			help: "Name of this member in traces."},
		{name: "distributed-tracing-sampling-rate", group: tracingGroup, def: "0", kind: signed,
			help: "Traces sent of a million."},
		{name: "bootstrap-defrag-threshold-megabytes", group: featureGroup, def: "0",
			kind: unsigned, help: "Defragment at the start if it frees this many MB."},
		{name: "downgrade-check-time", group: featureGroup, def: "5s", kind: duration,
			help: "Time between looks at a downgrade."},
	}
}
