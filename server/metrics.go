package server

import (
	"sync/atomic"
	"time"

	"github.com/cairnkv/cairn/alarm"
	"github.com/cairnkv/cairn/node"
	"github.com/cairnkv/cairn/ops"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/wal"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// outcomes are a histogram's two series, of what succeeded and of what did not.
type outcomes struct{ success, failure prometheus.Observer }

// newOutcomes looks up the series of a histogram whose last label is "success".
func newOutcomes(h *prometheus.HistogramVec, labels ...string) outcomes {
	return outcomes{
		h.WithLabelValues(append(labels[:len(labels):len(labels)], "true")...),
		h.WithLabelValues(append(labels[:len(labels):len(labels)], "false")...),
	}
}

func (o outcomes) observe(ok bool, d time.Duration) {
	if ok {
		o.success.Observe(d.Seconds())
	} else {
		o.failure.Observe(d.Seconds())
	}
}

// totals are sums that are kept while the member starts, before its metrics exist, and after.
type totals struct {
	walBytes atomic.Int64
	putBytes atomic.Int64
	metrics  atomic.Pointer[ops.Metrics] // nil until the member's id is known
}

// walOptions of a member's raft log.
func (s *Server) walOptions(metadata []byte) wal.Options {
	return wal.Options{
		Metadata:     metadata,
		SegmentBytes: s.sys.walBytes,
		Clock:        s.clk,
		OnWrite: func(bytes int, d time.Duration) {
			total := s.totals.walBytes.Add(int64(bytes))
			if total/prepareBytes != (total-int64(bytes))/prepareBytes {
				poke(s.prepareDue)
			}
			if m := s.totals.metrics.Load(); m != nil {
				m.WALWrite.Observe(d.Seconds())
			}
		},
		OnSync: func(_ int, d time.Duration) {
			if m := s.totals.metrics.Load(); m != nil {
				m.WALFsync.Observe(d.Seconds())
			}
		},
	}
}

// newMetrics makes the metrics of a member whose data is open.
func (s *Server) newMetrics() *ops.Metrics {
	machine, hub := s.stores.machine, s.hub
	status := s.node.Status
	stats := s.stores.log.Stats
	m := ops.NewMetrics(ops.Sources{
		ServerID:        machine.Local(),
		Gates:           s.gates(),
		HasLeader:       func() bool { return status().Leader != 0 },
		IsLeader:        func() bool { return status().IsLeader },
		IsLearner:       func() bool { return status().Learner },
		Committed:       func() uint64 { return status().Commit },
		Applied:         func() uint64 { return status().Applied },
		Pending:         func() int64 { return int64(s.node.Pending()) },
		ClusterVersion:  machine.Members().Version,
		Alarms:          s.alarms,
		Revision:        machine.Store().Rev,
		CompactRevision: machine.Store().CompactRev,
		Keys:            func() int64 { return int64(machine.Store().Stats().Keys) },
		Size:            func() int64 { return stats().DiskBytes },
		SizeInUse:       s.stores.log.LiveBytes,
		Quota:           s.cfg.Quota,
		PutBytes:        s.totals.putBytes.Load,
		WALBytes:        s.totals.walBytes.Load,
		WatchStreams:    func() int64 { return hub.Stats().Streams },
		Watchers:        func() int64 { return hub.Stats().Watchers },
		SlowWatchers:    func() int64 { return hub.Stats().Slow },
		PendingEvents:   func() int64 { return hub.Stats().Pending },
		Events:          func() uint64 { return hub.Stats().Events },
		Peers:           s.traffic,
	}, s.cfg.Extensive())
	s.totals.metrics.Store(m)
	return m
}

// gates are the feature gates as /metrics shows them.
func (s *Server) gates() []ops.Gate {
	var list []ops.Gate
	for _, g := range s.cfg.Gates.All() {
		list = append(list, ops.Gate{Name: g.Name, Stage: g.Stage, Enabled: g.Default})
	}
	return list
}

// alarms lists the raised alarms with the names of the API.
func (s *Server) alarms() []ops.Alarm {
	var list []ops.Alarm
	for _, a := range s.stores.machine.Alarms().List(alarm.None) {
		list = append(list, ops.Alarm{
			Member: a.Member, Type: etcdserverpb.AlarmType(a.Type).String(),
		})
	}
	return list
}

// count feeds the counters with what the applier executed. On the applier.
func (s *Server) count(c state.Counts) {
	s.totals.putBytes.Add(c.PutBytes)
	m := s.totals.metrics.Load()
	if m == nil {
		return
	}
	m.Puts.Add(float64(c.Puts))
	m.Deletes.Add(float64(c.Deletes))
	m.Ranges.Add(float64(c.Ranges))
	m.Txns.Add(float64(c.Txns))
}

// countLeases feeds the counters of leases. On the applier.
func (s *Server) countLeases(events []state.LeaseEvent) {
	m := s.totals.metrics.Load()
	if m == nil {
		return
	}
	for i := range events {
		switch e := &events[i]; e.Kind {
		case state.LeaseGranted:
			m.LeasesGranted.Inc()
			m.LeaseTTL.Observe(float64(e.TTL))
		case state.LeaseRevoked:
			m.LeasesRevoked.Inc()
		}
	}
}

// countLeader counts a change of the leader. On the node's loop.
func (s *Server) countLeader(st node.Status) {
	if m := s.totals.metrics.Load(); m != nil && st.Leader != 0 {
		m.LeaderChanges.Inc()
	}
}
