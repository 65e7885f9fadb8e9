package clock

import "time"

// Real returns the clock of the machine.
func Real() Clock { return real{} }

type real struct{}

func (real) Now() time.Time { return time.Now() }

func (real) Since(t time.Time) time.Duration { return time.Since(t) }

func (real) NewTicker(d time.Duration) Ticker { return realTicker{time.NewTicker(d)} }

func (real) NewTimer(d time.Duration) Timer { return realTimer{time.NewTimer(d)} }

type realTicker struct{ t *time.Ticker }

func (t realTicker) C() <-chan time.Time { return t.t.C }
func (t realTicker) Stop()               { t.t.Stop() }

// realTimer leans on what Go 1.23 promises: after Stop or Reset no earlier firing is received.
type realTimer struct{ t *time.Timer }

func (t realTimer) C() <-chan time.Time   { return t.t.C }
func (t realTimer) Stop() bool            { return t.t.Stop() }
func (t realTimer) Reset(d time.Duration) { t.t.Reset(d) }
