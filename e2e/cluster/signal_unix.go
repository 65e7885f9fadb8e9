//go:build unix

package cluster

import "syscall"

// sigPause stops a process without its knowledge, sigResume lets it go on.
const (
	sigPause  = syscall.SIGSTOP
	sigResume = syscall.SIGCONT
)
