package watch

import "time"

// Defaults and bounds of [Options].
const (
	// DefaultStreamBytes bounds what is queued for one stream.
	DefaultStreamBytes = 1 << 20
	// DefaultResponseBytes is etcd's default: --max-request-bytes (1.5 MiB) and 512 KiB.
	DefaultResponseBytes = 2 << 20
	// DefaultProgressInterval is etcd's --watch-progress-notify-interval.
	DefaultProgressInterval = 10 * time.Minute
	// MinProgressInterval is the smallest interval of progress notifications, as in etcd.
	MinProgressInterval = 100 * time.Millisecond
)

// Limits of loops and batches.
const (
	// chunkEvents and chunkBytes bound one read of the history by Step.
	chunkEvents = 1024
	chunkBytes  = 512 << 10
	// mergeBytes bounds a response that Take makes of several revisions of one watcher.
	mergeBytes = 64 << 10
	// lockBatch is how many watchers or streams are handled under one hold of the hub's lock by
	// what has time: Step, Close, Tick.
	lockBatch = 128
	// maxProgressWaiting bounds the progress requests of a stream that wait for the applier.
	maxProgressWaiting = 64
	// minItems and keepItems bound what an idle stream keeps of its queue's capacity: always up to
	// the first, never more than the second.
	minItems  = 32
	keepItems = 1024
	// keepBodies is what a group keeps of its bodies' capacity.
	keepBodies = 128
	// arenaChunk is the unit in which memory for small encoded events is allocated; an event of
	// arenaSmall bytes or more has its own.
	arenaChunk = 4 << 10
	arenaSmall = 512
)

// Options are the hub's settings; the zero value of a field means its default.
type Options struct {
	// StreamBytes bounds the bytes of events queued for a stream (a single revision larger than
	// that is queued alone). Small control responses come on top; see [Stream.Congested].
	StreamBytes int
	// ResponseBytes is the size of a response from which on it is split, for watchers that asked
	// for fragments. etcd: --max-request-bytes plus 512 KiB.
	ResponseBytes int
	// ProgressInterval gives the time between a stream's progress notifications. It is called once
	// for each stream that is opened, so it can add jitter (etcd: up to 10 %). Less than
	// MinProgressInterval counts as that. nil means DefaultProgressInterval.
	ProgressInterval func() time.Duration
	// Failed is told of an error of the store that ended watchers, for the server's log. It must
	// not call into the hub. nil means that nobody is told.
	Failed func(err error)
}

func (o Options) withDefaults() Options {
	if o.StreamBytes <= 0 {
		o.StreamBytes = DefaultStreamBytes
	}
	if o.ResponseBytes <= 0 {
		o.ResponseBytes = DefaultResponseBytes
	}
	if o.ProgressInterval == nil {
		o.ProgressInterval = func() time.Duration { return DefaultProgressInterval }
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	return o
}

// Stats are the hub's counters, named after etcd's metrics.
type Stats struct {
	Streams  int64  // open streams (watch_stream_total)
	Watchers int64  // watchers that were created and not canceled (watcher_total)
	Slow     int64  // of these, those that are behind (slow_watcher_total)
	Pending  int64  // events queued and not yet taken (pending_events_total)
	Events   uint64 // events taken since the hub was made (events_total)
}
