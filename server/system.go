package server

import (
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/vfs"
)

// system is what a member takes from its surroundings. A test runs a whole member on files in
// memory, a clock that it moves and segments so small that they change all the time.
type system struct {
	fs    vfs.FS
	clock clock.Clock
	doors bool // ports are opened; without them requests come through the backend alone
	// tmp is where backups are made if not below the data directory. They are real files always:
	// package backup writes them past vfs.
	tmp string
	// walBytes and revlogBytes are the sizes of new segments; 0 is what the packages choose.
	walBytes, revlogBytes int64
}

func realSystem() system {
	return system{fs: vfs.OS(), clock: clock.Real(), doors: true, walBytes: walSegmentBytes}
}
