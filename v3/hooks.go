package v3

import (
	"time"

	"google.golang.org/grpc/codes"
)

// MethodKind is how many messages go each way, in the words of the gRPC metrics' label grpc_type.
type MethodKind string

// The kinds of methods that the API has.
const (
	Unary        MethodKind = "unary"
	ServerStream MethodKind = "server_stream"
	BidiStream   MethodKind = "bidi_stream"
)

// Method is one RPC. Its address stays the same as long as the door lives.
type Method struct {
	Index   int    // position in Door.Methods
	Service string // "etcdserverpb.KV"
	Name    string // "Range"
	Kind    MethodKind
}

// FullName is the path that the client asks for.
func (m *Method) FullName() string { return "/" + m.Service + "/" + m.Name }

// Hooks are told what happens, for metrics and logs. Any of them may be nil. They are called on
// the handlers' goroutines, many at once, and must be quick.
type Hooks struct {
	// Started and Handled surround every RPC (grpc_server_started_total, grpc_server_handled_total
	// and the latency). A request whose bytes are no protobuf is not counted, as in etcd.
	Started func(m *Method)
	Handled func(m *Method, code codes.Code, took time.Duration)
	// Received and Sent count messages (grpc_server_msg_received_total, ..._sent_total).
	Received, Sent func(m *Method)
	// ReceivedBytes and SentBytes count payloads (etcd_network_client_grpc_*_bytes_total).
	ReceivedBytes, SentBytes func(n int)
	// ClientRequest counts RPCs by kind ("unary" or "stream") and by the version that the client
	// says it speaks, or "unknown" (etcd_server_client_requests_total).
	ClientRequest func(kind, version string)
	// StreamFailed counts streams that broke without the client's will, by direction ("receive"
	// or "send") and API ("watch", "lease-keepalive") (etcd_network_server_stream_failures_total).
	StreamFailed func(direction, api string)
}

// filled returns h with a function in every place.
func (h Hooks) filled() Hooks {
	if h.Started == nil {
		h.Started = func(*Method) {}
	}
	if h.Handled == nil {
		h.Handled = func(*Method, codes.Code, time.Duration) {}
	}
	if h.Received == nil {
		h.Received = func(*Method) {}
	}
	if h.Sent == nil {
		h.Sent = func(*Method) {}
	}
	if h.ReceivedBytes == nil {
		h.ReceivedBytes = func(int) {}
	}
	if h.SentBytes == nil {
		h.SentBytes = func(int) {}
	}
	if h.ClientRequest == nil {
		h.ClientRequest = func(string, string) {}
	}
	if h.StreamFailed == nil {
		h.StreamFailed = func(string, string) {}
	}
	return h
}
