package clock_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairnkv/cairn/clock"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 123, time.UTC)

// received takes what is waiting in c.
func received(c <-chan time.Time) []time.Duration {
	var at []time.Duration
	for {
		select {
		case t := <-c:
			at = append(at, t.Sub(start))
		default:
			return at
		}
	}
}

// TestBoth runs one script on both clocks; in the bubble the real one is as steady as the other.
func TestBoth(t *testing.T) {
	script := func(c clock.Clock, advance func(time.Duration)) string {
		begin := c.Now()
		timer, ticker := c.NewTimer(25), c.NewTicker(10)
		var got []string
		note := func(name string, at time.Time) {
			got = append(got, fmt.Sprint(name, at.Sub(begin)))
		}
		poll := func() {
			for {
				select { // the timer first: select chooses among the ready at random
				case at := <-timer.C():
					note("timer", at)
					continue
				default:
				}
				select {
				case at := <-ticker.C():
					note("tick", at)
				default:
					return
				}
			}
		}
		for i := range 12 {
			advance(5)
			poll()
			switch i {
			case 5: // 30
				timer.Reset(10)
			case 8: // 45
				got = append(got, fmt.Sprint("stop", timer.Stop()))
				timer.Reset(100)
				got = append(got, fmt.Sprint("stop", timer.Stop()))
			case 9: // 50
				ticker.Stop()
			}
		}
		timer.Reset(1)
		advance(5)
		got = append(got, fmt.Sprint("late stop", timer.Stop()))
		poll()
		timer.Reset(-1)
		advance(0)
		poll()
		return fmt.Sprint(got, c.Since(begin))
	}
	manual := clock.NewManual(start)
	got := script(manual, manual.Advance)
	var want string
	synctest.Test(t, func(t *testing.T) {
		want = script(clock.Real(), func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		})
	})
	if got != want {
		t.Fatalf("the clocks differ:\nmanual %s\nreal   %s", got, want)
	}
}

func TestManualOrder(t *testing.T) {
	m := clock.NewManual(start)
	if !m.Now().Equal(start) {
		t.Fatalf("starts at %v", m.Now())
	}
	a, b, c := m.NewTimer(3), m.NewTimer(1), m.NewTimer(2)
	if d, ok := m.Next(); !ok || d != 1 {
		t.Fatalf("next in %v, %v", d, ok)
	}
	m.Advance(10)
	got := slices.Concat(received(b.C()), received(c.C()), received(a.C()))
	if !slices.Equal(got, []time.Duration{1, 2, 3}) {
		t.Fatalf("fired at %v, each should at its own instant", got)
	}
	if _, ok := m.Next(); ok {
		t.Fatal("a timer fired and is still due")
	}
	ticker := m.NewTicker(4)
	m.Advance(9)
	if got := received(ticker.C()); !slices.Equal(got, []time.Duration{14}) {
		t.Fatalf("ticks %v: the second must be missed, as its receiver was slow", got)
	}
	m.Advance(-5)
	if m.Since(start) != 19 {
		t.Fatal("the time went back")
	}
}

func TestManualWallJump(t *testing.T) {
	m := clock.NewManual(start)
	timer := m.NewTimer(time.Minute)
	before := m.Now()
	for _, jump := range []time.Duration{-48 * time.Hour, 100 * 24 * time.Hour, time.Nanosecond} {
		wall := m.Now().Round(0)
		m.JumpWall(jump)
		if got := m.Now().Round(0).Sub(wall); got != jump {
			t.Fatalf("the wall moved by %v, want %v", got, jump)
		}
		if got := m.Since(before); got != 0 {
			t.Fatalf("a jump of %v made a duration %v", jump, got)
		}
	}
	m.Advance(59 * time.Second)
	if len(timer.C()) != 0 {
		t.Fatal("the timer noticed the jump")
	}
	m.Advance(time.Second)
	if len(timer.C()) != 1 || m.Now().Sub(before) != time.Minute {
		t.Fatal("the timer did not fire after its minute")
	}
}

// TestManualConcurrent is for the race detector.
func TestManualConcurrent(t *testing.T) {
	m := clock.NewManual(start)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			ticker, timer := m.NewTicker(3), m.NewTimer(2)
			for range 100 {
				m.Advance(1)
				timer.Reset(2)
				received(ticker.C())
				m.Now()
			}
			ticker.Stop()
			timer.Stop()
		})
	}
	wg.Wait()
	if _, ok := m.Next(); ok || m.Since(start) != 400 {
		t.Fatalf("%v passed", m.Since(start))
	}
}
