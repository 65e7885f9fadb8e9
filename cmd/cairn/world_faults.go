//go:build faults

package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/vfs"
)

// world is what the member runs on, in a build for tests of real processes:
//
//	CAIRN_HOLD_UNSYNCED=1   what was not synced is lost with the process
//	CAIRN_CLOCK_SKEW=0.05   the clock runs fast or slow, by up to that part, each process its own
func world() (vfs.FS, clock.Clock, error) {
	fsys, clk := vfs.OS(), clock.Real()
	if os.Getenv("CAIRN_HOLD_UNSYNCED") != "" {
		fsys = vfs.Held(fsys)
	}
	if text := os.Getenv("CAIRN_CLOCK_SKEW"); text != "" {
		skew, err := strconv.ParseFloat(text, 64)
		if err != nil || skew < 0 || skew >= 1 {
			return nil, nil, fmt.Errorf("CAIRN_CLOCK_SKEW=%s is no part of 1", text)
		}
		const steps = 10
		clk = clock.Skewed(clk, 1+skew*float64(os.Getpid()%(2*steps+1)-steps)/steps)
	}
	return fsys, clk, nil
}
