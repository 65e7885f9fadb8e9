package v3

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
)

// Limits that etcd has by default.
const (
	DefaultMaxRequestBytes = 1536 * 1024
	DefaultMaxTxnOps       = 128
	// DefaultRequestTimeout is 5 s plus two election timeouts of 1 s.
	DefaultRequestTimeout = 7 * time.Second
	// DefaultMinLeaseTTL is one and a half election timeouts in seconds, rounded up.
	DefaultMinLeaseTTL = 2

	// overheadBytes is what a message may have over MaxRequestBytes.
	overheadBytes = 512 * 1024
	// maxSendBytes bounds a response.
	maxSendBytes = math.MaxInt32
)

// Options of a door. Zero values mean etcd's defaults.
type Options struct {
	MaxRequestBytes      int           // of a proposal
	MaxTxnOps            int           // of each branch of a transaction
	MaxConcurrentStreams uint32        // of one connection; 0: no limit
	RequestTimeout       time.Duration // until a request is answered with a timeout
	MinLeaseTTL          int64         // seconds; shorter ones are lengthened to it

	// NewLeaseID makes the id of a lease whose client did not choose one; positive. Nil: random.
	NewLeaseID func() cairn.LeaseID

	Clock clock.Clock  // nil: the machine's
	Log   *slog.Logger // nil: nothing is logged
	Hooks Hooks
}

func (o Options) filled() Options {
	if o.MaxRequestBytes == 0 {
		o.MaxRequestBytes = DefaultMaxRequestBytes
	}
	if o.MaxTxnOps == 0 {
		o.MaxTxnOps = DefaultMaxTxnOps
	}
	if o.MaxConcurrentStreams == 0 {
		o.MaxConcurrentStreams = math.MaxUint32
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = DefaultRequestTimeout
	}
	if o.MinLeaseTTL == 0 {
		o.MinLeaseTTL = DefaultMinLeaseTTL
	}
	if o.NewLeaseID == nil {
		o.NewLeaseID = func() cairn.LeaseID { return 1 + rand.Int64N(math.MaxInt64) }
	}
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Hooks = o.Hooks.filled()
	return o
}

// Door serves the API from a backend. Its methods are safe for concurrent use.
type Door struct {
	backend  Backend
	opts     Options
	codec    *codec
	services []*service
	methods  []*Method
	health   *health.Server
	calls    sync.Pool // of *call
	leader   leaderMonitor
}

// New makes a door. It fails only if the gRPC library lacks its protobuf codec.
func New(b Backend, opts Options) (*Door, error) {
	d := &Door{backend: b, opts: opts.filled(), health: health.NewServer()}
	var err error
	if d.codec, err = newCodec(&d.opts.Hooks); err != nil {
		return nil, err
	}
	d.leader.streams = make(map[*stream]context.CancelCauseFunc)
	d.addServices()
	d.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	return d, nil
}

// ServerOptions are what a grpc.Server needs for this door: the codec that leaves hot messages
// alone, and the limits.
func (d *Door) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(d.codec),
		grpc.MaxRecvMsgSize(d.opts.MaxRequestBytes + overheadBytes),
		grpc.MaxSendMsgSize(maxSendBytes),
		grpc.MaxConcurrentStreams(d.opts.MaxConcurrentStreams),
	}
}

// Register adds the services to s, which must have been made with ServerOptions.
func (d *Door) Register(s grpc.ServiceRegistrar) {
	for _, svc := range d.services {
		s.RegisterService(&svc.desc, d)
	}
}

// Methods lists every RPC of the door, those included that it answers with Unimplemented.
func (d *Door) Methods() []*Method { return d.methods }

// SetServing changes what grpc.health.v1 says; at first it says that the door serves.
func (d *Door) SetServing(ok bool) {
	s := healthpb.HealthCheckResponse_NOT_SERVING
	if ok {
		s = healthpb.HealthCheckResponse_SERVING
	}
	d.health.SetServingStatus("", s)
}

// Tick must be called once per election timeout: it ends the streams of clients that want a leader
// when there has been none for maxLeaderless ticks.
func (d *Door) Tick() {
	d.leader.tick(d.backend.Leader() != 0)
}

// header is the current header as the responses of cold RPCs carry it.
func (d *Door) header() *responseHeader {
	h := d.backend.Header()
	return &responseHeader{
		ClusterId: h.ClusterID, MemberId: h.MemberID, Revision: h.Revision, RaftTerm: h.RaftTerm,
	}
}
