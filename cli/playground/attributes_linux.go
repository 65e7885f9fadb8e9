package playground

import "syscall"

// attributes keeps the terminal's ctrl-C from the process, and ends it with the playground.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
