//go:build unix

package playground

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// endSignals end a playground.
var endSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// catchPipe lets a write to a broken pipe fail, instead of ending the playground without its
// clean-up. The signal is caught and not ignored: what is ignored the members would inherit.
func catchPipe() (stop func()) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGPIPE)
	return func() { signal.Stop(caught) }
}

// gone says whether nobody reads any more what is written to a terminal or a pipe. Mostly a signal
// or an error tells so, but neither comes to one who has nothing to write, or who was started
// without a terminal of its own.
func gone(f *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd())}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}

func (p *systemProcess) terminate() error { return p.signal(syscall.SIGTERM) }
func (p *systemProcess) pause() error     { return p.signal(syscall.SIGSTOP) }
func (p *systemProcess) resume() error    { return p.signal(syscall.SIGCONT) }

func (p *systemProcess) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
