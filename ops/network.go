package ops

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairnkv/cairn"
)

// Peer is the traffic with another member.
type Peer struct {
	ID                            cairn.MemberID
	Active                        bool   // both streams to it are up
	SentBytes, ReceivedBytes      uint64 // in total, as what follows
	SendFailures, ReceiveFailures uint64
	Disconnects                   uint64 // times that it ceased to be active
}

// peers shows the members that this one knows, itself among them, and the traffic with the others.
// Its metrics are made at each scrape: members come and go.
type peers struct {
	local cairn.MemberID
	read  func() []Peer
}

const network = "etcd_network_"

// Descriptions of the metrics of peers, in etcd's words (rafthttp/metrics.go).
var (
	knownPeers = prometheus.NewDesc(network+"known_peers",
		"The current number of known peers.", []string{"Local", "Remote"}, nil)
	activePeers = prometheus.NewDesc(network+"active_peers",
		"The current number of active peer connections.", []string{"Local", "Remote"}, nil)
	disconnectedPeers = prometheus.NewDesc(network+"disconnected_peers_total",
		"The total number of disconnected peers.", []string{"Local", "Remote"}, nil)
	peerSentBytes = prometheus.NewDesc(network+"peer_sent_bytes_total",
		"The total number of bytes sent to peers.", []string{"To"}, nil)
	peerReceivedBytes = prometheus.NewDesc(network+"peer_received_bytes_total",
		"The total number of bytes received from peers.", []string{"From"}, nil)
	peerSentFailures = prometheus.NewDesc(network+"peer_sent_failures_total",
		"The total number of send failures from peers.", []string{"To"}, nil)
	peerReceivedFailures = prometheus.NewDesc(network+"peer_received_failures_total",
		"The total number of receive failures from peers.", []string{"From"}, nil)
)

func (*peers) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{knownPeers, activePeers, disconnectedPeers, peerSentBytes,
		peerReceivedBytes, peerSentFailures, peerReceivedFailures} {
		describe(ch, d)
	}
}

func (c *peers) Collect(ch chan<- prometheus.Metric) {
	local := hexadecimal(c.local)
	emit(ch, knownPeers, 1, local, local)
	if c.read == nil {
		return
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for _, p := range c.read() {
		id, active := hexadecimal(p.ID), 0.0
		if p.Active {
			active = 1
		}
		emit(ch, knownPeers, 1, local, id)
		emit(ch, activePeers, active, local, id)
		count(disconnectedPeers, p.Disconnects, local, id)
		count(peerSentBytes, p.SentBytes, id)
		count(peerReceivedBytes, p.ReceivedBytes, id)
		count(peerSentFailures, p.SendFailures, id)
		count(peerReceivedFailures, p.ReceiveFailures, id)
	}
}

func hexadecimal(id cairn.MemberID) string { return strconv.FormatUint(id, 16) }

// snapshots are the metrics of states between members, in one direction.
type snapshots struct {
	inflight          *prometheus.GaugeVec
	success, failures *prometheus.CounterVec
	duration          *prometheus.HistogramVec
}

// transfers defines what is about the network between members.
func (d definer) transfers(m *Metrics) {
	m.roundTrip = d.histograms(network+"peer_round_trip_time_seconds",
		"Round-Trip-Time histogram between peers", doubling(0.0001, 16), "To")
	both := func(verb, what, label string) snapshots {
		name := network + "snapshot_" + verb
		return snapshots{
			inflight: d.gauges(name+"_inflights_total",
				"Total number of inflight snapshot "+what+"s", label),
			success: d.counters(name+"_success",
				"Total number of successful snapshot "+what+"s", label),
			failures: d.counters(name+"_failures",
				"Total number of snapshot "+what+" failures", label),
			duration: d.histograms(name+"_total_duration_seconds",
				"Total latency distributions of v3 snapshot "+what+"s", doubling(0.1, 10), label),
		}
	}
	m.sends, m.receives = both("send", "send", "To"), both("receive", "receive", "From")
}

// PeerRTT counts a measured round trip to another member.
func (m *Metrics) PeerRTT(id cairn.MemberID, d time.Duration) {
	m.roundTrip.WithLabelValues(hexadecimal(id)).Observe(d.Seconds())
}

// SendingSnapshot counts a state on its way to a member; done is called at its end.
func (m *Metrics) SendingSnapshot(to cairn.MemberID) (done func(took time.Duration, err error)) {
	return m.sends.begin(to)
}

// ReceivingSnapshot is the same for one that comes from a member.
func (m *Metrics) ReceivingSnapshot(from cairn.MemberID) (
	done func(took time.Duration, err error),
) {
	return m.receives.begin(from)
}

func (s *snapshots) begin(peer cairn.MemberID) (done func(took time.Duration, err error)) {
	id := hexadecimal(peer)
	s.inflight.WithLabelValues(id).Inc()
	return func(took time.Duration, err error) {
		s.inflight.WithLabelValues(id).Dec()
		if err != nil {
			s.failures.WithLabelValues(id).Inc()
			return
		}
		s.success.WithLabelValues(id).Inc()
		s.duration.WithLabelValues(id).Observe(took.Seconds())
	}
}
