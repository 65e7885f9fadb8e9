package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	// readyLine is what a server logs when it serves clients.
	readyLine = "ready to serve client requests"

	// startTimeout bounds the wait for readyLine, stopTimeout that for the end of a process.
	startTimeout = 2 * time.Minute
	stopTimeout  = time.Minute

	// tailBytes is how much of the log an error shows.
	tailBytes = 4 << 10
)

// Process is a server that can be ended and started again with the same arguments. Its methods
// must not be called at the same time, but for Running and Pid.
type Process struct {
	program string
	logPath string
	args    []string

	mu   sync.Mutex // guards cmd and done, which Launch replaces
	cmd  *exec.Cmd
	log  *logWriter
	done chan struct{} // closed when the process has ended
}

// NewProcess returns a process that is not started. What it prints is appended to the log.
func NewProcess(program, logPath string, args ...string) *Process {
	return &Process{program: program, logPath: logPath, args: args}
}

// SetArgs sets the arguments of the next start.
func (p *Process) SetArgs(args ...string) { p.args = args }

// Args returns the arguments of the next start.
func (p *Process) Args() []string { return p.args }

// Status is the exit status of a process that has ended, -1 if a signal ended it.
func (p *Process) Status() int { return p.cmd.ProcessState.ExitCode() }

// Launch starts the process and does not wait until it serves clients: Await does.
func (p *Process) Launch() error {
	if p.Running() {
		return errors.New("the server runs already")
	}
	file, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	p.log = &logWriter{file: file, ready: make(chan struct{})}
	cmd, done := exec.Command(p.program, p.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		return errors.Join(err, file.Close())
	}
	p.mu.Lock()
	p.cmd, p.done = cmd, done
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait() // the process state tells how it ended
		_ = file.Close()
		close(done)
	}()
	return nil
}

// Await returns when the process that was launched serves clients.
func (p *Process) Await(ctx context.Context) error {
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case <-p.log.ready:
		return nil
	case <-p.done:
		return fmt.Errorf("the server ended while starting: %v\n%s", p.cmd.ProcessState,
			p.log.tail())
	case <-timer.C:
		return fmt.Errorf("the server was not ready after %v\n%s", startTimeout, p.log.tail())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Start starts the process and returns when it serves clients.
func (p *Process) Start(ctx context.Context) error {
	if err := p.Launch(); err != nil {
		return err
	}
	return p.Await(ctx)
}

// Running says whether the process was started and has not ended.
func (p *Process) Running() bool { return p.Pid() != 0 }

// Pid returns the number of the process, 0 if it does not run.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	select {
	case <-p.done:
		return 0
	default:
		return p.cmd.Process.Pid
	}
}

// Signal sends a signal. A process that does not run is an error.
func (p *Process) Signal(sig syscall.Signal) error {
	switch {
	case p.cmd == nil:
		return errors.New("the server was never started")
	case !p.Running():
		return fmt.Errorf("the server had ended by itself: %v\n%s", p.cmd.ProcessState,
			p.log.tail())
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %v: %w", sig, err)
	}
	return nil
}

// Stop sends the process a signal and waits for its end. A process that had ended by itself, or
// that outlives the signal, is an error.
func (p *Process) Stop(sig syscall.Signal) error {
	if err := p.Signal(sig); err != nil {
		return err
	}
	return p.AwaitEnd()
}

// AwaitEnd waits for the end of a process that was told to end. One that goes on is an error.
func (p *Process) AwaitEnd() error {
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("the server still runs %v after the signal to end\n%s", stopTimeout,
			p.log.tail())
	}
}

// Close kills the process if it runs.
func (p *Process) Close() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
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
