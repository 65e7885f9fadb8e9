package ops

import (
	"cmp"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
)

// sources answers everything with numbers that can be told apart.
func sources() Sources {
	yes := func() bool { return true }
	n := int64(100)
	next := func() func() int64 { n++; v := n; return func() int64 { return v } }
	u := func() uint64 { return 7 }
	return Sources{
		ServerID: 0x8e9e05c52164694d, Gates: []Gate{{"A", "ALPHA", true}, {"B", "BETA", false}},
		HasLeader: yes, IsLeader: yes, Committed: u, Applied: u, Pending: next(),
		ClusterVersion: func() string { return "3.7.0" },
		Alarms: func() []Alarm {
			return []Alarm{{1, "NOSPACE"}, {1, "CORRUPT"}, {1, "NOSPACE"}}
		},
		Revision: next(), CompactRevision: next(), Keys: next(), Size: next(), SizeInUse: next(),
		Quota: next(), OpenReads: next(), PutBytes: next(), WALBytes: next(),
		WatchStreams: next(), Watchers: next(), SlowWatchers: next(), PendingEvents: next(),
		Events: u,
	}
}

// scrape serves /metrics once.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("code %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// touch gives each labelled metric a value, so that it is shown.
func touch(m *Metrics) {
	m.ClientRequest("unary", "3.7")
	m.Apply.WithLabelValues("v3", "Put", "true").Observe(1)
	m.RangeDuration.WithLabelValues("true").Observe(1)
	m.Request.WithLabelValues("Put", "true").Observe(1)
	m.RPC("etcdserverpb.KV", "Range", "unary").Handled(codes.OK, time.Second)
	m.healthCheck("readyz", "non_learner", true)
}

// shape is what can be compared of one metric: type, labels, buckets, help.
func shape(f *dto.MetricFamily) string {
	labels := map[string]bool{}
	var buckets []string
	for _, m := range f.Metric {
		for _, l := range m.Label {
			labels[l.GetName()] = true
		}
		if h := m.Histogram; h != nil && buckets == nil {
			for _, b := range h.Bucket {
				buckets = append(buckets, strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64))
			}
			buckets = append(buckets, "+Inf")
		}
	}
	var names []string
	for l := range labels {
		names = append(names, l)
	}
	slices.Sort(names)
	return strings.Join([]string{strings.ToLower(f.Type.String()), strings.Join(names, ","),
		strings.Join(buckets, ","), f.GetHelp()}, "\t")
}

// TestNames holds every metric against /metrics of a real etcd 3.7.3: name, type, labels, buckets
// and help. Those of Go and of the process come from the library: there the names count.
func TestNames(t *testing.T) {
	m := NewMetrics(sources(), true)
	touch(m)
	scrape(t, m) // the handler registers its own
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range families {
		got[f.GetName()] = shape(f)
	}
	text, err := os.ReadFile("testdata/etcd-3.7.3-metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		name, want, ok := strings.Cut(line, "\t")
		if !ok {
			continue
		}
		if strings.HasPrefix(name, "process_") && runtime.GOOS != "linux" {
			continue
		}
		count++
		shape, there := got[name]
		delete(got, name)
		library := strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "go_")
		if !there {
			t.Errorf("%s is missing", name)
		} else if !library && shape != normalBuckets(want) {
			t.Errorf("%s\n got %s\nwant %s", name, shape, normalBuckets(want))
		}
	}
	if count < 120 {
		t.Errorf("only %d names compared", count)
	}
	for name := range got {
		if strings.HasPrefix(name, "etcd_") && name != "etcd_debugging_server_alarms" {
			t.Errorf("%s is not one of etcd's", name)
		}
	}
}

// normalBuckets writes the numbers of the text format as shape does.
func normalBuckets(line string) string {
	fields := strings.Split(line, "\t")
	var out []string
	for _, b := range strings.Split(fields[2], ",") {
		if f, err := strconv.ParseFloat(b, 64); err == nil && b != "+Inf" {
			b = strconv.FormatFloat(f, 'g', -1, 64)
		}
		out = append(out, b)
	}
	fields[2] = strings.Join(out, ",")
	return strings.Join(fields, "\t")
}

// TestUnlabelled: the names without labels are there from the start, whatever nobody counted.
func TestUnlabelled(t *testing.T) {
	text, err := os.ReadFile("testdata/etcd-3.7.3-metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	body := scrape(t, NewMetrics(Sources{}, false))
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		fields := strings.Split(line, "\t")
		if len(fields) < 3 || fields[2] != "" || !strings.HasPrefix(fields[0], "etcd_") {
			continue
		}
		if !strings.Contains(body, "\n"+fields[0]+" 0\n") &&
			!strings.Contains(body, "\n"+fields[0]+"_count 0\n") {
			t.Errorf("%s is not 0 in a new server", fields[0])
		}
	}
	if strings.Contains(body, "grpc_server_handling_seconds") {
		t.Error("basic metrics have the latency histograms")
	}
}

