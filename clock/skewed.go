package clock

import "time"

// Skewed returns a clock that runs at rate times the speed of another: with 1.05 it is three
// seconds ahead after a minute. rate must be positive. For tests of real processes.
func Skewed(c Clock, rate float64) Clock { return &skewed{c, rate, c.Now()} }

type skewed struct {
	c     Clock
	rate  float64
	began time.Time
}

func (s *skewed) Now() time.Time {
	return s.began.Add(time.Duration(float64(s.c.Since(s.began)) * s.rate))
}

func (s *skewed) Since(t time.Time) time.Duration { return s.Now().Sub(t) }

// real is how long the other clock takes for d on this one.
func (s *skewed) real(d time.Duration) time.Duration {
	return max(time.Duration(float64(d)/s.rate), min(d, 1))
}

func (s *skewed) NewTicker(d time.Duration) Ticker { return s.c.NewTicker(s.real(d)) }

func (s *skewed) NewTimer(d time.Duration) Timer { return skewedTimer{s.c.NewTimer(s.real(d)), s} }

// skewedTimer is a timer of the other clock.
type skewedTimer struct {
	Timer
	s *skewed
}

func (t skewedTimer) Reset(d time.Duration) { t.Timer.Reset(t.s.real(d)) }
