package ops

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cairnkv/cairn"
)

// fakeBackend answers as it was told.
type fakeBackend struct {
	alarms           []Alarm
	leader           uint64
	learner          bool
	local, quorum    error // of serializable and linearizable reads
	cluster, storage string
	slow             bool // reads wait for the context
}

func (f *fakeBackend) Alarms() []Alarm        { return f.alarms }
func (f *fakeBackend) Leader() uint64         { return f.leader }
func (f *fakeBackend) IsLearner() bool        { return f.learner }
func (f *fakeBackend) ClusterVersion() string { return f.cluster }
func (f *fakeBackend) StorageVersion() string { return f.storage }
func (f *fakeBackend) RaftStatus() any        { return map[string]any{"raftState": "StateLeader"} }

func (f *fakeBackend) Read(ctx context.Context, serializable bool) error {
	if f.slow {
		<-ctx.Done()
		return ctx.Err()
	}
	if serializable {
		return f.local
	}
	return f.quorum
}

// door makes the client handler over a backend; log lines go to the buffer.
func door(f *fakeBackend, change func(*Options)) (http.Handler, *Metrics, *bytes.Buffer) {
	var log bytes.Buffer
	o := Options{Backend: f, Metrics: NewMetrics(Sources{}, false), RequestTimeout: time.Minute,
		Log: slog.New(slog.NewJSONHandler(&log, nil)), CommandLine: []string{"cairn", "--name=a"}}
	if change != nil {
		change(&o)
	}
	return ClientHandler(o, map[string]http.Handler{"/v3/": http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("gateway " + r.URL.Path)) }),
	}), o.Metrics, &log
}

func healthy() *fakeBackend {
	return &fakeBackend{leader: 1, cluster: "3.7.0", storage: "3.7.0"}
}

func get(h http.Handler, method, target string) (int, string, http.Header) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w.Code, w.Body.String(), w.Header()
}

// TestHealth: bodies, codes and the query of /health, as etcd has them.
func TestHealth(t *testing.T) {
	failed := func(reason string) string {
		return `{"health":"false","reason":"` + reason + `"}` + "\n"
	}
	const ok = `{"health":"true","reason":""}`
	for _, c := range []struct {
		name   string
		change func(*fakeBackend)
		target string
		code   int
		body   string
	}{
		{"fine", nil, "/health", 200, ok},
		{"full", func(f *fakeBackend) { f.alarms = []Alarm{{1, "NOSPACE"}} }, "/health", 503,
			failed("ALARM NOSPACE")},
		{"full, excluded", func(f *fakeBackend) { f.alarms = []Alarm{{1, "NOSPACE"}} },
			"/health?exclude=NOSPACE&exclude=", 200, ok},
		{"corrupt", func(f *fakeBackend) { f.alarms = []Alarm{{1, "NOSPACE"}, {2, "CORRUPT"}} },
			"/health?exclude=NOSPACE", 503, failed("ALARM CORRUPT")},
		{"unknown", func(f *fakeBackend) { f.alarms = []Alarm{{1, "7"}} }, "/health", 503,
			failed("ALARM UNKNOWN")},
		{"no leader", func(f *fakeBackend) { f.leader = 0 }, "/health", 503,
			failed("RAFT NO LEADER")},
		{"no leader, local", func(f *fakeBackend) { f.leader = 0 }, "/health?serializable=true",
			200, ok},
		{"read fails", func(f *fakeBackend) { f.quorum = cairn.ErrTimeout }, "/health", 503,
			failed("RANGE ERROR:etcdserver: request timed out")},
		{"read fails, local", func(f *fakeBackend) { f.quorum = cairn.ErrTimeout },
			"/health?serializable=true", 200, ok},
	} {
		f := healthy()
		if c.change != nil {
			c.change(f)
		}
		h, m, _ := door(f, nil)
		code, body, _ := get(h, "GET", c.target)
		if code != c.code || body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.name, code, body, c.code, c.body)
		}
		want := map[int]string{200: "etcd_server_health_success 1",
			503: "etcd_server_health_failures 1"}[c.code]
		if !strings.Contains(scrape(t, m), "\n"+want+"\n") {
			t.Errorf("%s: not counted", c.name)
		}
	}
	f := healthy()
	f.slow = true
	h, _, _ := door(f, func(o *Options) { o.RequestTimeout = time.Millisecond })
	for target, want := range map[string]string{"/health": "RANGE ERROR:context deadline exceeded",
		"/readyz": "[-]linearizable_read failed: context deadline exceeded"} {
		if code, body, _ := get(h, "GET", target); code != 503 || !strings.Contains(body, want) {
			t.Errorf("%s with a slow read: %d %q", target, code, body)
		}
	}
}

