//go:build unix

package bench

import (
	"syscall"
	"time"
)

// OwnCPU returns the processor time of this process so far, 0 where it is not known.
func OwnCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
