package config

// peerOptions are the options about other members that have an effect.
func peerOptions() []option {
	return append(peerTLSOptions(), []option{
		{name: "raft-read-timeout", group: memberGroup, def: "5s", file: "-",
			help:  "Silence after which a connection between members is closed (duration, >= 5s).",
			field: func(c *Config) any { return &c.RaftReadTimeout }},
		{name: "raft-write-timeout", group: memberGroup, def: "5s", file: "-",
			help:  "Time for one write to a connection between members (duration, >= 5s).",
			field: func(c *Config) any { return &c.RaftWriteTimeout }},
		{name: "strict-reconfig-check", group: clusterGroup, def: "true",
			help:  "Refuse member changes that would lose the quorum.",
			field: func(c *Config) any { return &c.StrictReconfig }},
		{name: "max-learners", group: featureGroup, def: "1",
			help:  "Learners that the cluster may have.",
			field: func(c *Config) any { return &c.MaxLearners }},
	}...)
}

func peerTLSOptions() []option {
	const section = "peer-transport-security."
	g := securityGroup
	return []option{
		{name: "auto-tls", group: g, def: "false", file: "client-transport-security.auto-tls",
			help: "Make a certificate for https client URLs, in fixtures/client of the data " +
				"directory.",
			field: func(c *Config) any { return &c.ClientTLS.Auto }},
		{name: "peer-auto-tls", group: g, def: "false", file: section + "auto-tls",
			help: "Make a certificate for https peer URLs, in fixtures/peer of the data " +
				"directory. Members then do not check each other's.",
			field: func(c *Config) any { return &c.PeerTLS.Auto }},
		{name: "self-signed-cert-validity", group: g, def: "1",
			help:  "Validity of certificates that are made, in years.",
			field: func(c *Config) any { return &c.SelfSignedYears }},
		{name: "peer-cert-file", group: g, example: "peer.crt", file: section + "cert-file",
			help:  "Certificate for other members (PEM); read at each handshake.",
			field: func(c *Config) any { return &c.PeerTLS.CertFile }},
		{name: "peer-key-file", group: g, example: "peer.key", file: section + "key-file",
			help:  "Key of the certificate for other members (PEM).",
			field: func(c *Config) any { return &c.PeerTLS.KeyFile }},
		{name: "peer-client-cert-file", group: g, file: section + "client-cert-file",
			help:  "Certificate that this member shows when it dials others, if it is another one.",
			field: func(c *Config) any { return &c.PeerTLS.ClientCertFile }},
		{name: "peer-client-key-file", group: g, file: section + "client-key-file",
			help:  "Key of that certificate.",
			field: func(c *Config) any { return &c.PeerTLS.ClientKeyFile }},
		{name: "peer-trusted-ca-file", group: g, example: "ca.crt",
			file: section + "trusted-ca-file",
			help: "Authorities that sign certificates of members (PEM); demands a certificate " +
				"of members that dial.",
			field: func(c *Config) any { return &c.PeerTLS.TrustedCAFile }},
		{name: "peer-client-cert-auth", group: g, def: "false", file: section + "client-cert-auth",
			help:  "Demand certificates of other members.",
			field: func(c *Config) any { return &c.PeerTLS.ClientCertAuth }},
		{name: "peer-crl-file", group: g,
			help:  "Revoked certificates of members (DER); read at each connection.",
			field: func(c *Config) any { return &c.PeerTLS.CRLFile }},
		{name: "peer-cert-allowed-cn", group: g, file: section + "allowed-cn",
			help:  "Common names of which a member's certificate must have one.",
			field: func(c *Config) any { return &c.PeerTLS.AllowedCNs }},
		{name: "peer-cert-allowed-hostname", group: g, file: section + "allowed-hostname",
			help:  "Host names of which a member's certificate must have one.",
			field: func(c *Config) any { return &c.PeerTLS.AllowedHostnames }},
		{name: "peer-skip-client-san-verification", group: g, def: "false",
			file:  section + "skip-client-san-verification",
			help:  "Do not compare the address of a member that dials with its certificate.",
			field: func(c *Config) any { return &c.PeerTLS.SkipClientSAN }},
	}
}
