//go:build !unix

package cluster

import "syscall"

// Systems without these signals refuse to send them, and Pause returns that error.
const (
	sigPause  = syscall.Signal(-1)
	sigResume = syscall.Signal(-1)
)