// TestChecks: /livez and /readyz, whole and one by one.
func TestChecks(t *testing.T) {
	const all = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n" +
		"[+]non_learner ok\n"
	for _, c := range []struct {
		name   string
		change func(*fakeBackend)
		target string
		code   int
		body   string
	}{
		{"ready", nil, "/readyz", 200, "ok\n"},
		{"ready, verbose", nil, "/readyz?verbose=true", 200, all + "ok\n"},
		{"alive, verbose", nil, "/livez?verbose", 200, "[+]serializable_read ok\nok\n"},
		{"one", nil, "/readyz/data_corruption?verbose", 200, "[+]data_corruption ok\nok\n"},
		{"none of them", nil, "/livez/linearizable_read", 404, "404 page not found\n"},
		{"no quorum", func(f *fakeBackend) { f.quorum = cairn.ErrLeaderChanged }, "/readyz", 503,
			"[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: " +
				"etcdserver: leader changed\n[+]non_learner ok\n\n"},
		{"no quorum, alive", func(f *fakeBackend) { f.quorum = cairn.ErrLeaderChanged }, "/livez",
			200, "ok\n"},
		{"no quorum, excluded", func(f *fakeBackend) { f.quorum = cairn.ErrLeaderChanged },
			"/readyz?exclude=linearizable_read&exclude=nothing", 200, "ok\n"},
		{"full is ready", func(f *fakeBackend) { f.alarms = []Alarm{{1, "NOSPACE"}} }, "/readyz",
			200, "ok\n"},
		{"corrupt", func(f *fakeBackend) { f.alarms = []Alarm{{1, "CORRUPT"}} },
			"/readyz/data_corruption", 503,
			"[-]data_corruption failed: alarm activated: CORRUPT\n\n"},
		{"learner", func(f *fakeBackend) { f.learner = true }, "/readyz/non_learner", 503,
			"[-]non_learner failed: not supported for learner\n\n"},
		{"broken", func(f *fakeBackend) { f.local = errors.New("disk") }, "/livez", 503,
			"[-]serializable_read failed: disk\n\n"},
	} {
		f := healthy()
		if c.change != nil {
			c.change(f)
		}
		h, _, log := door(f, nil)
		code, body, _ := get(h, "GET", c.target)
		if code != c.code || body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.name, code, body, c.code, c.body)
		}
		if missing := strings.Contains(log.String(), "cannot be excluded"); missing !=
			strings.Contains(c.target, "nothing") {
			t.Errorf("%s: log %s", c.name, log)
		}
	}
	f := healthy()
	f.learner = true
	h, m, _ := door(f, nil)
	get(h, "GET", "/readyz")
	body := scrape(t, m)
	for _, want := range []string{
		`etcd_server_healthcheck{name="non_learner",type="readyz"} 0`,
		`etcd_server_healthchecks_total{name="non_learner",status="error",type="readyz"} 1`,
		`etcd_server_healthchecks_total{name="data_corruption",status="success",type="readyz"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

func TestVersion(t *testing.T) {
	h, _, _ := door(healthy(), nil)
	code, body, header := get(h, "GET", "/version")
	want := `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0","cairn":"`
	if code != 200 || !strings.HasPrefix(body, want) ||
		header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s %v", code, body, header)
	}
	h, _, _ = door(&fakeBackend{}, nil)
	want = `{"etcdserver":"3.7.3","etcdcluster":"not_decided","storage":"unknown","cairn":"`
	if _, body, _ := get(h, "GET", "/version"); !strings.HasPrefix(body, want) {
		t.Errorf("%s", body)
	}
}

// TestMethods: everything but GET is refused with 405 and Allow; OPTIONS is answered everywhere.
func TestMethods(t *testing.T) {
	h, _, _ := door(healthy(), nil)
	for _, path := range []string{"/health", "/livez", "/readyz/non_learner", "/version",
		"/debug/vars"} {
		for _, method := range []string{"POST", "HEAD", "DELETE"} {
			code, body, header := get(h, method, path)
			if code != 405 || body != "Method Not Allowed\n" || header.Get("Allow") != "GET" {
				t.Errorf("%s %s: %d %q %v", method, path, code, body, header)
			}
		}
	}
	for path, want := range map[string]string{"/": "404 page not found\n",
		"/debug/pprof/": "404 page not found\n", "/v3beta/kv/put": "gateway /v3/kv/put",
		"/v3/kv/put": "gateway /v3/kv/put"} {
		if _, body, _ := get(h, "GET", path); body != want {
			t.Errorf("%s: %q, want %q", path, body, want)
		}
	}
	if code, body, _ := get(h, "OPTIONS", "/nowhere"); code != 200 || body != "" {
		t.Errorf("OPTIONS: %d %q", code, body)
	}
}

func TestDebug(t *testing.T) {
	h, _, _ := door(healthy(), func(o *Options) { o.Pprof = true })
	_, body, header := get(h, "GET", "/debug/vars")
	var vars map[string]any
	if err := json.Unmarshal([]byte(body), &vars); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	raft, _ := vars["raft.status"].(map[string]any)
	if raft["raftState"] != "StateLeader" || vars["memstats"] == nil ||
		!strings.Contains(body, `"cmdline": ["cairn","--name=a"]`) ||
		header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%.300s %v", body, header)
	}
	for path, want := range map[string]string{"/debug/pprof/": "goroutine",
		"/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/cmdline":           "ops.test"} {
		if code, body, _ := get(h, "GET", path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.100q", path, code, body)
		}
	}
}

