//go:build !unix

package playground

import "syscall"

// attributes of a process where there is nothing to ask for.
func attributes() *syscall.SysProcAttr { return nil }
