package server

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/internal/version"
	"go.etcd.io/etcd/api/v3/membershippb"
)

// versionTick is how often the leader looks at the members' versions (etcd: 5 s).
const versionTick = 5 * time.Second

// tickVersion raises the cluster version to what all members run, while this member leads. It never
// lowers it: a member of an older version is refused by the streams between members.
func (s *Server) tickVersion(context.Context, time.Time) {
	if !s.node.Status().IsLeader {
		return
	}
	least := version.Etcd
	members := s.stores.machine.Members()
	for _, m := range members.List() {
		if m.ID == s.stores.machine.Local() {
			continue
		}
		v, known := s.cluster.transport.PeerVersion(m.ID)
		if !known {
			return // it may be an older one
		}
		if olderVersion(v, least) {
			least = v
		}
	}
	to := clusterVersion(least)
	if now := members.Version(); now != "" && !olderVersion(now, to) {
		return
	}
	s.logger.Info("updating cluster version", slog.String("from", members.Version()),
		slog.String("to", to))
	s.propose(command.ClusterVersion, &membershippb.ClusterVersionSetRequest{Ver: to})
}

// clusterVersion is major.minor.0 of a version.
func clusterVersion(v string) string {
	n := numbers(v)
	return fmt.Sprintf("%d.%d.0", n[0], n[1])
}

// olderVersion says whether a comes before b.
func olderVersion(a, b string) bool {
	x, y := numbers(a), numbers(b)
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

// numbers of a version "major.minor.patch"; what is missing or no number counts as 0.
func numbers(v string) (n [3]int) {
	v, _, _ = strings.Cut(v, "-")
	for i, part := range strings.SplitN(v, ".", len(n)) {
		if x, err := strconv.Atoi(part); err == nil {
			n[i] = x
		}
	}
	return n
}
