//go:build unix

package server

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// program builds the binary once for all tests of processes.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cairn-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "cairn")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "../cmd/cairn")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built {
		path, _ := program()
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// built says that program has run.
var built bool

// stopTime is the most that a member may take to end after a signal.
const stopTime = 1500 * time.Millisecond

// process is a member as a program of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    lockedBuffer // both streams
	ended  chan struct{}
	client string // URL
}

// programPath returns the program's path.
func programPath(t *testing.T) string {
	t.Helper()
	path, err := program()
	built = true
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// freePort finds a port that nothing listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// serverArgs are the flags of a member with ports of its own.
func serverArgs(t *testing.T, dataDir string) (args []string, client string) {
	t.Helper()
	client = fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	peer := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	return []string{
		"--data-dir=" + dataDir, "--listen-client-urls=" + client,
		"--advertise-client-urls=" + client, "--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
	}, client
}

// run starts a program with an environment of PATH and env alone.
func run(t *testing.T, path, dir string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the state tells
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

func runServer(t *testing.T, args []string, client string) *process {
	t.Helper()
	p := run(t, programPath(t), t.TempDir(), nil, args...)
	p.client = client
	p.ready()
	return p
}

// ready waits until the member serves.
func (p *process) ready() {
	p.t.Helper()
	eventually(p.t, "the member serves", func() bool {
		if p.hasEnded() {
			p.t.Fatalf("it ended: %v\n%s", p.cmd.ProcessState, p.out.String())
		}
		return strings.Contains(p.out.String(), "serving client traffic insecurely")
	})
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait returns how the process ended.
func (p *process) wait(limit time.Duration) *os.ProcessState {
	p.t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.cmd.ProcessState
	case <-timer.C:
		p.t.Fatalf("it still runs after %v\n%s", limit, p.out.String())
		return nil
	}
}

// signal ends the process and returns the exit status that a shell would show.
func (p *process) signal(sig syscall.Signal, limit time.Duration) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	return shellStatus(p.wait(limit))
}

func shellStatus(state *os.ProcessState) int {
	status := state.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// fails runs a program that must end by itself with a status, having said all words.
func fails(t *testing.T, dir string, env, args []string, status int, words ...string) {
	t.Helper()
	p := run(t, programPath(t), dir, env, args...)
	if got := shellStatus(p.wait(patience)); got != status {
		t.Errorf("%q: status %d, want %d", args, got, status)
	}
	for _, word := range words {
		if !strings.Contains(p.out.String(), word) {
			t.Errorf("%q: it did not say %q:\n%s", args, word, p.out.String())
		}
	}
}

func (p *process) dial() *clientv3.Client {
	p.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.client}, Logger: zap.NewNop()})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

// busy are clients of a member that watch, write and read until their context ends.
type busy struct {
	clients sync.WaitGroup
	mu      sync.Mutex // guards acked
	acked   map[string]int64
}

func (p *process) busy(ctx context.Context) *busy {
	p.t.Helper()
	b := &busy{acked: map[string]int64{}}
	for range 3 {
		c := p.dial()
		for i := range 10 {
			w := c.Watch(ctx, fmt.Sprint("key", i), clientv3.WithPrefix())
			go func() {
				for range w {
				}
			}()
		}
	}
	for i := range 8 {
		c := p.dial()
		b.clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := fmt.Sprintf("key%d/%d", i, n)
				resp, err := c.Put(ctx, key, strings.Repeat("x", 200))
				if err != nil {
					return
				}
				b.mu.Lock()
				b.acked[key] = resp.Header.Revision
				b.mu.Unlock()
			}
		})
	}
	for range 4 {
		c := p.dial()
		b.clients.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.Get(ctx, "key", clientv3.WithPrefix()); err != nil {
					return
				}
			}
		})
	}
	return b
}

