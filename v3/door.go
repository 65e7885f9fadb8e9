package v3

import (
	"log/slog"
	"math"
	"math/rand/v2"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/rpc"
)

// Limits that etcd has by default.
const (
	DefaultMaxRequestBytes = 1536 * 1024
	DefaultMaxTxnOps       = 128
	// DefaultMinLeaseTTL is one and a half election timeouts in seconds, rounded up.
	DefaultMinLeaseTTL = 2

	// overheadBytes is what a message may have over MaxRequestBytes.
	overheadBytes = 512 * 1024
	// maxSendBytes bounds a response.
	maxSendBytes = math.MaxInt32
)

// Options of a door. Zero values mean etcd's defaults.
type Options struct {
	MaxRequestBytes int   // of a proposal
	MaxTxnOps       int   // of each branch of a transaction
	MinLeaseTTL     int64 // seconds; shorter ones are lengthened to it

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
	services []*service
	methods  []*Method
	health   *health.Server
	leader   leaderMonitor
}

// New makes a door.
func New(b Backend, opts Options) *Door {
	d := &Door{backend: b, opts: opts.filled(), health: health.NewServer()}
	d.leader.ends = make(map[any]func(error))
	d.addServices()
	d.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	return d
}

// MaxRecvBytes and MaxSendBytes are what the server of this door has to let through.
func (d *Door) MaxRecvBytes() int { return d.opts.MaxRequestBytes + overheadBytes }

// MaxSendBytes is the other direction.
func (d *Door) MaxSendBytes() int { return maxSendBytes }

// Register adds the services to s.
func (d *Door) Register(s *rpc.Server) {
	for _, svc := range d.services {
		for _, m := range svc.hot {
			s.Unary(m.Service, m.Name, func(r *rpc.Call) { d.handle(m, r) })
			if !m.reads {
				// It may still take effect (etcd parseProposeCtxErr).
				s.Late(m.Service, m.Name, status.Convert(statusOf(cairn.ErrTimeout)))
			}
		}
		for _, m := range svc.raw {
			s.Stream(m.Service, m.Name, func(st *rpc.Stream) (rpc.Receiver, error) {
				return d.open(m, st)
			})
		}
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
