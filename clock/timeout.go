package clock

import (
	"context"
	"time"
)

// WithTimeout is context.WithTimeout by a clock: a [Manual] one ends the context within Advance,
// all others when the system's time has come.
func WithTimeout(
	ctx context.Context, c Clock, d time.Duration,
) (context.Context, context.CancelFunc) {
	m, ok := c.(*Manual)
	if !ok {
		return context.WithTimeout(ctx, d)
	}
	inner, cancel := context.WithCancelCause(ctx)
	w := &wait{clock: m, then: func() { cancel(context.DeadlineExceeded) }}
	m.mu.Lock()
	m.arm(w, d)
	m.mu.Unlock()
	return manualContext{inner}, func() {
		m.mu.Lock()
		w.disarm()
		m.mu.Unlock()
		cancel(context.Canceled)
	}
}

// manualContext tells a deadline that has passed from a cancellation.
type manualContext struct{ context.Context }

func (c manualContext) Err() error {
	err := c.Context.Err()
	if err != nil && context.Cause(c.Context) == context.DeadlineExceeded {
		return context.DeadlineExceeded
	}
	return err
}
