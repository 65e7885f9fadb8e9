package clock_test

import (
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
)

// TestSkewed: a fast clock is ahead, and its timers fire when it shows their time.
func TestSkewed(t *testing.T) {
	m := clock.NewManual(time.Unix(0, 0))
	fast := clock.Skewed(m, 2)
	began := fast.Now()
	timer := fast.NewTimer(4 * time.Second)
	m.Advance(2*time.Second - 1)
	select {
	case <-timer.C():
		t.Error("the timer has fired too early")
	default:
	}
	m.Advance(1)
	if got := fast.Since(began); got != 4*time.Second {
		t.Errorf("after two seconds it shows %v", got)
	}
	select {
	case <-timer.C():
	default:
		t.Error("the timer has not fired")
	}
	timer.Reset(time.Second)
	m.Advance(time.Second / 2)
	if len(timer.C()) != 1 {
		t.Error("the timer was set anew and has not fired")
	}
}
