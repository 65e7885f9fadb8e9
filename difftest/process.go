package difftest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// readyLine is what etcd logs when it serves clients; tools wait for it, so Cairn logs it too.
	readyLine = "ready to serve client requests"

	// startTimeout bounds the wait for readyLine, stopTimeout that for the end of a process.
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second

	// Ports come from below the range that systems hand out for outgoing connections, so that no
	// connection sits on a server's port while the server is down.
	firstPort, lastPort = 11000, 31000
	portAttempts        = 200

	// logTail is how much of a server's log an error shows.
	logTail = 4 << 10
)

// Config is what a server is started with besides its addresses and its directory.
type Config struct {
	Members         int // that found the cluster; 0 is one
	MaxTxnOps       int // --max-txn-ops; 0 leaves the default
	MaxRequestBytes int // --max-request-bytes; 0 leaves the default
	DefaultTiming   bool
	Extra           []string
}

// args returns the flags for the Config. Without DefaultTiming the election timeout is a tenth of
// etcd's, so that a lone member leads at once.
func (c Config) args() []string {
	var args []string
	if c.MaxTxnOps != 0 {
		args = append(args, "--max-txn-ops="+strconv.Itoa(c.MaxTxnOps))
	}
	if c.MaxRequestBytes != 0 {
		args = append(args, "--max-request-bytes="+strconv.Itoa(c.MaxRequestBytes))
	}
	if !c.DefaultTiming {
		args = append(args, "--heartbeat-interval=10", "--election-timeout=100")
	}
	return append(args, c.Extra...)
}

// Server is one process of a server with its data directory. It can be stopped and started again
// on the same ports and data. Its methods must not be called at the same time.
type Server struct {
	Program    string // path of the binary
	Dir        string // holds data/ and the log
	ClientPort int
	PeerPort   int
	Config     Config

	Number  int      // in its cluster, from 1 on; 0: it is alone
	Prefix  []string // before the program on its command line: taskset with its arguments
	Initial string   // value of --initial-cluster; "": it is alone
	Joins   bool     // the cluster exists already

	cmd  *exec.Cmd
	log  *serverLog
	done chan struct{} // closed when the process has ended
}

// NewServer returns a Server that is not started yet, with free loopback ports.
func NewServer(program, dir string, cfg Config) (*Server, error) {
	client, err := freePort()
	if err != nil {
		return nil, err
	}
	peer, err := freePort()
	if err != nil {
		return nil, err
	}
	return &Server{Program: program, Dir: dir, ClientPort: client, PeerPort: peer, Config: cfg}, nil
}

// Endpoint returns the host and port that clients connect to.
func (s *Server) Endpoint() string { return fmt.Sprintf("127.0.0.1:%d", s.ClientPort) }

// ClientURL and PeerURL return the addresses that the server advertises.
func (s *Server) ClientURL() string { return "http://" + s.Endpoint() }

// PeerURL is like ClientURL.
func (s *Server) PeerURL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.PeerPort) }

// Name returns the member's name.
func (s *Server) Name() string {
	if s.Number == 0 {
		return "x"
	}
	return fmt.Sprintf("m%d", s.Number)
}

// DataDir returns the server's data directory.
func (s *Server) DataDir() string { return filepath.Join(s.Dir, "data") }

// LogPath returns the file with everything that the server has printed.
func (s *Server) LogPath() string { return filepath.Join(s.Dir, "log") }

// Start starts the process and returns when it serves clients.
func (s *Server) Start(ctx context.Context) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(s.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	args := append([]string{
		"--name=" + s.Name(), "--data-dir=" + s.DataDir(),
		"--listen-client-urls=" + s.ClientURL(), "--advertise-client-urls=" + s.ClientURL(),
		"--listen-peer-urls=" + s.PeerURL(), "--initial-advertise-peer-urls=" + s.PeerURL(),
		"--initial-cluster=" + cmp.Or(s.Initial, s.Name()+"="+s.PeerURL()),
	}, s.Config.args()...)
	if s.Joins {
		args = append(args, "--initial-cluster-state=existing")
	}
	s.log = &serverLog{file: file, ready: make(chan struct{})}
	line := slices.Concat(s.Prefix, []string{s.Program}, args)
	s.cmd = exec.Command(line[0], line[1:]...)
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
		return fmt.Errorf("%s ended while starting: %v\n%s", s.Program, s.cmd.ProcessState,
			s.log.tail())
	case <-timer.C:
		return fmt.Errorf("%s did not print %q within %v\n%s", s.Program, readyLine,
			startTimeout, s.log.tail())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop sends the process a signal, waits for its end and returns how it ended, as a text like
// "signal: terminated" or "exit status 0". A server that does not run is left alone.
func (s *Server) Stop(sig syscall.Signal) (string, error) {
	if s.cmd == nil {
		return "", nil
	}
	select {
	case <-s.done:
		end := s.cmd.ProcessState.String()
		s.cmd = nil
		return end, fmt.Errorf("%s had ended by itself: %s\n%s", s.Program, end, s.log.tail())
	default:
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		return "", fmt.Errorf("send %v to %s: %w", sig, s.Program, err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-s.done:
		end := s.cmd.ProcessState.String()
		s.cmd = nil
		return end, nil
	case <-timer.C:
		err := fmt.Errorf("%s still runs %v after %v\n%s", s.Program, stopTimeout, sig,
			s.log.tail())
		return "", errors.Join(err, s.cmd.Process.Kill())
	}
}

// Await waits until the process ends by itself and returns how it ended.
func (s *Server) Await() (string, error) {
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-s.done:
		end := s.cmd.ProcessState.String()
		s.cmd = nil
		return end, nil
	case <-timer.C:
		return "", fmt.Errorf("%s still runs after %v\n%s", s.Program, stopTimeout, s.log.tail())
	}
}

// Kill ends the process, if it runs, and waits for its end.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended already
	<-s.done
	s.cmd = nil
}

// Pid returns the process id of the running server.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// serverLog copies a server's output to a file and watches for the line that says it is ready.
type serverLog struct {
	mu    sync.Mutex // guards all fields below
	file  *os.File
	last  []byte // the last logTail bytes or so
	seen  bool
	ready chan struct{} // closed when the line was seen
}

// Write is called by the process's output.
func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = append(l.last, p...)
	if !l.seen && bytes.Contains(l.last, []byte(readyLine)) {
		l.seen = true
		close(l.ready)
	}
	if extra := len(l.last) - logTail; extra > logTail {
		l.last = append(l.last[:0], l.last[extra:]...)
	}
	return l.file.Write(p)
}

// tail returns the end of the log.
func (l *serverLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.last[max(0, len(l.last)-logTail):])
}

// handedOut holds the ports that freePort has returned: many are asked for before they are used.
var handedOut sync.Map

// freePort returns a loopback port on which nobody listens now, each one once.
func freePort() (int, error) {
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
	return 0, fmt.Errorf("no free port between %d and %d found", firstPort, lastPort)
}
