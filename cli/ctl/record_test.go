package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// recordTimeout bounds one command of etcdctl and the start of etcd.
const recordTimeout = 20 * time.Second

// recorder is a proxy before etcd that takes down what passes.
type recorder struct {
	addr    string
	backend *grpc.ClientConn

	mu    sync.Mutex // guards what follows
	calls []*call
	cut   int
	vars  vars
	errs  []error
	open  sync.WaitGroup
}

// record runs the commands of a transcript with the real etcdctl on a fresh etcd, and writes the
// file.
func record(t *testing.T, dir, path, comment string, list []*exchange) {
	r := startRecorder(t, dir)
	var b strings.Builder
	b.WriteString(comment)
	for _, x := range list {
		r.run(t, filepath.Join(dir, "etcdctl"), x)
		b.WriteString("\n")
		x.format(&b)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// startRecorder starts etcd and a proxy before it, until the test ends. Etcd advertises the proxy,
// and a peer URL that never changes, so that ids do not either.
func startRecorder(t *testing.T, dir string) *recorder {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{addr: lis.Addr().String()}
	client, peer := freeURL(t), freeURL(t)
	const advertised = "http://localhost:2380"
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(dir, "etcd"), "--data-dir", t.TempDir(),
		"--listen-client-urls", client, "--advertise-client-urls", "http://"+r.addr,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", advertised,
		"--initial-cluster", "default="+advertised, "--quota-backend-bytes", "16777216",
		"--strict-reconfig-check=false") // else members cannot be added at once
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("etcd: %s", &out)
		}
	})
	r.backend, err = grpc.NewClient(strings.TrimPrefix(client, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(r.proxy))
	go srv.Serve(lis) // ends with an error when stopped
	t.Cleanup(srv.Stop)
	return r
}

// freeURL returns a URL with a port that nobody listens on.
func freeURL(t *testing.T) string {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return "http://" + lis.Addr().String()
}

// mask gives the proxy its name in transcripts.
func (r *recorder) mask(s string) string { return strings.ReplaceAll(s, r.addr, fakeEndpoint) }

// run runs one command and takes down what came of it.
func (r *recorder) run(t *testing.T, program string, x *exchange) {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	r.mu.Lock()
	r.calls, r.cut, r.errs = nil, x.cut, nil
	v := r.vars
	r.mu.Unlock()
	cmd := exec.CommandContext(ctx, program, v.expand(x.args, r.addr)...)
	cmd.Env = x.environ(r.addr)
	cmd.Stdin = strings.NewReader(x.stdinText())
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", x.args, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%q did not end: %s", x.args, &stderr)
	}
	r.open.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.errs {
		t.Errorf("%q: %v", x.args, err)
	}
	x.calls = slices.DeleteFunc(r.calls, func(c *call) bool { return len(c.messages) == 0 })
	x.exit = cmd.ProcessState.ExitCode()
	x.stdout = took.ReplaceAllString(r.mask(stdout.String()), "${1}T")
	x.errors = errorLines(took.ReplaceAllString(r.mask(stderr.String()), "${1}T"))
}

// proxy passes one call through and takes it down.
func (r *recorder) proxy(_ any, in grpc.ServerStream) error {
	r.open.Add(1)
	defer r.open.Done()
	method, _ := grpc.MethodFromServerStream(in)
	c := &call{method: method}
	r.mu.Lock()
	r.calls = append(r.calls, c)
	r.mu.Unlock()
	err := r.pass(c, in)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch st := status.Convert(err); {
	case err == nil:
		c.end = "OK"
	case st.Code() == codes.Canceled:
		c.end = "canceled"
	default:
		c.end = fmt.Sprintf("%d %s", st.Code(), st.Message())
	}
	return err
}

// pass moves the messages of a call in both directions.
func (r *recorder) pass(c *call, in grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(in.Context())
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(in.Context(), md))
	defer cancel()
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	out, err := r.backend.NewStream(ctx, desc, c.method)
	if err != nil {
		return err
	}
	go func() {
		for {
			var b []byte
			if err := in.RecvMsg(&b); err != nil {
				if err == io.EOF {
					out.CloseSend()
				}
				return
			}
			r.note(c, true, b)
			out.SendMsg(&b) // a failure shows in the answer
		}
	}()
	for answers := 0; ; {
		var b []byte
		if err := out.RecvMsg(&b); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		r.note(c, false, b)
		if err := in.SendMsg(&b); err != nil {
			return err
		}
		if answers++; r.cut > 0 && answers == r.cut {
			return r.cancelWatch(c, in)
		}
	}
}

// cancelWatch ends a watch as a server does that has compacted what is to come: by an answer that
// the client puts behind the events before it. (For any other reason it would drop those.)
func (r *recorder) cancelWatch(c *call, in grpc.ServerStream) error {
	b, err := proto.Marshal(&etcdserverpb.WatchResponse{Canceled: true, CompactRevision: 1})
	if err != nil {
		return err
	}
	r.note(c, false, b)
	if err := in.SendMsg(&b); err != nil {
		return err
	}
	<-in.Context().Done()
	return status.FromContextError(in.Context().Err()).Err()
}

// note takes down one message.
func (r *recorder) note(c *call, request bool, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, err := r.decode(c.method, request, b)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", c.method, err))
	}
	c.messages = append(c.messages, message{request: request, text: r.mask(text)})
}

// decode writes a message in JSON, and learns from answers.
func (r *recorder) decode(method string, request bool, b []byte) (string, error) {
	in, out, err := messageTypes(method)
	if err != nil {
		return "", err
	}
	m := out.New()
	if request {
		m = in.New()
	}
	if err := proto.Unmarshal(b, m.Interface()); err != nil {
		return "", err
	}
	if !request {
		r.vars.learn(m)
	}
	return encodeJSON(m.Interface())
}
