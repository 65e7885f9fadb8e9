package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	// readyLine is what a server logs when it serves clients.
	readyLine = "ready to serve client requests"

	// startTimeout bounds the wait for readyLine, stopTimeout that for the end of a process.
	startTimeout = 2 * time.Minute
	stopTimeout  = time.Minute

	// Ports come from below the range for outgoing connections: none of those must sit on the
	// server's port while the server is down.
	firstPort, lastPort = 11000, 31000
	portAttempts        = 200

	// tailBytes is how much of the log an error shows.
	tailBytes = 4 << 10

	// Clients try again quickly: the server is back within a moment.
	dialTimeout         = 10 * time.Second
	firstWait, longWait = 10 * time.Millisecond, 200 * time.Millisecond
)

// Server is a server process that can be ended and started again on the same ports and data. Its
// methods must not be called at the same time, but clients may come from anywhere.
type Server struct {
	program string
	dir     string
	client  int // port
	peer    int // port
	args    []string

	cmd  *exec.Cmd
	log  *logWriter
	done chan struct{} // closed when the process has ended
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
	s := &Server{program: program, dir: dir, args: args}
	for _, port := range []*int{&s.client, &s.peer} {
		var err error
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Endpoint returns the address for clients.
func (s *Server) Endpoint() string { return fmt.Sprintf("127.0.0.1:%d", s.client) }

// DataDir returns the data directory.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// Start starts the process and returns when it serves clients.
func (s *Server) Start(ctx context.Context) error {
	path := filepath.Join(s.dir, "log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	clientURL, peerURL := "http://"+s.Endpoint(), fmt.Sprintf("http://127.0.0.1:%d", s.peer)
	s.log = &logWriter{file: file, ready: make(chan struct{})}
	s.cmd = exec.Command(s.program, append([]string{
		"--name=x", "--data-dir=" + s.DataDir(),
		"--listen-client-urls=" + clientURL, "--advertise-client-urls=" + clientURL,
		"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=x=" + peerURL,
	}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return errors.Join(err, file.Close())
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // the process state tells how it ended
		_ = file.Close()
		close(done)
	}(s.cmd, s.done)
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case <-s.log.ready:
		return nil
	case <-s.done:
		return fmt.Errorf("the server ended while starting: %v\n%s", s.cmd.ProcessState,
			s.log.tail())
	case <-timer.C:
		return fmt.Errorf("the server was not ready after %v\n%s", startTimeout, s.log.tail())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop sends the process a signal and waits for its end. A process that had ended by itself, or
// that outlives the signal, is an error.
func (s *Server) Stop(sig syscall.Signal) error {
	select {
	case <-s.done:
		return fmt.Errorf("the server had ended by itself: %v\n%s", s.cmd.ProcessState,
			s.log.tail())
	default:
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %v: %w", sig, err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-s.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("the server still runs %v after %v", stopTimeout, sig)
	}
}

// Close kills the process if it runs.
func (s *Server) Close() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended already
	<-s.done
}

// Client returns a client that comes back quickly after the server was away.
func (s *Server) Client() (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: []string{s.Endpoint()}, DialTimeout: dialTimeout,
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

// logWriter copies the server's output to a file and watches for the ready line.
type logWriter struct {
	mu    sync.Mutex // guards the fields below
	file  *os.File
	last  []byte
	seen  bool
	ready chan struct{} // closed when the line was seen
}

// Write is called by the process's output.
func (l *logWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = append(l.last, p...)
	if !l.seen && bytes.Contains(l.last, []byte(readyLine)) {
		l.seen = true
		close(l.ready)
	}
	if extra := len(l.last) - tailBytes; extra > tailBytes {
		l.last = append(l.last[:0], l.last[extra:]...)
	}
	return l.file.Write(p)
}

// tail returns the end of the log.
func (l *logWriter) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.last[max(0, len(l.last)-tailBytes):])
}

// freePort returns a loopback port on which nobody listens.
func freePort() (int, error) {
	for range portAttempts {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}
