package ops

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// maxCode is the last gRPC status code.
const maxCode = codes.Unauthenticated

// rpcVectors are the metrics of RPCs, under the names of go-grpc-prometheus.
type rpcVectors struct {
	started, received, sent, handled *prometheus.CounterVec
	seconds                          *prometheus.HistogramVec // nil unless extensive
}

func newRPCVectors(r *prometheus.Registry, extensive bool) rpcVectors {
	d := definer{r}
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	v := rpcVectors{
		started: d.counters("grpc_server_started_total",
			"Total number of RPCs started on the server.", labels...),
		received: d.counters("grpc_server_msg_received_total",
			"Total number of RPC stream messages received on the server.", labels...),
		sent: d.counters("grpc_server_msg_sent_total",
			"Total number of gRPC stream messages sent by the server.", labels...),
		handled: d.counters("grpc_server_handled_total", "Total number of RPCs completed on the "+
			"server, regardless of success or failure.", append(labels, "grpc_code")...),
	}
	if extensive {
		v.seconds = d.histograms("grpc_server_handling_seconds", "Histogram of response latency "+
			"(seconds) of gRPC that had been application-level handled by the server.",
			prometheus.DefBuckets, labels...)
	}
	return v
}

// RPC counts the calls of one method. Safe for concurrent use; nothing in it looks up a label.
type RPC struct {
	started, received, sent prometheus.Counter
	handled                 [maxCode + 1]prometheus.Counter
	seconds                 prometheus.Observer // nil: not kept
}

// RPC returns the counters of a method: service "etcdserverpb.KV", method "Range", kind "unary",
// "client_stream", "server_stream" or "bidi_stream". From then on /metrics shows the method with a
// 0 for each code, as etcd does from the start. Ask once for each method and keep the result.
func (m *Metrics) RPC(service, method, kind string) *RPC {
	v := &m.rpc
	r := &RPC{
		started:  v.started.WithLabelValues(kind, service, method),
		received: v.received.WithLabelValues(kind, service, method),
		sent:     v.sent.WithLabelValues(kind, service, method),
	}
	for code := range r.handled {
		name := codes.Code(code).String()
		r.handled[code] = v.handled.WithLabelValues(kind, service, method, name)
	}
	if v.seconds != nil {
		r.seconds = v.seconds.WithLabelValues(kind, service, method)
	}
	return r
}

// Started counts a call at its beginning.
func (r *RPC) Started() { r.started.Inc() }

// Received counts a message of the client.
func (r *RPC) Received() { r.received.Inc() }

// Sent counts a message to the client.
func (r *RPC) Sent() { r.sent.Inc() }

// Handled counts a call at its end, and how long it took.
func (r *RPC) Handled(code codes.Code, took time.Duration) {
	if code > maxCode {
		code = codes.Unknown
	}
	r.handled[code].Inc()
	if r.seconds != nil {
		r.seconds.Observe(took.Seconds())
	}
}
