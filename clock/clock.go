// Package clock is the only door to time. Owners of loops take a [Clock]; pure code takes instants
// and durations as arguments.
package clock

import "time"

// Clock tells the time and makes tickers and timers. Implementations are safe for concurrent use.
type Clock interface {
	// Now is the wall clock with a monotonic reading: differences of two Nows do not jump.
	Now() time.Time
	// Since is Now().Sub(t).
	Since(t time.Time) time.Duration
	// NewTicker sends the time every d; d must be positive. A slow receiver misses ticks.
	NewTicker(d time.Duration) Ticker
	// NewTimer sends the time once, after d.
	NewTimer(d time.Duration) Timer
}

// Ticker is a running ticker.
type Ticker interface {
	C() <-chan time.Time
	Stop()
}

// Timer is a running timer.
type Timer interface {
	C() <-chan time.Time
	// Stop prevents the firing and says whether it did.
	Stop() bool
	// Reset starts the timer anew.
	Reset(d time.Duration)
}
