package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// WatchGet measures serializable gets while watchers catch up with the past: a key is put to some
// times, then all watchers begin at its first revision, all at once, and the load is over when each
// of them has had every event.
type WatchGet struct {
	Streams  int // default: 1
	Watchers int // in all; default: 10,000
	Events   int // that each watcher is behind; default: 8
}

const (
	defaultGetStreams  = 1
	defaultGetWatchers = 10_000
	defaultGetEvents   = 8

	otherKey = "abc" // etcd's benchmark's
)

// Verb is "watch-get".
func (WatchGet) Verb() string { return "watch-get" }

// Series of the load.
const (
	getSeries = iota
	caughtSeries
	getCreateSeries
)

// watchGetPlan is the load in a run. Of the watchPlan it uses streams and counters.
type watchGetPlan struct {
	*watchPlan
	get []byte
}

func (w WatchGet) build(o *Options, seed uint64) (plan, error) {
	if w.Streams == 0 {
		w.Streams = defaultGetStreams
	}
	if w.Watchers == 0 {
		w.Watchers = defaultGetWatchers
	}
	if w.Events == 0 {
		w.Events = defaultGetEvents
	}
	if w.Streams < 0 || w.Watchers < w.Streams || w.Events < 0 {
		return nil, fmt.Errorf("%d watchers with %d events on %d streams are not possible",
			w.Watchers, w.Events, w.Streams)
	}
	if o.Duration > 0 || o.Warmup > 0 {
		return nil, errors.New("this load ends when all events have come: it has no duration")
	}
	watch := Watch{Streams: w.Streams, Watchers: w.Watchers / w.Streams, ValueSize: timeSize}
	made, err := watch.build(o, seed)
	if err != nil {
		return nil, err
	}
	p := &watchGetPlan{watchPlan: made.(*watchPlan)}
	p.behind = w.Events
	p.expected.Store(int64(p.Streams) * int64(p.Watchers) * int64(w.Events))
	read := rangeRequest{key: []byte(otherKey), serializable: true}
	p.get = read.append(nil)
	return p, nil
}

func (p *watchGetPlan) series() []string { return []string{"get", "catch-up", "create"} }

func (p *watchGetPlan) next(_ *client, msg []byte) request {
	return request{method: rangeMethod, msg: append(msg, p.get...)}
}

// setup writes the past.
func (p *watchGetPlan) setup(ctx context.Context, r *run) error {
	past := &pastPlan{key: p.keys.append(nil, 0)}
	if err := r.alone(ctx, past, p.behind); err != nil {
		return err
	}
	p.startRev = past.first
	return nil
}

// pastPlan puts to the key that will be watched.
type pastPlan struct {
	unprepared
	key   []byte
	first int64 // revision
}

func (p *pastPlan) series() []string { return []string{"put"} }

func (p *pastPlan) next(_ *client, msg []byte) request {
	return request{method: putMethod, msg: appendPut(msg, p.key, []byte("past"), 0)}
}

func (p *pastPlan) reply(_ *client, msg []byte) (bool, error) {
	rev, err := headerRevision(msg)
	if p.first == 0 {
		p.first = rev
	}
	return false, err
}

// caught takes a message of a stream whose watchers catch up.
func (s *watchStream) caught(w *worker, resp watchResponse) {
	p := s.plan
	if resp.created {
		w.stats[getCreateSeries].latency.Record(time.Duration(w.now - s.at))
		p.created.Store(w.now)
	}
	if resp.events == 0 {
		return
	}
	if s.had == nil {
		s.had = make(map[int64]int)
	}
	s.had[resp.id] += resp.events
	if s.had[resp.id] == p.behind {
		w.stats[caughtSeries].latency.Record(time.Duration(w.now - s.at))
	}
	w.last = w.now
	w.run.events.Add(int64(resp.events))
	w.wake()
}