func TestValues(t *testing.T) {
	m := NewMetrics(sources(), true)
	m.Puts.Inc()
	m.Puts.Inc()
	m.Deletes.Inc()
	watch := m.RPC("etcdserverpb.Watch", "Watch", "bidi_stream")
	watch.Started()
	watch.Received()
	watch.Sent()
	watch.Sent()
	watch.Handled(codes.Canceled, 20*time.Millisecond)
	watch.Handled(codes.Code(99), time.Second)
	m.WALFsync.Observe(0.003)
	const labels = `{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"`
	body := scrape(t, m)
	for _, want := range []string{
		"etcd_mvcc_put_total 2", "etcd_mvcc_delete_total 1", "etcd_debugging_mvcc_keys_total 104",
		`etcd_server_version{server_version="3.7.3"} 1`,
		`etcd_cluster_version{cluster_version="3.7"} 1`,
		`etcd_server_id{server_id="8e9e05c52164694d"} 1`, "etcd_server_is_learner 0",
		"etcd_server_has_leader 1", "etcd_server_proposals_committed_total 7",
		`etcd_server_feature_enabled{name="A",stage="ALPHA"} 1`,
		`etcd_server_feature_enabled{name="B",stage="BETA"} 0`,
		`etcd_debugging_server_alarms{alarm_type="CORRUPT",server_id="1"} 1`,
		`grpc_server_handled_total{grpc_code="Canceled",` + labels[1:] + `} 1`,
		`grpc_server_handled_total{grpc_code="Unknown",` + labels[1:] + `} 1`,
		`grpc_server_handled_total{grpc_code="OK",` + labels[1:] + `} 0`,
		"grpc_server_started_total" + labels + "} 1", "grpc_server_msg_sent_total" + labels + "} 2",
		"grpc_server_handling_seconds_count" + labels + "} 2",
		`etcd_disk_wal_fsync_duration_seconds_bucket{le="0.004"} 1`,
		`etcd_disk_wal_fsync_duration_seconds_bucket{le="0.002"} 0`,
		`promhttp_metric_handler_requests_in_flight 1`,
	} {
		if !strings.Contains(body, "\n"+want+"\n") {
			t.Errorf("no line %q", want)
		}
	}
	for _, name := range []string{"os_fd_used", "os_fd_limit"} {
		if runtime.GOOS == "linux" && strings.Contains(body, "\n"+name+" 0\n") {
			t.Errorf("%s is 0", name)
		}
	}
	if strings.Contains(scrape(t, NewMetrics(Sources{}, false)), "\netcd_cluster_version{") {
		t.Error("a cluster version before one is decided")
	}
}

// TestClientVersions: what clients call themselves cannot grow without end.
func TestClientVersions(t *testing.T) {
	m := NewMetrics(Sources{}, false)
	m.ClientRequest("unary", "a\xffb")
	m.ClientRequest("unary", strings.Repeat("x", 1000))
	for i := range 1000 {
		m.ClientRequest("stream", strconv.Itoa(i))
	}
	m.ClientRequest("stream", "0")
	body := scrape(t, m)
	if n := strings.Count(body, "\netcd_server_client_requests_total{"); n > maxClientVersions+2 {
		t.Errorf("%d series", n)
	}
	for _, want := range []string{`{client_api_version="0",type="stream"} 2`,
		`{client_api_version="a?b",type="unary"} 1`, `{client_api_version="other",type="unary"} 1`,
		`{client_api_version="other",type="stream"} 969`} {
		if !strings.Contains(body, "etcd_server_client_requests_total"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

func TestSortedAlarms(t *testing.T) {
	got := sortedAlarms([]Alarm{{2, "B"}, {1, "B"}, {2, "A"}, {1, "B"}})
	if !slices.IsSortedFunc(got, func(a, b Alarm) int {
		return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Type, b.Type))
	}) || len(got) != 3 {
		t.Errorf("%v", got)
	}
}

func BenchmarkRPC(b *testing.B) {
	r := NewMetrics(Sources{}, false).RPC("etcdserverpb.KV", "Put", "unary")
	b.ReportAllocs()
	for b.Loop() {
		r.Started()
		r.Received()
		r.Sent()
		r.Handled(codes.OK, time.Microsecond)
	}
}

var _ prometheus.Collector = (*alarms)(nil)
