package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	// Ports come from below the range for outgoing connections: none of those must sit on the
	// server's port while the server is down.
	firstPort, lastPort = 11000, 31000
	portAttempts        = 200

	// Clients try again quickly: the server is back within a moment.
	dialTimeout = 10 * time.Second
	// onlyOnce keeps the client library from sending a request again. It does that, even with puts,
	// when a server says that the request's time is over and the client's own clock does not: with
	// clocks that differ a put may be done twice, and no server can help it.
	onlyOnce            = 1
	firstWait, longWait = 10 * time.Millisecond, 200 * time.Millisecond
)

// Server is a member alone in its cluster, with ports and a data directory of its own. Its methods
// must not be called at the same time, but clients may come from anywhere.
type Server struct {
	*Process
	dir  string
	port int // for clients
}

// Build builds Cairn from the directory of this module's root into dir and returns its path.
func Build(ctx context.Context, root, dir string) (string, error) {
	path := filepath.Join(dir, "cairn")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", path, "./cmd/cairn")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cairn: %w\n%s", err, out)
	}
	return path, nil
}

// NewServer returns a server that is not started. Its data and log are under dir; args are flags
// besides the name, the addresses and the data directory.
func NewServer(program, dir string, args ...string) (*Server, error) {
	s := &Server{dir: dir}
	var peer int
	for _, port := range []*int{&s.port, &peer} {
		var err error
		if *port, err = FreePort(); err != nil {
			return nil, err
		}
	}
	clientURL, peerURL := "http://"+s.Endpoint(), fmt.Sprintf("http://127.0.0.1:%d", peer)
	s.Process = NewProcess(program, filepath.Join(dir, "log"), append([]string{
		"--name=x", "--data-dir=" + s.DataDir(),
		"--listen-client-urls=" + clientURL, "--advertise-client-urls=" + clientURL,
		"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=x=" + peerURL,
	}, args...)...)
	return s, nil
}

// Endpoint returns the address for clients.
func (s *Server) Endpoint() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// DataDir returns the data directory.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// Client returns a client that comes back quickly after the server was away.
func (s *Server) Client() (*clientv3.Client, error) { return Dial(s.Endpoint()) }

// Dial returns a client of some endpoints that comes back quickly after a server was away.
func Dial(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: dialTimeout, MaxUnaryRetries: onlyOnce,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: firstWait, MaxDelay: longWait,
				Multiplier: backoff.DefaultConfig.Multiplier,
			},
			MinConnectTimeout: dialTimeout,
		})},
	})
}

// DirSize returns the size of all files under a directory in bytes.
func DirSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		size += info.Size()
		return nil
	})
	return size, err
}

// ignoreGone drops the error of a file that the server removed while it was looked at.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// handedOut holds the ports that FreePort has returned: many are asked for before they are used.
var handedOut sync.Map

// FreePort returns a loopback port on which nobody listens now, each one once.
func FreePort() (int, error) {
	for range portAttempts {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if _, used := handedOut.LoadOrStore(port, true); used {
			_ = l.Close() // nothing was sent
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}
