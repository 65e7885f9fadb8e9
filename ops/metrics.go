package ops

import (
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/version"
)

// Metrics is every metric of the server, under etcd's names, with a registry of its own. Counters
// and histograms are fields that their owners count with; gauges are read from [Sources] at each
// scrape. All of it is safe for concurrent use and costs a few nanoseconds (an atomic addition).
//
// A metric of etcd that has no counterpart here exists and stays 0, so that dashboards and alerts
// find every name.
type Metrics struct {
	// Storage.
	Puts, Deletes, Ranges, Txns prometheus.Counter // operations seen by this member
	CompactedKeys               prometheus.Counter // records that compactions dropped
	CompactionLast              prometheus.Gauge   // Unix seconds of the last compaction's end
	CompactionTotal             prometheus.Observer
	CompactionPause             prometheus.Observer // milliseconds, as CompactionTotal
	IndexCompactionPause        prometheus.Observer // milliseconds
	Hash, HashRev               prometheus.Observer // seconds, as all below unless said
	Snapshot                    prometheus.Observer // writing a backup
	Commit                      prometheus.Observer // writing a checkpoint
	WALFsync, WALWrite          prometheus.Observer

	// Consensus.
	LeaderChanges                    prometheus.Counter
	ProposalsFailed                  prometheus.Counter
	HeartbeatFailures                prometheus.Counter
	SlowApplies                      prometheus.Counter
	SlowReadIndexes, ReadIndexFailed prometheus.Counter
	LearnerPromotions                prometheus.Counter
	PromotionFailures                *prometheus.CounterVec // by reason
	SnapshotApplying                 prometheus.Gauge       // 1 while a peer's state is installed
	SnapshotSent, SnapshotReceived   prometheus.Counter     // bytes of states between members

	roundTrip       *prometheus.HistogramVec
	sends, receives snapshots

	// Leases.
	LeasesGranted, LeasesRenewed, LeasesRevoked, LeasesExpired prometheus.Counter
	LeaseTTL                                                   prometheus.Observer

	// Requests.
	ReceivedBytes, SentBytes prometheus.Counter       // payloads of gRPC messages
	Apply                    *prometheus.HistogramVec // labels version ("v3"), op, success
	RangeDuration            *prometheus.HistogramVec // label success
	Request                  *prometheus.HistogramVec // labels type, success
	StreamFailures           *prometheus.CounterVec   // labels Type, API

	healthSuccesses, healthFailures prometheus.Counter
	healthResult                    *prometheus.GaugeVec
	healthTotal                     *prometheus.CounterVec
	clientRequests                  *prometheus.CounterVec
	rpc                             rpcVectors
	registry                        *prometheus.Registry

	mu       sync.Mutex // guards versions
	versions map[string]bool
}

// Sources are the values that are read at each scrape, on the scraper's goroutine. A nil function
// is 0 (or "").
type Sources struct {
	ServerID cairn.MemberID
	Gates    []Gate

	HasLeader, IsLeader, IsLearner func() bool
	Committed, Applied             func() uint64 // raft indexes
	Pending                        func() int64  // proposals that wait for their commit
	ClusterVersion                 func() string // "3.7.0"; "" while it is not decided
	Alarms                         func() []Alarm

	Revision, CompactRevision func() int64
	Keys                      func() int64 // live keys
	Size, SizeInUse           func() int64 // bytes on disk; of them, those that are needed
	Quota                     func() int64 // bytes
	OpenReads                 func() int64 // pinned views
	PutBytes                  func() int64 // keys and values put, bytes in total
	WALBytes                  func() int64 // written, bytes in total

	WatchStreams, Watchers, SlowWatchers func() int64
	PendingEvents                        func() int64
	Events                               func() uint64 // sent, in total

	Peers func() []Peer // the other members
}

// Gate is a feature gate as /metrics shows it.
type Gate struct {
	Name, Stage string
	Enabled     bool
}

