package playground

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cairnkv/cairn/clock"
)

const (
	// writeEvery is the time between two writes to one member.
	writeEvery = 100 * time.Millisecond
	// writeTimeout is how long a write may take before the next one is tried.
	writeTimeout = time.Second
	// outageTime is the pause between two writes from which on it is reported. A write is due
	// somewhere every writeEvery.
	outageTime = 400 * time.Millisecond
	// loadKeys is how many keys each member's writer puts in turn.
	loadKeys = 32
)

// loadSwitch is the load that can be switched on: one writer for each member, so that the cluster
// is seen to be writable when any of its members takes a write. Its methods may be called at once.
type loadSwitch struct {
	mu    sync.Mutex // guards the fields below
	on    bool
	meter meter
}

// set switches the load on or off.
func (l *loadSwitch) set(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on, l.meter = on, meter{last: clock.Real().Now()}
}

// read returns what was measured since the last time; false while the load is off.
func (l *loadSwitch) read() (measured, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.on {
		return measured{}, false
	}
	return l.meter.read(clock.Real().Now()), true
}

func (l *loadSwitch) isOn() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.on
}

// write puts keys to one member while the load is on.
func (l *loadSwitch) write(ctx context.Context, m *member) {
	ticker := clock.Real().NewTicker(writeEvery)
	defer ticker.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		if !l.isOn() || !m.awake() {
			continue
		}
		began := clock.Real().Now()
		try, cancel := context.WithTimeout(ctx, writeTimeout)
		_, err := m.client.Put(try, fmt.Sprintf("playground/%s/%d", m.Name, n%loadKeys),
			fmt.Sprint(n))
		cancel()
		if err != nil {
			continue // it is missed in what is measured
		}
		n++
		l.mu.Lock()
		if l.on {
			l.meter.wrote(began, clock.Real().Now()) // under the lock: times only rise
		}
		l.mu.Unlock()
	}
}

// meter adds up writes. It reads no clock.
type meter struct {
	last    time.Time // of the last write that succeeded, or of the beginning
	begun   bool      // a write has succeeded
	writes  int
	spent   time.Duration
	longest time.Duration
	outages []time.Duration
}

// wrote notes a write that succeeded. What was before the first one is no pause of writes: the
// cluster may just have been started.
func (m *meter) wrote(from, to time.Time) {
	if pause := to.Sub(m.last); m.begun {
		m.longest = max(m.longest, pause)
		if pause >= outageTime {
			m.outages = append(m.outages, pause)
		}
	}
	m.last, m.begun = to, true
	m.writes++
	m.spent += to.Sub(from)
}

// read returns what was noted since it was last called.
func (m *meter) read(now time.Time) measured {
	out := measured{writes: m.writes, longest: m.longest, outages: m.outages}
	if m.writes > 0 {
		out.latency = m.spent / time.Duration(m.writes)
	}
	if pause := now.Sub(m.last); pause >= outageTime {
		out.stalled = pause
		if m.begun {
			out.longest = max(out.longest, pause)
		}
	}
	m.writes, m.spent, m.outages = 0, 0, nil
	return out
}
