//go:build unix

package ops

import (
	"syscall"

	"github.com/cairnkv/cairn/vfs"
)

// fdLimit is how many files the process may have open; 0 if the system does not tell.
func fdLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur)
}

// fdUsed counts the open files where the system lists them (Linux); else 0.
func fdUsed() int {
	names, err := vfs.OS().List("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names)
}
