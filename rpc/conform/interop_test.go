package conform

import (
	"context"
	"fmt"
	"os"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// TestMain takes over gRPC's log: the interoperability cases tell failures through it.
func TestMain(m *testing.M) {
	grpclog.SetLoggerV2(fatalLog{})
	os.Exit(m.Run())
}

// fatalLog drops what it is told, but panics where the process would end.
type fatalLog struct{}

// verdict is what a case ends with that fails.
type verdict string

func (fatalLog) Info(...any)                   {}
func (fatalLog) Infoln(...any)                 {}
func (fatalLog) Infof(string, ...any)          {}
func (fatalLog) Warning(...any)                {}
func (fatalLog) Warningln(...any)              {}
func (fatalLog) Warningf(string, ...any)       {}
func (fatalLog) Error(...any)                  {}
func (fatalLog) Errorln(...any)                {}
func (fatalLog) Errorf(string, ...any)         {}
func (fatalLog) Fatal(args ...any)             { panic(verdict(fmt.Sprint(args...))) }
func (fatalLog) Fatalln(args ...any)           { panic(verdict(fmt.Sprint(args...))) }
func (fatalLog) Fatalf(f string, args ...any)  { panic(verdict(fmt.Sprintf(f, args...))) }
func (fatalLog) FatalDepth(_ int, args ...any) { panic(verdict(fmt.Sprint(args...))) }
func (fatalLog) V(int) bool                    { return false }
func (fatalLog) InfoDepth(int, ...any)         {}
func (fatalLog) WarningDepth(_ int, _ ...any)  {}
func (fatalLog) ErrorDepth(_ int, _ ...any)    {}

// interopCases are all of interop's that need nothing but the two ends.
var interopCases = []struct {
	name string
	run  func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)
}{
	{"empty unary", interop.DoEmptyUnaryCall},
	{"large unary", interop.DoLargeUnaryCall},
	{"client streaming", interop.DoClientStreaming},
	{"server streaming", interop.DoServerStreaming},
	{"ping pong", interop.DoPingPong},
	{"empty stream", interop.DoEmptyStream},
	{"timeout on sleeping server", interop.DoTimeoutOnSleepingServer},
	{"cancel after begin", interop.DoCancelAfterBegin},
	{"cancel after first response", interop.DoCancelAfterFirstResponse},
	{"custom metadata", interop.DoCustomMetadata},
	{"status code and message", interop.DoStatusCodeAndMessage},
	{"special status message", interop.DoSpecialStatusMessage},
}

// TestInterop runs gRPC's interoperability cases, each plain, over TLS, and compressed.
func TestInterop(t *testing.T) {
	each(t, func(t *testing.T, k kind) {
		for _, secure := range []bool{false, true} {
			t.Run(map[bool]string{false: "plain", true: "tls"}[secure], func(t *testing.T) {
				r := startWith(t, k, options{secure: secure}, func(s grpc.ServiceRegistrar) {
					testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
				})
				conn := r.dial()
				client := testgrpc.NewTestServiceClient(conn)
				for _, c := range interopCases {
					judge(t, c.name, func() { c.run(r.within(), client) })
					judge(t, c.name+" compressed", func() {
						c.run(r.within(), client, grpc.UseCompressor(gzip.Name))
					})
				}
				judge(t, "unimplemented method", func() {
					interop.DoUnimplementedMethod(r.within(), conn)
				})
				judge(t, "unimplemented service", func() {
					interop.DoUnimplementedService(r.within(),
						testgrpc.NewUnimplementedServiceClient(conn))
				})
			})
		}
	})
}

// judge runs a case and tells its verdict.
func judge(t *testing.T, name string, run func()) {
	t.Run(name, func(t *testing.T) {
		defer func() {
			switch v := recover().(type) {
			case nil:
			case verdict:
				t.Error(v)
			default:
				panic(v)
			}
		}()
		run()
	})
}
