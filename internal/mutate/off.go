//go:build !mutate

package mutate

// Possible says whether this build can plant bugs.
const Possible = false

// Plant plants a bug: not in this build.
func Plant(Bug) {}

// On says whether a bug is planted: never in this build.
func On(Bug) bool { return false }
