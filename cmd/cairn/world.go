//go:build !faults

package main

import (
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/vfs"
)

// world is what the member runs on: the machine.
func world() (vfs.FS, clock.Clock, error) { return vfs.OS(), clock.Real(), nil }
