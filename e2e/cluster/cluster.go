package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/e2e"
	"github.com/cairnkv/cairn/internal/link"
)

const (
	// callTimeout bounds one request of the harness itself, healthyTimeout the wait until all
	// members that run answer, and pollEvery is the pause between two attempts.
	callTimeout    = 2 * time.Second
	healthyTimeout = 90 * time.Second
	pollEvery      = 10 * time.Millisecond
)

// Member is one member's process, its ports and its data directory.
type Member struct {
	*e2e.Process
	Name     string
	PeerURL  string // of its proxy
	Paused   bool
	ended    bool // by Kill, Stop or Quit
	dir      string
	endpoint string // for clients
	peer     string // address that it listens on for its peers
	client   *clientv3.Client
}

// Cluster is a set of members behind proxies. Its methods must not be called at the same time,
// except for Members, Endpoints and those of Mesh.
type Cluster struct {
	Mesh *link.Mesh

	program string
	dir     string
	args    []string
	made    int // members that there ever were

	mu      sync.Mutex // guards members, which grows and shrinks under load
	members []*Member
}

// New returns a cluster without members. Data and logs of members are under dir; args are flags
// that each of them gets besides names, addresses and directories.
func New(program, dir string, args ...string) *Cluster {
	c := &Cluster{program: program, dir: dir, args: args}
	c.Mesh = link.New(c.who, nil)
	return c
}

// Start makes and starts n members that found the cluster, and returns when all serve clients.
func (c *Cluster) Start(ctx context.Context, n int) error {
	for range n {
		if _, err := c.add(); err != nil {
			return err
		}
	}
	all := c.Members()
	for _, m := range all {
		c.configure(m, "new", all)
		if err := m.Launch(); err != nil {
			return err
		}
	}
	if err := Await(ctx, all...); err != nil {
		return err
	}
	return c.learn(ctx)
}

// add makes a member with its ports and its proxy.
func (c *Cluster) add() (*Member, error) {
	c.made++
	m := &Member{Name: fmt.Sprintf("m%d", c.made)}
	m.dir = filepath.Join(c.dir, m.Name)
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, err
	}
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = e2e.FreePort(); err != nil {
			return nil, err
		}
	}
	m.endpoint = fmt.Sprintf("127.0.0.1:%d", ports[0])
	m.peer = fmt.Sprintf("127.0.0.1:%d", ports[1])
	proxy, err := c.Mesh.Add(m.Name, 0, "127.0.0.1:0", m.peer)
	if err != nil {
		return nil, err
	}
	m.PeerURL = "http://" + proxy
	m.Process = e2e.NewProcess(c.program, filepath.Join(m.dir, "log"))
	if m.client, err = e2e.Dial(m.endpoint); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = append(c.members, m)
	return m, nil
}

// configure sets a member's flags. state is that of its cluster, with the members that it has.
func (c *Cluster) configure(m *Member, state string, cluster []*Member) {
	var initial []string
	for _, other := range cluster {
		initial = append(initial, other.Name+"="+other.PeerURL)
	}
	m.SetArgs(append([]string{
		"--name=" + m.Name, "--data-dir=" + m.DataDir(),
		"--listen-client-urls=http://" + m.endpoint, "--advertise-client-urls=http://" + m.endpoint,
		"--listen-peer-urls=http://" + m.peer, "--initial-advertise-peer-urls=" + m.PeerURL,
		"--initial-cluster=" + strings.Join(initial, ","), "--initial-cluster-state=" + state,
		"--initial-cluster-token=" + filepath.Base(c.dir),
	}, c.args...)...)
}

// learn tells the mesh the members' ids, for systems on which it cannot see who dials.
func (c *Cluster) learn(ctx context.Context) error {
	return Retry(ctx, healthyTimeout, func(ctx context.Context) error {
		list, err := c.Members()[0].client.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, m := range list.Members {
			c.Mesh.SetID(m.Name, m.ID)
		}
		return nil
	})
}

// Members returns the members that there are now, running or not.
func (c *Cluster) Members() []*Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

// Endpoints returns the client addresses of all members.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, m := range c.Members() {
		all = append(all, m.endpoint)
	}
	return all
}