// SIGTERM ends a member with open watches and clients that write at once, as the signal would; a
// second start with the same command line has all that was acknowledged.
func TestTermUnderLoad(t *testing.T) {
	args, url := serverArgs(t, filepath.Join(t.TempDir(), "data"))
	p := runServer(t, args, url)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := p.busy(ctx)
	eventually(t, "writes", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.acked) > 700
	})
	began := time.Now()
	if status := p.signal(syscall.SIGTERM, stopTime); status != 143 {
		t.Errorf("status %d, want 143", status)
	}
	t.Logf("it took %v", time.Since(began))
	for _, word := range []string{"panic", "fatal error", "SIGSEGV", "failed to stop"} {
		if strings.Contains(p.out.String(), word) {
			t.Errorf("it said %q:\n%s", word, p.out.String())
		}
	}
	cancel()
	b.clients.Wait()
	p = runServer(t, args, url)
	resp, err := p.dial().Get(t.Context(), "key", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]int64{}
	for _, kv := range resp.Kvs {
		have[string(kv.Key)] = kv.ModRevision
	}
	for key, rev := range b.acked {
		if have[key] != rev {
			t.Fatalf("%s was acknowledged at revision %d and is at %d", key, rev, have[key])
		}
	}
	if status := p.signal(syscall.SIGINT, stopTime); status != 130 {
		t.Errorf("after SIGINT: status %d, want 130", status)
	}
}

// A directory or a port that is in use: the second start fails at once and says what to do; the
// first one goes on.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	args, url := serverArgs(t, data)
	p := runServer(t, args, url)
	second, _ := serverArgs(t, data)
	fails(t, dir, nil, second, 1, "in use by another process", data, "--data-dir")
	other := filepath.Join(dir, "other")
	samePort, _ := serverArgs(t, other)
	samePort = append(samePort, args[1], args[2]) // the client URLs
	fails(t, dir, nil, samePort, 1, strings.TrimPrefix(url, "http://"), "address already in use",
		"--listen-client-urls")
	if _, err := os.Stat(other); !os.IsNotExist(err) {
		t.Errorf("a start that failed for its port has made %s (%v)", other, err)
	}
	if _, err := p.dial().Put(t.Context(), "a", "b"); err != nil {
		t.Errorf("the first member: %v", err)
	}
	if status := p.signal(syscall.SIGTERM, stopTime); status != 143 {
		t.Errorf("status %d", status)
	}
}

