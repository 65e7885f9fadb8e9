package clock_test

import (
	"context"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
)

// TestWithTimeout: a manual clock ends contexts and what was made from them, and says why.
func TestWithTimeout(t *testing.T) {
	m := clock.NewManual(time.Unix(0, 0))
	parent, cancelParent := context.WithCancel(context.Background())
	one, cancelOne := clock.WithTimeout(parent, m, time.Second)
	child, cancelChild := context.WithCancel(one)
	defer cancelChild()
	two, cancelTwo := clock.WithTimeout(parent, m, time.Second)
	m.Advance(999 * time.Millisecond)
	if one.Err() != nil || child.Err() != nil {
		t.Error("it has ended too early")
	}
	cancelTwo()
	m.Advance(time.Millisecond)
	if one.Err() != context.DeadlineExceeded || child.Err() == nil ||
		two.Err() != context.Canceled {
		t.Errorf("ended by time: %v, its child: %v, cancelled before: %v", one.Err(), child.Err(),
			two.Err())
	}
	three, cancelThree := clock.WithTimeout(parent, m, time.Second)
	cancelParent()
	if three.Err() != context.Canceled {
		t.Errorf("its parent was cancelled: %v", three.Err())
	}
	cancelThree()
	cancelOne()
	if _, ok := m.Next(); ok {
		t.Error("a timer is left")
	}
	ctx, cancel := clock.WithTimeout(context.Background(), clock.Real(), time.Hour)
	defer cancel()
	if _, ok := ctx.Deadline(); !ok {
		t.Error("a real clock gives no deadline")
	}
}
