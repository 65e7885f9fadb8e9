//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cairnkv/cairn/clock"
)

// signalTime is how long the process waits for its own signal.
const signalTime = 200 * time.Millisecond

// endBySignal ends the process as the signal would have.
func endBySignal(sig os.Signal) int {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return 1
	}
	if os.Getpid() == 1 {
		return 0 // the kernel does not end the first process of a container by a signal
	}
	signal.Reset(s)
	if err := syscall.Kill(os.Getpid(), s); err == nil {
		<-clock.Real().NewTimer(signalTime).C() // it is on its way, unless the parent ignores it
	}
	return 128 + int(s)
}