// NewMetrics makes and registers all metrics. extensive adds the histograms of RPC latencies.
func NewMetrics(s Sources, extensive bool) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), versions: map[string]bool{}}
	d := definer{m.registry}
	d.storage(m, s)
	d.consensus(m, s)
	d.requests(m, s)
	d.transfers(m)
	d.absent()
	m.rpc = newRPCVectors(m.registry, extensive)
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	d.constant("etcd_server_version", "Which version is running. 1 for 'server_version' label "+
		"with current version.", "server_version", version.Etcd)
	d.constant("etcd_server_go_version", "Which Go version server is running with. 1 for "+
		"'server_go_version' label with current version.", "server_go_version", runtime.Version())
	d.constant("etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' "+
		"label with current ID.", "server_id", strconv.FormatUint(s.ServerID, 16))
	m.registry.MustRegister(&gates{s.Gates}, &clusterVersion{s.ClusterVersion},
		&alarms{s.Alarms}, &peers{s.ServerID, s.Peers})
	return m
}

// handler serves the registry as Prometheus text, and counts the scrapes.
func (m *Metrics) handler() http.Handler {
	return promhttp.InstrumentMetricHandler(m.registry,
		promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
}

// maxClientVersions bounds the label client_api_version, which clients choose.
const maxClientVersions = 32

// ClientRequest counts a request: kind is "unary" or "stream", ver what the client says it speaks.
// Beyond maxClientVersions different ones, and for what is no version, it counts as "other".
func (m *Metrics) ClientRequest(kind, ver string) {
	m.clientRequests.WithLabelValues(kind, m.knownVersion(ver)).Inc()
}

// maxVersionBytes bounds one value of the label.
const maxVersionBytes = 64

func (m *Metrics) knownVersion(ver string) string {
	if len(ver) > maxVersionBytes {
		return "other"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.versions[ver] {
		return ver
	}
	if len(m.versions) >= maxClientVersions {
		return "other"
	}
	m.versions[strings.Clone(strings.ToValidUTF8(ver, "?"))] = true
	return strings.ToValidUTF8(ver, "?")
}

func (m *Metrics) healthCheck(kind, name string, ok bool) {
	status, value := "success", 1.0
	if !ok {
		status, value = "error", 0
	}
	m.healthResult.WithLabelValues(kind, name).Set(value)
	m.healthTotal.WithLabelValues(kind, name, status).Inc()
}

// definer registers metrics by name.
type definer struct{ registry *prometheus.Registry }

func (d definer) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	d.registry.MustRegister(c)
	return c
}

func (d definer) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	d.registry.MustRegister(c)
	return c
}

func (d definer) setGauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	d.registry.MustRegister(g)
	return g
}

// number is what a source returns.
type number interface{ ~int64 | ~uint64 }

// gauge registers a gauge that is read from a source.
func gauge[N number](d definer, name, help string, read func() N) {
	d.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: name, Help: help}, reader(read)))
}

// reader turns a source into a function that may be called although the source is nil.
func reader[N number](read func() N) func() float64 {
	if read == nil {
		return func() float64 { return 0 }
	}
	return func() float64 { return float64(read()) }
}

func (d definer) flag(name, help string, read func() bool) {
	gauge(d, name, help, func() int64 {
		if read != nil && read() {
			return 1
		}
		return 0
	})
}

func (d definer) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets})
	d.registry.MustRegister(h)
	return h
}

func (d definer) histograms(name, help string, buckets []float64, labels ...string,
) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets}, labels)
	d.registry.MustRegister(h)
	return h
}

// constant registers a gauge of value 1 whose label is the message.
func (d definer) constant(name, help, label, value string) {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: name, Help: help, ConstLabels: prometheus.Labels{label: value}})
	g.Set(1)
	d.registry.MustRegister(g)
}

// doubling is buckets from start on, each twice the one before.
func doubling(start float64, n int) []float64 { return prometheus.ExponentialBuckets(start, 2, n) }

// majorMinor shortens "3.7.0" to "3.7".
func majorMinor(v string) string {
	parts := strings.SplitN(v, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// sortedAlarms drops duplicates, which the registry would refuse.
func sortedAlarms(list []Alarm) []Alarm {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Alarm) int {
		if a.Member != b.Member {
			if a.Member < b.Member {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Type, b.Type)
	})
	return slices.Compact(list)
}
