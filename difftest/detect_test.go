package difftest

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// detectOps is how many random operations a fault gets to be noticed.
	detectOps = 700

	// shrunkOps is how short the script must become that shows a fault of a single operation.
	shrunkOps = 6
)

// fault changes what side B's client receives. It returns whether to deliver the response.
type fault func(m any, err error) (deliver bool, changed error)

// faults are lies that a run must notice: one for each kind of thing that is compared.
func faults() map[string]fault {
	respond := func(f func(any)) fault {
		return func(m any, err error) (bool, error) {
			if err == nil {
				f(m)
			}
			return true, err
		}
	}
	return map[string]fault{
		"range count": respond(func(m any) {
			if r, ok := m.(*pb.RangeResponse); ok && r.Count > 3 {
				r.Count++
			}
		}),
		"range value": respond(func(m any) {
			if r, ok := m.(*pb.RangeResponse); ok && len(r.Kvs) > 2 && len(r.Kvs[1].Value) > 0 {
				r.Kvs[1].Value[0] ^= 1
			}
		}),
		"streamed range order": respond(func(m any) {
			if r, ok := m.(*pb.RangeStreamResponse); ok && len(r.RangeResponse.Kvs) > 1 {
				kvs := r.RangeResponse.Kvs
				kvs[0], kvs[1] = kvs[1], kvs[0]
			}
		}),
		"txn revision": respond(func(m any) {
			if r, ok := m.(*pb.TxnResponse); ok && len(r.Responses) > 2 {
				r.Header.Revision++
			}
		}),
		"previous value": respond(func(m any) {
			if r, ok := m.(*pb.PutResponse); ok && r.PrevKv != nil {
				r.PrevKv.Version++
			}
		}),
		"lease ttl": respond(func(m any) {
			if r, ok := m.(*pb.LeaseKeepAliveResponse); ok && r.TTL > 0 {
				r.TTL--
			}
		}),
		"hash": respond(func(m any) {
			if r, ok := m.(*pb.HashKVResponse); ok && r.HashRevision > 50 {
				r.Hash++
			}
		}),
		"foreign id": respond(func(m any) {
			if r, ok := m.(*pb.DeleteRangeResponse); ok {
				r.Header.ClusterId++
			}
		}),
		"error text": func(_ any, err error) (bool, error) {
			if status.Code(err) == codes.OutOfRange {
				return true, status.Error(codes.OutOfRange, "compacted")
			}
			return true, err
		},
		"error code": func(_ any, err error) (bool, error) {
			if status.Code(err) == codes.NotFound {
				return true, status.Error(codes.Unknown, status.Convert(err).Message())
			}
			return true, err
		},
	}
}

// watchFaults are like faults, for the events of watches.
func watchFaults() map[string]fault {
	events := func(f func(*pb.WatchResponse) bool) fault {
		var n atomic.Int64 // of all streams
		return func(m any, err error) (bool, error) {
			r, ok := m.(*pb.WatchResponse)
			if err != nil || !ok || len(r.Events) == 0 || r.WatchId >= probeID {
				return true, err
			}
			return n.Add(1)%50 != 0 || f(r), err
		}
	}
	return map[string]fault{
		"event lost": events(func(*pb.WatchResponse) bool { return false }),
		"event twice": events(func(r *pb.WatchResponse) bool {
			r.Events = append(r.Events, r.Events[len(r.Events)-1])
			return true
		}),
		"event of a wrong kind": events(func(r *pb.WatchResponse) bool {
			r.Events[0].Type = 1 - r.Events[0].Type
			return true
		}),
		"previous value of an event": events(func(r *pb.WatchResponse) bool {
			r.Events[0].PrevKv = r.Events[0].Kv
			return true
		}),
		"revision of a watch header": events(func(r *pb.WatchResponse) bool {
			r.Header.Revision++
			return true
		}),
		"events in a wrong order": events(func(r *pb.WatchResponse) bool {
			r.Events = append(r.Events, r.Events[0])
			r.Events[0].Kv.ModRevision++
			return true
		}),
		"compacted revision of a watch": func(m any, err error) (bool, error) {
			if r, ok := m.(*pb.WatchResponse); ok && err == nil && r.CompactRevision > 0 {
				r.CompactRevision--
			}
			return true, err
		},
		"refusal of a watch": func(m any, err error) (bool, error) {
			r, ok := m.(*pb.WatchResponse)
			return !ok || err != nil || r.CancelReason != "mvcc: duplicate watch ID provided on "+
				"the WatchStream", err
		},
	}
}

// TestDetect runs the reference against itself with a fault in between, for every fault: a checker
// that cannot fail is worth nothing.
func TestDetect(t *testing.T) {
	t.Parallel()
	program(t, *flagRef)
	program(t, Etcdutl)
	for _, list := range []map[string]fault{faults(), watchFaults()} {
		for name, f := range list {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				detect(t, f)
			})
		}
	}
}

// detect runs with one fault and demands that it is noticed.
func detect(t *testing.T, f fault) {
	t.Helper()
	_, err := Run(t.Context(), faulty(f), Generate(detectSeed, detectOps),
		filepath.Join(t.TempDir(), "run"))
	var d *Difference
	if !errors.As(err, &d) {
		t.Fatalf("the fault was not noticed; the run ended with %v", err)
	}
	t.Logf("noticed: %v", d)
}

// detectSeed is a seed whose script meets every fault.
const detectSeed = 3

// TestShrink cuts a script down that meets a fault and demands the shortest one.
func TestShrink(t *testing.T) {
	t.Parallel()
	program(t, *flagRef)
	pair := faulty(faults()["range count"])
	script := Generate(detectSeed, 70)
	_, err := Run(t.Context(), pair, script, filepath.Join(t.TempDir(), "run"))
	var d *Difference
	if !errors.As(err, &d) {
		t.Fatalf("the fault was not noticed; the run ended with %v", err)
	}
	short, d := Shrink(t.Context(), pair, script, d, t.TempDir(), t.Logf)
	if len(short.Ops) > shrunkOps {
		t.Errorf("shrunk to %d operations, not %d: %v", len(short.Ops), shrunkOps, short.Ops)
	}
	t.Logf("shrunk to %v, which shows %v", short.Ops, d)
}

// faulty returns a pair of two references with a fault on the way to side B's client.
func faulty(f fault) *Pair {
	unary := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
		invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		_, err := f(reply, invoke(ctx, method, req, reply, cc, opts...))
		return err
	}
	stream := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := streamer(ctx, desc, cc, method, opts...)
		return &faultyStream{ClientStream: s, f: f}, err
	}
	return &Pair{
		Tools: tools, Programs: [2]string{*flagRef, *flagRef}, StrictWatch: true,
		Options: [2][]grpc.DialOption{1: {
			grpc.WithUnaryInterceptor(unary), grpc.WithStreamInterceptor(stream),
		}},
	}
}

// faultyStream passes what it receives through a fault.
type faultyStream struct {
	grpc.ClientStream
	f fault
}

// RecvMsg receives the next message that the fault lets pass.
func (s *faultyStream) RecvMsg(m any) error {
	for {
		deliver, err := s.f(m, s.ClientStream.RecvMsg(m))
		if deliver || err != nil {
			return err
		}
	}
}
