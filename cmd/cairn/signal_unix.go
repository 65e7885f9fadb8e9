//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

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
		select {} // the signal is on its way
	}
	return 128 + int(s)
}
