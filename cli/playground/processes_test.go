package playground

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// serverEnv names another server for the members, such as a real etcd.
	serverEnv = "PLAYGROUND_SERVER"

	waitTime  = 60 * time.Second // for what must come
	waitEvery = 20 * time.Millisecond
)

// binaryDir holds the program under test, once it was built.
var binaryDir string

// binary is the program under test, built once.
var binary = sync.OnceValues(func() (_ string, err error) {
	if binaryDir, err = os.MkdirTemp("", "cairn-playground-test-"); err != nil {
		return "", err
	}
	path := filepath.Join(binaryDir, "cairn")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/cairn")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cairn: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir) // the tests have said all there is to say
	}
	os.Exit(code)
}

// run is a playground that runs, in a temporary directory of its own.
type run struct {
	t         *testing.T
	cmd       *exec.Cmd
	temp      string
	stdin     io.WriteCloser
	lines     chan string
	seen      []string
	endpoints []string
	ended     chan struct{}
}

// start starts a playground without a terminal and waits until a member leads.
func start(t *testing.T, args ...string) *run {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	if server := os.Getenv(serverEnv); server != "" {
		args = append(args, "--program="+server)
	}
	r := &run{t: t, temp: t.TempDir(), lines: make(chan string, 1000), ended: make(chan struct{})}
	r.cmd = exec.Command(path, append([]string{"playground"}, args...)...)
	// What configures a server of the user's must not reach the members.
	r.cmd.Env = append(os.Environ(), "TMPDIR="+r.temp, "ETCD_NAME=wrong", "ETCD_DATA_DIR=wrong")
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr = os.Stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
		close(r.lines)
		_ = r.cmd.Wait() // the process state tells how it ended
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // it has ended, unless the test failed
		<-r.ended
	})
	list := r.expect(`^export ETCDCTL_ENDPOINTS=(.*)$`)[1]
	r.endpoints = strings.Split(list, ",")
	r.expect(`m\d leads in term`)
	return r
}

// expect waits for a line that matches, and returns its parts.
func (r *run) expect(pattern string) []string {
	r.t.Helper()
	want := regexp.MustCompile(pattern)
	timer := time.NewTimer(waitTime)
	defer timer.Stop()
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				r.t.Fatalf("it ended before %q:\n%s", pattern, strings.Join(r.seen, "\n"))
			}
			r.seen = append(r.seen, line)
			if m := want.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-timer.C:
			r.t.Fatalf("no %q within %v:\n%s", pattern, waitTime, strings.Join(r.seen, "\n"))
		}
	}
}

// say writes a command.
func (r *run) say(format string, args ...any) {
	r.t.Helper()
	if _, err := fmt.Fprintf(r.stdin, format+"\n", args...); err != nil {
		r.t.Fatal(err)
	}
}

// stops waits for the end of the playground, and then nothing may be left of it.
func (r *run) stops(status int) {
	r.t.Helper()
	timer := time.NewTimer(waitTime)
	defer timer.Stop()
	for open := true; open; {
		select {
		case line, ok := <-r.lines:
			if open = ok; ok {
				r.seen = append(r.seen, line)
			}
		case <-timer.C:
			r.t.Fatalf("the playground still runs after %v", waitTime)
		}
	}
	<-r.ended
	if code := r.cmd.ProcessState.ExitCode(); code != status {
		r.t.Errorf("exit status %d, not %d:\n%s", code, status, strings.Join(r.seen, "\n"))
	}
	r.nobodyListens()
	left, err := os.ReadDir(r.temp)
	if err != nil || len(left) > 0 {
		r.t.Errorf("left behind: %v %v", left, err)
	}
}

// nobodyListens checks that no process of a member is left.
func (r *run) nobodyListens() {
	r.t.Helper()
	for _, endpoint := range r.endpoints {
		if conn, err := net.Dial("tcp", endpoint); err == nil {
			_ = conn.Close()
			r.t.Errorf("somebody listens on %s", endpoint)
		}
	}
}

