//go:build unix

package process

import "syscall"

// FileLimit is how many files and connections the process may have open; 0 is unknown.
func FileLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur)
}
