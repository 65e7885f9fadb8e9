// Package ops is the door for those who run the server: health, version, metrics, debugging. It
// serves HTTP beside gRPC on the client port, and a part of it on the metrics port.
//
//	/health              alarms, leader and one read; JSON, 200 or 503
//	/livez, /readyz      named checks, also one by one (/readyz/linearizable_read)
//	/version             which etcd we are compatible with, and which Cairn this is
//	/metrics             Prometheus text under etcd's names ([Metrics])
//	/debug/vars          command line, memory, raft as one JSON object
//	/debug/pprof/...     profiles, with --enable-pprof
//
// Paths, methods, bodies and codes are those of etcd 3.7 (server/etcdserver/api/etcdhttp,
// embed/serve.go).
// What the door needs of the server it declares itself: [Backend].
package ops

import (
	"context"

	"github.com/cairnkv/cairn"
)

// Backend is what the door asks the server. Methods are called by many goroutines at once.
type Backend interface {
	// Alarms lists the alarms that are raised.
	Alarms() []Alarm
	// Leader is the leader that this member knows of; 0 is none.
	Leader() cairn.MemberID
	// IsLearner says whether this member only listens.
	IsLearner() bool
	// Read does a read of at most one key, as a client's Range: serializable from this member
	// alone, else linearizable. The error is what a client would be told.
	Read(ctx context.Context, serializable bool) error
	// ClusterVersion and StorageVersion are "3.7.0", or "" while they are not decided.
	ClusterVersion() string
	StorageVersion() string
	// RaftStatus is shown in /debug/vars as raft.status, encoded as JSON: a [RaftStatus].
	RaftStatus() any
}

// Alarm is one alarm of one member.
type Alarm struct {
	Member cairn.MemberID
	Type   string // as in the API: "NOSPACE", "CORRUPT"
}

// The types of alarms.
const (
	alarmNoSpace = "NOSPACE"
	alarmCorrupt = "CORRUPT"
)