// ctl runs a verb of the command line on the cluster.
func (r *run) ctl(args ...string) string {
	r.t.Helper()
	cmd := exec.Command(r.cmd.Path, append([]string{"ctl"}, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_ENDPOINTS="+strings.Join(r.endpoints, ","))
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("ctl %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestOneMember kills, restarts, pauses and resumes a lone member, and ends with the input.
func TestOneMember(t *testing.T) {
	r := start(t, "1", "--load")
	r.ctl("put", "greeting", "hello")
	r.say("kill m1")
	r.expect("m1 was killed")
	r.expect("no 1 of the 1 voters")
	r.nobodyListens()
	r.say("start m1")
	r.expect("m1 is back|m1 has caught up")
	r.expect("== .*m1 leader")
	if out := r.ctl("get", "greeting", "--print-value-only"); out != "hello\n" {
		t.Errorf("after a kill: %q", out)
	}
	r.say("restart m1")
	r.expect("m1 is back|m1 has caught up")
	r.expect("m1 leads")
	r.say("pause m1")
	r.expect("m1 is paused")
	r.say("resume m1")
	r.expect("m1 is back|m1 has caught up")
	if err := r.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	r.stops(0)
}

// TestEnds ends playgrounds in every way that there is.
func TestEnds(t *testing.T) {
	for name, end := range map[string]func(r *run) error{
		"quit":    func(r *run) error { r.say("quit"); return nil },
		"SIGTERM": func(r *run) error { return r.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGINT":  func(r *run) error { return r.cmd.Process.Signal(os.Interrupt) },
		"SIGHUP":  func(r *run) error { return r.cmd.Process.Signal(syscall.SIGHUP) },
		"paused": func(r *run) error {
			r.say("pause 1")
			r.expect("m1 is paused")
			return r.cmd.Process.Signal(syscall.SIGTERM)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, "1")
			if err := end(r); err != nil {
				t.Fatal(err)
			}
			r.stops(0)
		})
	}
	t.Run("for", func(t *testing.T) {
		r := start(t, "1", "--for=5s", "--plain")
		r.stops(0)
	})
}

// TestNobodyReads ends a playground by closing the pipe that it writes to, though it has nothing to
// write.
func TestNobodyReads(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	cmd := exec.Command(path, "playground", "1")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "m1 leader") {
			break // and from here on nothing happens that it could tell
		}
	}
	_ = out.Close() // what it still writes goes nowhere
	timer := time.AfterFunc(waitTime, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // its status says nothing
	if !timer.Stop() {
		t.Fatal("it does not end when nobody reads")
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestKilled kills the playground itself. On Linux no process of a member outlives it.
func TestKilled(t *testing.T) {
	r := start(t, "1")
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.ended
	ticker := time.NewTicker(waitEvery)
	defer ticker.Stop()
	for deadline := time.Now().Add(waitTime); ; <-ticker.C {
		conn, err := net.Dial("tcp", r.endpoints[0])
		if err != nil {
			return
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the member outlives the playground")
		}
	}
}

// TestKeep comes back to a directory: with its data and on its ports.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	first := start(t, "1", "--keep", dir)
	first.ctl("put", "greeting", "hello")
	second := exec.Command(first.cmd.Path, "playground", "--keep", dir)
	if out, err := second.CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "another playground runs in") {
		t.Errorf("a second one in the same directory: %v %s", err, out)
	}
	first.say("quit")
	first.stops(0)
	again := start(t, "3", "--keep", dir)
	if again.endpoints[0] != first.endpoints[0] || len(again.endpoints) != 1 {
		t.Errorf("endpoints %v, not %v", again.endpoints, first.endpoints)
	}
	if out := again.ctl("get", "greeting", "--print-value-only"); out != "hello\n" {
		t.Errorf("after coming back: %q", out)
	}
	again.say("quit")
	again.stops(0)
	if _, err := os.Stat(filepath.Join(dir, recordFile)); err != nil {
		t.Error(err)
	}
}

// TestRefused calls it in ways that make no sense.
func TestRefused(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, recordFile), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := freePorts(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, first.Peer))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for want, args := range map[string][]string{
		"1 to 9":                        {"10"},
		"one number of members":         {"1", "2"},
		"must be at most":               {"--base-port=65530"},
		"must not be negative":          {"--for=-1s"},
		"not what a playground has wri": {"--keep", broken},
		"no member led within 1s":       {"1", "--for=1s", "--program=" + os.Args[0]},
		"no free ports from":            {"1", fmt.Sprint("--base-port=", first.Client)},
	} {
		temp := t.TempDir()
		ctx, cancel := context.WithTimeout(t.Context(), waitTime)
		cmd := exec.CommandContext(ctx, path, append([]string{"playground"}, args...)...)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.Env = append(os.Environ(), "TMPDIR="+temp)
		out, err := cmd.CombinedOutput()
		cancel()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, without %q:\n%s", args, err, want, out)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("%q: left behind: %v %v", args, left, err)
		}
	}
}
