package clock

import (
	"sync"
	"time"
	"unsafe"
)

// Manual is a clock that stands still until a test moves it. Timers and tickers fire within
// [Manual.Advance], on the caller's goroutine, in the order of their due times and, among equals,
// of their making. Safe for concurrent use.
//
// The instants it gives carry a monotonic reading, as those of [Real] do: after
// [Manual.JumpWall] they show another wall time, and differences between instants before and after
// the jump do not jump.
type Manual struct {
	mu      sync.Mutex // guards all below
	base    time.Time
	elapsed time.Duration
	jumped  time.Duration
	seq     uint64
	waits   []*wait // not sorted: a test has few
}

// NewManual returns a clock whose wall shows start, in the local time zone.
func NewManual(start time.Time) *Manual {
	now := time.Now()
	return &Manual{base: shiftWall(now, start.Round(0).Sub(now.Round(0)))}
}

// Now implements [Clock].
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now()
}

func (m *Manual) now() time.Time { return shiftWall(m.base.Add(m.elapsed), m.jumped) }

// Since implements [Clock].
func (m *Manual) Since(t time.Time) time.Duration { return m.Now().Sub(t) }

// Advance moves the time by d, which may not be negative, and fires what falls due on the way, each
// at its own instant. A ticker's receiver that does not keep up misses ticks.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.elapsed + max(d, 0)
	for {
		w := m.next()
		if w == nil || w.due > end {
			break
		}
		m.elapsed = w.due
		w.fire()
	}
	m.elapsed = end
}

// JumpWall sets the wall clock forward, or with d < 0 back, as an administrator or NTP would:
// durations, timers and tickers do not notice.
func (m *Manual) JumpWall(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jumped += d
}

// Next tells how far away the next timer or tick is; ok is false if none is set.
func (m *Manual) Next() (d time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.next()
	if w == nil {
		return 0, false
	}
	return w.due - m.elapsed, true
}

func (m *Manual) next() *wait {
	var first *wait
	for _, w := range m.waits {
		if first == nil || w.due < first.due || w.due == first.due && w.seq < first.seq {
			first = w
		}
	}
	return first
}

// NewTicker implements [Clock].
func (m *Manual) NewTicker(d time.Duration) Ticker {
	if d <= 0 {
		panic("clock: the interval of a ticker must be positive")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &wait{clock: m, c: make(chan time.Time, 1), every: d}
	m.arm(w, d)
	return manualTicker{w}
}

// NewTimer implements [Clock]. With d <= 0 it has fired when NewTimer returns.
func (m *Manual) NewTimer(d time.Duration) Timer {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &wait{clock: m, c: make(chan time.Time, 1)}
	m.arm(w, d)
	return manualTimer{w}
}

// arm sets w to fire after d; at once if that is now or past.
func (m *Manual) arm(w *wait, d time.Duration) {
	m.seq++
	w.seq = m.seq
	w.due = m.elapsed + max(d, 0)
	m.waits = append(m.waits, w)
	if d <= 0 {
		w.fire()
	}
}

// wait is a timer or, with every > 0, a ticker. Its clock's mu guards it.
type wait struct {
	clock *Manual
	c     chan time.Time
	then  func() // instead of c: called with the clock's lock held
	due   time.Duration
	every time.Duration
	seq   uint64
}

// fire sends the time to a receiver that has taken the last one, and arms a ticker again.
func (w *wait) fire() {
	if w.then != nil {
		w.then()
	} else {
		select {
		case w.c <- w.clock.now():
		default:
		}
	}
	if w.every > 0 {
		w.due += w.every
		return
	}
	w.disarm()
}

// disarm says whether w was armed.
func (w *wait) disarm() bool {
	for i, o := range w.clock.waits {
		if o == w {
			w.clock.waits = append(w.clock.waits[:i], w.clock.waits[i+1:]...)
			return true
		}
	}
	return false
}

// stop disarms w and takes back a firing that nobody has received, as the timers of Go do.
func (w *wait) stop() bool {
	stopped := w.disarm()
	select {
	case <-w.c:
		stopped = true
	default:
	}
	return stopped
}

type manualTicker struct{ w *wait }

func (t manualTicker) C() <-chan time.Time { return t.w.c }

func (t manualTicker) Stop() {
	t.w.clock.mu.Lock()
	defer t.w.clock.mu.Unlock()
	t.w.stop()
}

type manualTimer struct{ w *wait }

func (t manualTimer) C() <-chan time.Time { return t.w.c }

func (t manualTimer) Stop() bool {
	t.w.clock.mu.Lock()
	defer t.w.clock.mu.Unlock()
	return t.w.stop()
}

func (t manualTimer) Reset(d time.Duration) {
	t.w.clock.mu.Lock()
	defer t.w.clock.mu.Unlock()
	t.w.stop()
	t.w.clock.arm(t.w, d)
}

// Layout of time.Time with a monotonic reading: a flag, 33 bits of seconds since 1885, 30 bits of
// nanoseconds.
const (
	monotonicFlag  = 1 << 63
	wallSecondBits = 33
	wallNanoBits   = 30
)

// shiftWall returns t with its wall time moved by d and its monotonic reading as it was. Package
// time has no way to do that: it reads both from the system. Where the layout is not the known
// one, or the wall time leaves the years 1885 to 2157, the result has the wall time alone.
func shiftWall(t time.Time, d time.Duration) time.Time {
	wall := t.Round(0).Add(d)
	seconds := wall.Unix() - time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	if seconds < 0 || seconds >= 1<<wallSecondBits {
		return wall
	}
	shifted := t
	field := (*uint64)(unsafe.Pointer(&shifted)) // the first field of time.Time
	if *field&monotonicFlag == 0 {
		return wall
	}
	*field = monotonicFlag | uint64(seconds)<<wallNanoBits | uint64(wall.Nanosecond())
	if !shifted.Round(0).Equal(wall) || shifted.Sub(t) != 0 {
		return wall
	}
	return shifted
}