// Directories of others are refused by the program as by the package, with status 1.
func TestForeignDirectories(t *testing.T) {
	for name, words := range map[string][]string{
		"member/wal/0.wal": {"belongs to etcd", "snapshot restore", "--data-dir"},
		"photo.jpg":        {"not Cairn's", "photo.jpg", "--data-dir"},
	} {
		data := filepath.Join(t.TempDir(), "data")
		if err := os.MkdirAll(filepath.Dir(filepath.Join(data, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(data, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		args, _ := serverArgs(t, data)
		fails(t, t.TempDir(), nil, args, 1, words...)
	}
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	fails(t, dir, nil, []string{"--version"}, 0, "etcd Version: 3.7", "Go OS/Arch:")
	fails(t, dir, nil, []string{"--help"}, 0, "--listen-client-urls", "--data-dir")
	fails(t, dir, nil, []string{"--snapshot-cuont=5"}, 2, "snapshot-cuont", "snapshot-count")
	fails(t, dir, []string{"ETCD_SNAPSHOT_COUNT=many"}, nil, 1, "ETCD_SNAPSHOT_COUNT", "many")
	names, err := os.ReadDir(dir)
	if err != nil || len(names) > 0 {
		t.Errorf("something was made: %v, %v", names, err)
	}
}

// What the environment says counts; called as etcd, the directory has etcd's default name.
func TestFaceAndEnvironment(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "etcd")
	if err := os.Symlink(programPath(t), link); err != nil {
		t.Fatal(err)
	}
	args, client := serverArgs(t, "")
	args = args[1:]
	peer := strings.TrimPrefix(args[len(args)-1], "--initial-cluster=default=")
	env := []string{"ETCD_NAME=node7", "ETCD_UNHEARD_OF=1", "HOME=" + dir}
	args[len(args)-1] = "--initial-cluster=node7=" + peer
	for _, c := range []struct{ path, data string }{
		{link, "node7.etcd"}, {programPath(t), "node7.cairn"},
	} {
		p := run(t, c.path, dir, env, args...)
		p.client = client
		p.ready()
		if _, err := os.Stat(filepath.Join(dir, c.data, "FORMAT")); err != nil {
			t.Errorf("called as %s: %v", filepath.Base(c.path), err)
		}
		if !bytes.Contains([]byte(p.out.String()), []byte("ETCD_UNHEARD_OF")) {
			t.Errorf("no word of the unknown variable:\n%s", p.out.String())
		}
		if _, err := p.dial().Put(t.Context(), "a", "b"); err != nil {
			t.Error(err)
		}
		if status := p.signal(syscall.SIGTERM, stopTime); status != 143 {
			t.Errorf("status %d", status)
		}
	}
}

// A signal during the start ends it as well.
func TestSignalWhileStarting(t *testing.T) {
	for delay := range 5 {
		args, _ := serverArgs(t, filepath.Join(t.TempDir(), "data"))
		p := run(t, programPath(t), t.TempDir(), nil, args...)
		eventually(t, "the first line", func() bool { return p.out.String() != "" })
		timer := time.NewTimer(time.Duration(delay) * 4 * time.Millisecond)
		<-timer.C
		if status := p.signal(syscall.SIGTERM, stopTime); status != 143 {
			t.Errorf("status %d\n%s", status, p.out.String())
		}
	}
}

// SIGKILL under load: nothing acknowledged is lost, and the directory is not taken for one in use.
func TestKill(t *testing.T) {
	args, url := serverArgs(t, filepath.Join(t.TempDir(), "data"))
	var last int64
	for round := range 5 {
		p := runServer(t, append(args, "--snapshot-count=100"), url)
		c := p.dial()
		resp, err := c.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Revision < last {
			t.Fatalf("round %d: revision %d, %d was acknowledged",
				round, resp.Header.Revision, last)
		}
		for range 300 {
			put, err := c.Put(t.Context(), "a", "b")
			if err != nil {
				t.Fatal(err)
			}
			last = put.Header.Revision
		}
		if status := p.signal(syscall.SIGKILL, stopTime); status != 137 {
			t.Errorf("status %d", status)
		}
	}
}

// A disk that fails while the member runs (here: files may not grow beyond a limit): the process
// ends with status 1 and says why, and nothing acknowledged is lost.
func TestBrokenDisk(t *testing.T) {
	args, url := serverArgs(t, filepath.Join(t.TempDir(), "data"))
	script := "ulimit -f 11000; exec " + programPath(t) + " \"$@\""
	p := run(t, "/bin/sh", t.TempDir(), nil, append([]string{"-c", script, "sh"}, args...)...)
	p.client = url
	c := p.dial()
	value := strings.Repeat("x", 64<<10)
	var acked int64
	for n := range 1000 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		resp, err := c.Put(ctx, fmt.Sprint("key", n), value)
		cancel()
		if err == nil {
			acked = resp.Header.Revision
		} else if p.hasEnded() {
			break
		}
	}
	if status := shellStatus(p.wait(patience)); status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	if !strings.Contains(p.out.String(), "file too large") {
		t.Errorf("it did not say why:\n%s", p.out.String())
	}
	p = runServer(t, args, url)
	resp, err := p.dial().Get(t.Context(), "key", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || resp.Header.Revision < acked || resp.Count != resp.Header.Revision-1 {
		t.Errorf("%v, %v; revision %d was acknowledged", resp, err, acked)
	}
}
