//go:build mutate

package mutate

// Possible says whether this build can plant bugs.
const Possible = true

var planted Bug

// Plant plants a bug, in the place of the one before; None ends that. Call it before anything runs.
func Plant(b Bug) { planted = b }

// On says whether a bug is planted.
func On(b Bug) bool { return planted == b }
