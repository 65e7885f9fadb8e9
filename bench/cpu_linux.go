package bench

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// processCPU returns the processor time of a process so far, to the nanosecond: Linux has a clock
// for each process, whose number is made of the pid (clock_getcpuclockid(3)).
func processCPU(pid int) (time.Duration, error) {
	const wholeProcess, scheduler = 0, 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|wholeProcess|scheduler, &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
