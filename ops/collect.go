package ops

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// total registers a counter that is read from a source.
func (d definer) total(name, help string, read func() uint64) {
	d.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: name, Help: help}, reader(read)))
}

func (d definer) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	d.registry.MustRegister(g)
	return g
}

// The collectors below show labels that change: their metrics are made at each scrape.

func describe(ch chan<- *prometheus.Desc, d *prometheus.Desc) { ch <- d }

func emit(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

// clusterVersion shows the version that the cluster decided on, once it did.
type clusterVersion struct{ read func() string }

func (*clusterVersion) desc() *prometheus.Desc {
	return prometheus.NewDesc("etcd_cluster_version", "Which version is running. 1 for "+
		"'cluster_version' label with current cluster version", []string{"cluster_version"}, nil)
}

func (c *clusterVersion) Describe(ch chan<- *prometheus.Desc) { describe(ch, c.desc()) }

func (c *clusterVersion) Collect(ch chan<- prometheus.Metric) {
	if c.read == nil {
		return
	}
	if v := c.read(); v != "" {
		emit(ch, c.desc(), 1, majorMinor(v))
	}
}

// gates shows which features are on.
type gates struct{ list []Gate }

func (*gates) desc() *prometheus.Desc {
	return prometheus.NewDesc("etcd_server_feature_enabled",
		"Whether or not a feature is enabled. 1 is enabled, 0 is not.",
		[]string{"name", "stage"}, nil)
}

func (c *gates) Describe(ch chan<- *prometheus.Desc) { describe(ch, c.desc()) }

func (c *gates) Collect(ch chan<- prometheus.Metric) {
	for _, g := range c.list {
		value := 0.0
		if g.Enabled {
			value = 1
		}
		emit(ch, c.desc(), value, g.Name, g.Stage)
	}
}

// alarms shows the alarms that are raised.
type alarms struct{ read func() []Alarm }

func (*alarms) desc() *prometheus.Desc {
	return prometheus.NewDesc("etcd_debugging_server_alarms", "Alarms for every member in "+
		"cluster. 1 for 'server_id' label with current ID. 2 for 'alarm_type' label with type of "+
		"this alarm",
		[]string{"server_id", "alarm_type"}, nil)
}

func (c *alarms) Describe(ch chan<- *prometheus.Desc) { describe(ch, c.desc()) }

func (c *alarms) Collect(ch chan<- prometheus.Metric) {
	if c.read == nil {
		return
	}
	for _, a := range sortedAlarms(c.read()) {
		emit(ch, c.desc(), 1, strconv.FormatUint(a.Member, 16), a.Type)
	}
}
