package server

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// hookedCounter calls a function before it counts.
type hookedCounter struct {
	prometheus.Counter
	before func()
}

func (c *hookedCounter) Inc() {
	c.before()
	c.Counter.Inc()
}

// A tick writes a checkpoint of one lease and ends another. A client that renews the first while
// the tick is at the second was told the full time: the log must not end with the checkpoint.
func TestLeaseRenewedDuringTick(t *testing.T) {
	withTime(t, func(t *testing.T, m *timed) {
		const checkpointed, ends = 7, 8
		must(t, m.grant(checkpointed, 1000), m.grant(ends, 300))
		m.pass(299 * time.Second)
		renewals := 0
		// It is counted before the end is proposed, in the midst of the tick.
		m.metrics.LeasesExpired = &hookedCounter{m.metrics.LeasesExpired, func() {
			renewals++
			if ttl, err := m.back.KeepAlive(t.Context(), checkpointed); err != nil || ttl != 1000 {
				t.Errorf("keep alive: %d, %v", ttl, err)
			}
		}}
		m.pass(2 * time.Second)
		if renewals != 1 || m.left(ends) != -1 {
			t.Fatalf("%d renewals, the other lease has %d s left", renewals, m.left(ends))
		}
		m.restart(t, 0) // the next leader has what the log says
		if ttl := m.left(checkpointed); ttl != 1000 {
			t.Errorf("renewed for 1000 s, and the next leader ends it after %d", ttl)
		}
	})
}
