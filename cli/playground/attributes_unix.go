//go:build unix && !linux

package playground

import "syscall"

// attributes keeps the terminal's ctrl-C from the process.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