// Close kills all members and closes what stands between them. Files stay.
func (c *Cluster) Close() error {
	var errs []error
	for _, m := range c.Members() {
		m.Process.Close()
		errs = append(errs, m.client.Close())
	}
	return errors.Join(append(errs, c.Mesh.Close())...)
}

// who tells which member dials from an address.
func (c *Cluster) who(remote net.Addr) string {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return ""
	}
	socket := socketOf(tcp.Port)
	if socket == "" {
		return ""
	}
	for _, m := range c.Members() {
		if pid := m.Pid(); pid != 0 && holds(pid, socket) {
			return m.Name
		}
	}
	return ""
}

// Endpoint returns the address for clients.
func (m *Member) Endpoint() string { return m.endpoint }

// DataDir returns the data directory.
func (m *Member) DataDir() string { return filepath.Join(m.dir, "data") }

// Client returns the harness's client of this member. It is closed with the cluster.
func (m *Member) Client() *clientv3.Client { return m.client }

// Kill ends the process with SIGKILL.
func (m *Member) Kill() error {
	m.ended = true
	return m.Process.Stop(syscall.SIGKILL)
}

// Stop ends the process with SIGTERM and waits for its end.
func (m *Member) Stop() error {
	m.ended = true
	return m.Process.Stop(syscall.SIGTERM)
}

// Quit sends SIGTERM and does not wait: clients are to see what happens until the end.
func (m *Member) Quit() error {
	m.ended = true
	return m.Signal(syscall.SIGTERM)
}

// Launch starts the process and does not wait until it serves clients.
func (m *Member) Launch() error {
	m.ended = false
	return m.Process.Launch()
}

// Start starts the process and returns when it serves clients.
func (m *Member) Start(ctx context.Context) error {
	m.ended = false
	return m.Process.Start(ctx)
}

// Pause stops the process where it is, with its connections open.
func (m *Member) Pause() error {
	m.Paused = true
	return m.Signal(sigPause)
}

// Resume lets a paused process go on.
func (m *Member) Resume() error {
	m.Paused = false
	return m.Signal(sigResume)
}

// Wipe removes the data of a member that does not run.
func (m *Member) Wipe() error {
	if m.Running() {
		return fmt.Errorf("wipe %s: it runs", m.Name)
	}
	return os.RemoveAll(m.DataDir())
}

// Get reads one key through this member alone and linearizably: it is healthy if that works.
func (m *Member) Get(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := m.client.Get(ctx, "health")
	return err
}

// Await returns when all of some members that were launched serve clients.
func Await(ctx context.Context, members ...*Member) error {
	for _, m := range members {
		if err := m.Process.Await(ctx); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

// Healthy returns when each member answers linearizable reads.
func (c *Cluster) Healthy(ctx context.Context) error {
	for _, m := range c.Members() {
		if err := Retry(ctx, healthyTimeout, m.Get); err != nil {
			return fmt.Errorf("%s is not healthy: %w", m.Name, err)
		}
	}
	return nil
}

// Leader returns the member that most of those that answer take for the leader.
func (c *Cluster) Leader(ctx context.Context) (*Member, error) {
	var leader *Member
	err := Retry(ctx, healthyTimeout, func(ctx context.Context) error {
		votes := make(map[uint64]int)
		byID := make(map[uint64]*Member)
		for _, m := range c.Members() {
			if !m.Running() || m.Paused {
				continue
			}
			status, err := m.client.Status(ctx, m.endpoint)
			if err != nil {
				continue
			}
			byID[status.Header.MemberId] = m
			votes[status.Leader]++
		}
		for id, n := range votes {
			if id != 0 && byID[id] != nil && n > len(c.Members())/2 {
				leader = byID[id]
				return nil
			}
		}
		return fmt.Errorf("no leader: votes %v", votes)
	})
	return leader, err
}

// Retry calls fn until it has no error, each call with callTimeout, and returns its last error when
// the time is over.
func Retry(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	deadline := time.Now().Add(limit)
	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := fn(call)
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("given up after %v: %w", limit, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
