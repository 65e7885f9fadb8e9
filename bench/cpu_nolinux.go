//go:build !linux

package bench

import (
	"errors"
	"time"
)

// processCPU is not known here.
func processCPU(int) (time.Duration, error) {
	return 0, errors.New("processor times of other processes are measured on Linux only")
}
