package v3

import (
	"context"
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"

	"github.com/cairnkv/cairn"
)

// Metadata that clients send (etcd api/v3rpc/rpctypes/metadatafields.go).
const (
	metaRequireLeader = "hasleader"
	metaHasLeader     = "true"
	metaClientVersion = "client-api-version"
	unknownVersion    = "unknown"
)

// admit looks at what the client says of itself: its version, and whether it wants to be refused
// when there is no leader. kind is "unary" or "stream".
func (d *Door) admit(ctx context.Context, kind string) (wantsLeader bool, err error) {
	version := unknownVersion
	if vs := metadata.ValueFromIncomingContext(ctx, metaClientVersion); len(vs) > 0 {
		version = vs[0]
	}
	if !utf8.ValidString(version) {
		return false, cairn.ErrInvalidClientAPI
	}
	d.opts.Hooks.ClientRequest(kind, version)
	vs := metadata.ValueFromIncomingContext(ctx, metaRequireLeader)
	if len(vs) == 0 || vs[0] != metaHasLeader {
		return false, nil
	}
	if d.backend.Leader() == 0 {
		return true, cairn.ErrNoLeader
	}
	return true, nil
}

// admitLearner refuses what a learner does not answer: all but its status, serializable ranges and
// snapshots (etcd v3rpc/interceptor.go). c is nil for a stream.
func (d *Door) admitLearner(m *Method, c *call) error {
	if !d.backend.Learner() {
		return nil
	}
	switch m.Name {
	case "Status", "Snapshot":
		if m.Service == pb.Maintenance_ServiceDesc.ServiceName {
			return nil
		}
	case "Range":
		if c != nil && c.rng.Serializable {
			return nil
		}
	}
	return cairn.ErrNotForLearner
}
