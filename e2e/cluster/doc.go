// Package cluster tests clusters of real processes, from outside, while members are killed, paused
// and cut off: what was acknowledged may not be lost, what was read must have been true, and the
// service has to come back.
package cluster