func TestHostsAndOrigins(t *testing.T) {
	h, _, log := door(healthy(), func(o *Options) {
		o.HostWhitelist = []string{"a.example.com"}
		o.CORS = []string{"https://ui.example.com:443"}
	})
	do := func(host, origin string, secure bool) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/version", nil)
		r.Host = host
		r.Header.Set("Origin", origin)
		if secure {
			r.TLS = &tls.ConnectionState{}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, c := range []struct {
		host   string
		secure bool
		code   int
	}{{"a.example.com:2379", false, 200}, {"a.example.com", false, 200},
		{"evil.example.com:2379", false, 421}, {"evil.example.com", true, 200},
		{"[::1]:1", false, 421},
	} {
		w := do(c.host, "", c.secure)
		body := w.Body.String()
		if w.Code != c.code || c.code == 421 && (!strings.Contains(body, "CVE-2018-5702") ||
			!strings.Contains(log.String(), "prevent DNS rebinding")) {
			t.Errorf("%s: %d %s", c.host, w.Code, body)
		}
	}
	const ui = "https://ui.example.com:443"
	for origin, want := range map[string]string{ui: ui,
		"https://evil.example.com": "", "": ""} {
		got := do("a.example.com", origin, false).Header().Get("Access-Control-Allow-Origin")
		if got != want {
			t.Errorf("origin %q: %q", origin, got)
		}
	}
	h, _, _ = door(healthy(), func(o *Options) {
		o.HostWhitelist, o.CORS = []string{""}, []string{"*"}
	})
	_, _, header := get(h, "GET", "/version")
	if header.Get("Access-Control-Allow-Origin") != "*" ||
		header.Get("Access-Control-Allow-Headers") != "accept, content-type, authorization" ||
		header.Get("Access-Control-Allow-Methods") != "POST, GET, OPTIONS, PUT, DELETE" {
		t.Errorf("%v", header)
	}
}

func TestMetricsPort(t *testing.T) {
	h := MetricsHandler(Options{Backend: healthy(), Metrics: NewMetrics(Sources{}, false),
		Log: slog.New(slog.DiscardHandler), RequestTimeout: time.Second})
	for path, want := range map[string]int{"/metrics": 200, "/health": 200, "/livez": 200,
		"/readyz": 200, "/version": 404, "/debug/vars": 404} {
		if code, _, header := get(h, "GET", path); code != want ||
			header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %v", path, code, header)
		}
	}
}
