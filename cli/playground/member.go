package playground

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/cairnkv/cairn/clock"
)

const (
	// stopTimeout is how long a process may take to end when it is asked to.
	stopTimeout = 10 * time.Second
	// killTimeout is how long the system may take to end a process that was killed.
	killTimeout = 10 * time.Second

	// Clients try again quickly: the member is back within a moment.
	dialTimeout         = 2 * time.Second
	firstWait, longWait = 20 * time.Millisecond, 200 * time.Millisecond
)

// record is what is kept of a member from one run to the next.
type record struct {
	Name    string `json:"name"`
	ID      uint64 `json:"id,string"`
	Ports   ports  `json:"ports"`
	Initial string `json:"initial_cluster"` // as it was when the member was made
	State   string `json:"initial_cluster_state"`
}

// member is one member of the cluster: its process, and a client that talks to it alone.
type member struct {
	record
	dir    string // of the playground
	client *clientv3.Client
	quit   chan struct{} // closed when the member is dropped

	mu     sync.Mutex // guards the fields below; held while a process is started or ended
	proc   process    // nil if none was started
	paused bool
	asked  bool // that proc has to end
}

// newMember returns a member without a process.
func newMember(r record, dir string) (*member, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{r.Ports.endpoint()}, DialTimeout: dialTimeout, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: firstWait, MaxDelay: longWait,
				Multiplier: backoff.DefaultConfig.Multiplier,
			},
			MinConnectTimeout: dialTimeout,
		})},
	})
	if err != nil {
		return nil, err
	}
	return &member{record: r, dir: dir, client: client, quit: make(chan struct{})}, nil
}

func (m *member) dataDir() string { return filepath.Join(m.dir, m.Name) }
func (m *member) logFile() string { return filepath.Join(m.dir, m.Name+".log") }

// arguments are the flags of the member's process.
func (m *member) arguments(token string, extra []string) []string {
	client := "http://" + m.Ports.endpoint()
	return append([]string{
		"--name=" + m.Name, "--data-dir=" + m.dataDir(),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + fmt.Sprintf("http://%s:%d", host, m.Ports.Peer),
		"--initial-advertise-peer-urls=" + m.Ports.peerURL(),
		"--initial-cluster=" + m.Initial, "--initial-cluster-state=" + m.State,
		"--initial-cluster-token=" + token,
	}, extra...)
}

// start starts the process, if open still allows it. onEnd is called, with how it ended, when it
// does so unasked.
func (m *member) start(
	open func() bool, launch func() (process, error), onEnd func(how string),
) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running() {
		return errors.New("it runs already")
	}
	if !open() {
		return errClosed // asked with m.mu held: whoever closes kills what was started before
	}
	p, err := launch()
	if err != nil {
		return err
	}
	m.proc, m.paused, m.asked = p, false, false
	go func() {
		<-p.done()
		m.mu.Lock()
		unasked := m.proc == p && !m.asked
		m.mu.Unlock()
		if unasked {
			onEnd(p.how())
		}
	}()
	return nil
}

// running says whether there is a process. m.mu is held.
func (m *member) running() bool {
	if m.proc == nil {
		return false
	}
	select {
	case <-m.proc.done():
		return false
	default:
		return true
	}
}

// awake says whether there is a process that could answer.
func (m *member) awake() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running() && !m.paused
}

// kill ends the process at once, and returns when it is gone.
func (m *member) kill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running() {
		return nil
	}
	m.asked = true
	if err := m.proc.kill(); err != nil {
		return err
	}
	return m.wait(killTimeout)
}

// stop asks the process to end, and kills it if it does not.
func (m *member) stop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running() {
		return nil
	}
	m.asked = true
	if m.paused {
		if err := m.proc.resume(); err != nil {
			return err
		}
	}
	if err := m.proc.terminate(); err != nil {
		return err
	}
	if m.wait(stopTimeout) == nil {
		return nil
	}
	if err := m.proc.kill(); err != nil {
		return err
	}
	return m.wait(killTimeout)
}

// wait returns when the process has ended. m.mu is held.
func (m *member) wait(limit time.Duration) error {
	timer := clock.Real().NewTimer(limit)
	defer timer.Stop()
	select {
	case <-m.proc.done():
		return nil
	case <-timer.C():
		return fmt.Errorf("%s still runs after %v", m.Name, limit)
	}
}

// hold pauses the process or lets it go on.
func (m *member) hold(pause bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running() {
		return errors.New("it does not run")
	}
	act := m.proc.resume
	if pause {
		act = m.proc.pause
	}
	if err := act(); err != nil {
		return err
	}
	m.paused = pause
	return nil
}

// expectEnd says that the process may end by itself from now on.
func (m *member) expectEnd() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = true
}

// unexpectEnd takes expectEnd back.
func (m *member) unexpectEnd() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = false
}
