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

// headers are a request's.
type headers interface {
	// Header is the first value of a header, "" if there is none.
	Header(name string) string
}

// admit looks at what the client says of itself: its version, and whether it wants to be refused
// when there is no leader. kind is "unary" or "stream".
func (d *Door) admit(h headers, kind string) (wantsLeader bool, err error) {
	version := h.Header(metaClientVersion)
	if version == "" {
		version = unknownVersion
	}
	if !utf8.ValidString(version) {
		return false, cairn.ErrInvalidClientAPI
	}
	d.opts.Hooks.ClientRequest(kind, version)
	if h.Header(metaRequireLeader) != metaHasLeader {
		return false, nil
	}
	if d.backend.Leader() == 0 {
		return true, cairn.ErrNoLeader
	}
	return true, nil
}

// metadataOf is the headers of a call that has a context.
type metadataOf struct{ ctx context.Context }

func (m metadataOf) Header(name string) string {
	if vs := metadata.ValueFromIncomingContext(m.ctx, name); len(vs) > 0 {
		return vs[0]
	}
	return ""
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
