package upkeep

import (
	"time"

	"github.com/cairnkv/cairn/internal/mutate"
)

// CompactionMode is etcd's --auto-compaction-mode.
type CompactionMode uint8

// The modes.
const (
	CompactOff      CompactionMode = iota
	CompactPeriodic                // keep the revisions of the last Retention
	CompactRevision                // keep the last Revisions revisions
)

const (
	// revisionInterval is how often the revision mode compacts (etcd v3compactor/revision.go).
	revisionInterval = 5 * time.Minute
	// samplesPerPeriod divides the time between two compactions in the periodic mode
	// (etcd v3compactor/periodic.go: retryDivisor).
	samplesPerPeriod = 10
)

// Compactor decides when to compact at which revision, as etcd's automatic compaction does. Not
// safe for concurrent use.
type Compactor struct {
	mode      CompactionMode
	retention time.Duration
	keep      int64

	started bool
	next    time.Time // of the next sample or run
	last    time.Time // of the last compaction, or the start
	samples []int64   // revisions, oldest first, one per interval; bounded by the retention
	done    int64     // newest revision compacted at
}

// NewCompactor makes a compactor; retention is for CompactPeriodic, keep for CompactRevision.
func NewCompactor(mode CompactionMode, retention time.Duration, keep int64) *Compactor {
	if mode == CompactPeriodic && retention <= 0 || mode == CompactRevision && keep <= 0 {
		mode = CompactOff
	}
	return &Compactor{mode: mode, retention: retention, keep: keep}
}

// interval is the time between two compactions: the retention, an hour at most.
func (c *Compactor) interval() time.Duration { return min(c.retention, time.Hour) }

// Tick is told the time, the store's revision and whether this member leads; it returns a
// revision to compact at, or 0. Without leadership it keeps sampling and returns 0.
func (c *Compactor) Tick(now time.Time, rev int64, leader bool) int64 {
	if c.mode == CompactOff {
		return 0
	}
	if !c.started {
		c.started, c.next, c.last = true, now, now
		if c.mode == CompactRevision {
			c.next = now.Add(revisionInterval)
		}
	}
	if now.Before(c.next) {
		return 0
	}
	var target int64
	if c.mode == CompactRevision {
		c.next = now.Add(revisionInterval)
		target = rev - c.keep
	} else {
		target = c.sample(now, rev)
	}
	if !leader || target <= c.done || target <= 0 {
		return 0
	}
	c.last = now
	return target
}

// sample notes the revision and returns the one of a retention ago if it is time to compact.
func (c *Compactor) sample(now time.Time, rev int64) int64 {
	step := c.interval() / samplesPerPeriod
	c.next = now.Add(step)
	c.samples = append(c.samples, rev)
	if limit := int(c.retention/step) + 1; len(c.samples) > limit {
		c.samples = c.samples[len(c.samples)-limit:]
	} else if len(c.samples) < limit {
		return 0 // not a whole retention yet
	}
	if c.done > 0 && now.Sub(c.last) < c.interval() {
		return 0
	}
	if mutate.On(mutate.CompactionTooNew) {
		return rev
	}
	return c.samples[0]
}

// Done tells that a compaction at rev was carried out, or that there was none to do.
func (c *Compactor) Done(rev int64) { c.done = max(c.done, rev) }
