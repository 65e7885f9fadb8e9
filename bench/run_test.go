package bench

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// runTimeout bounds a run of a test; it is long because the machine may be slow.
const runTimeout = time.Minute

// mustRun makes a run against a fake.
func mustRun(t *testing.T, f *fake, o Options) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	o.Endpoints = []string{f.address}
	r, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPut counts what arrives: exactly the total, each key in turn, over all connections.
func TestPut(t *testing.T) {
	f := newFake(t, nil)
	r := mustRun(t, f, Options{Load: Put{Keys{Size: 10, Space: 500, Sequential: true}, 256},
		Conns: 3, Clients: 50, Total: 1000})
	if len(f.puts) != 1000 || f.busiest > 50 {
		t.Errorf("%d puts, %d at once", len(f.puts), f.busiest)
	}
	keys := map[string]int{}
	values := map[string]bool{}
	for _, p := range f.puts {
		keys[string(p.Key)]++
		values[string(p.Value)] = true
		if len(p.Value) != 256 {
			t.Fatalf("%v", p)
		}
	}
	if len(keys) != 500 || keys["0000000499"] != 2 || len(values) < 10 {
		t.Errorf("%d keys, %d values, %v", len(keys), len(values), keys)
	}
	s := &r.Series[0]
	if s.Name != "put" || s.Latency.Count() != 1000 || s.Failed() != 0 || s.Rate() <= 0 ||
		r.Operations() != 1000 || r.BytesOut < 256*1000 || r.BytesIn == 0 || r.Seed == 0 {
		t.Errorf("%+v", r)
	}
	if s.Latency.Max() > runTimeout || s.Latency.Min() <= 0 {
		t.Errorf("%v to %v", s.Latency.Min(), s.Latency.Max())
	}
}

// TestSeed wants the same keys from the same seed.
func TestSeed(t *testing.T) {
	var runs [2][]string
	for i := range runs {
		f := newFake(t, nil)
		mustRun(t, f, Options{Load: Put{Keys{Space: 1000}, 8}, Total: 100, Seed: 7})
		for _, p := range f.puts {
			runs[i] = append(runs[i], string(p.Key)+string(p.Value))
		}
	}
	if !slices.Equal(runs[0], runs[1]) {
		t.Errorf("%q\n%q", runs[0], runs[1])
	}
}

// TestErrors counts refusals by what the server says.
func TestErrors(t *testing.T) {
	f := newFake(t, nil)
	f.refuse = func(n int) error {
		switch {
		case n%10 == 0:
			return status.Error(codes.ResourceExhausted, "etcdserver: too many requests")
		case n%25 == 1:
			return status.Error(codes.Unavailable, "")
		}
		return nil
	}
	r := mustRun(t, f, Options{Load: Put{}, Clients: 7, Total: 100})
	want := map[string]int64{"ResourceExhausted: etcdserver: too many requests": 10,
		"Unavailable": 4}
	s := &r.Series[0]
	if !maps.Equal(s.Errors, want) || s.Latency.Count() != 86 || len(f.puts) != 100 {
		t.Errorf("%v, %d", s.Errors, s.Latency.Count())
	}
	if got := s.ErrorsByCount(); len(got) != 2 || got[1] != "Unavailable" {
		t.Errorf("%q", got)
	}
}

// TestLost stops the server in the middle.
func TestLost(t *testing.T) {
	f := newFake(t, nil)
	f.refuse = func(n int) error {
		if n == 50 {
			go f.server.Stop()
		}
		return nil
	}
	_, err := Run(context.Background(), Options{Load: Put{}, Clients: 3, Total: 1 << 40,
		Endpoints: []string{f.address}})
	if err == nil || !strings.Contains(err.Error(), f.address) {
		t.Errorf("%v", err)
	}
}

// TestNoServer connects to nobody.
func TestNoServer(t *testing.T) {
	f := newFake(t, nil)
	f.server.Stop()
	_, err := Run(context.Background(), Options{Load: Put{}, Endpoints: []string{f.address}})
	if err == nil || !strings.Contains(err.Error(), "connecting to "+f.address) {
		t.Errorf("%v", err)
	}
}

// TestCanceled ends a run from outside and still gets what was measured.
func TestCanceled(t *testing.T) {
	f := newFake(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f.refuse = func(n int) error {
		if n == 200 {
			cancel()
		}
		return nil
	}
	r, err := Run(ctx, Options{Load: Put{}, Clients: 3, Total: 1 << 40,
		Endpoints: []string{f.address}})
	if !errors.Is(err, context.Canceled) || r == nil || r.Series[0].Latency.Count() < 100 {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestDuration measures for a time. (How much is done in it depends on the machine.)
func TestDuration(t *testing.T) {
	f := newFake(t, nil)
	const length = 50 * time.Millisecond
	r := mustRun(t, f, Options{Load: Put{}, Clients: 4, Duration: length, Warmup: length})
	f.mu.Lock() // what was under way at the end may still be
	defer f.mu.Unlock()
	if n := r.Series[0].Latency.Count(); n > uint64(len(f.puts)) || r.Seconds != length.Seconds() {
		t.Errorf("%d of %d puts count, in %v s", n, len(f.puts), r.Seconds)
	}
}

// TestWhatCounts goes through the times of a run: with a duration and with a total, each after a
// warm-up.
func TestWhatCounts(t *testing.T) {
	timed := &run{Options: Options{Duration: 100}}
	counts := func(at int64) bool {
		counted, ok := timed.ticket()
		if counted || !ok {
			t.Errorf("at %d: a ticket of a number", at)
		}
		return timed.counts(counted, at)
	}
	if counts(50) {
		t.Error("the warm-up counts")
	}
	timed.until.Store(200)
	timed.from.Store(100)
	for at, want := range map[int64]bool{99: false, 100: true, 200: true, 201: false} {
		if counts(at) != want {
			t.Errorf("at %d: %v", at, !want)
		}
	}
	numbered := &run{Options: Options{Total: 2}}
	for i, want := range []struct{ counted, ok bool }{
		{false, true}, {false, true}, {true, true}, {true, true}, {false, false},
	} {
		if i == 2 {
			numbered.from.Store(1) // the end of the warm-up
		}
		counted, ok := numbered.ticket()
		if counted != want.counted || ok != want.ok || numbered.counts(counted, 5) != counted {
			t.Errorf("operation %d: %v, %v", i, counted, ok)
		}
	}
}

// TestRate begins no more than it may. (That it begins as many depends on the machine.)
func TestRate(t *testing.T) {
	f := newFake(t, nil)
	r := mustRun(t, f, Options{Load: Put{}, Conns: 2, Clients: 4, Total: 100, Rate: 1000})
	if r.Seconds < 0.095 || len(f.puts) != 100 {
		t.Errorf("%d puts at 1000 per second in %v s", len(f.puts), r.Seconds)
	}
}

// TestSecure speaks TLS and sends the user's token.
func TestSecure(t *testing.T) {
	cfg, trust := certificate(t)
	f := newFake(t, cfg)
	o := Options{Load: Put{}, Conns: 2, Clients: 2, Total: 20, User: "root", Password: "pass",
		TLS: &tls.Config{RootCAs: trust}}
	mustRun(t, f, o)
	if f.tokens["root/pass"] != 20 {
		t.Errorf("%v", f.tokens)
	}
	o.TLS, o.Endpoints = nil, []string{f.address}
	if _, err := Run(context.Background(), o); err == nil {
		t.Error("a certificate of nobody was trusted")
	}
}

// TestLargeMessages are larger than frames and windows.
func TestLargeMessages(t *testing.T) {
	f := newFake(t, nil)
	f.answer = 1 << 20
	r := mustRun(t, f, Options{Load: Mixed{ValueSize: 1 << 20, Puts: 1, Gets: 1}, Clients: 8,
		Total: 64})
	if r.Operations() != 64 || r.Series[0].Failed()+r.Series[1].Failed() > 0 {
		t.Errorf("%v, %v", r.Series[0].Errors, r.Series[1].Errors)
	}
	for _, p := range f.puts {
		if len(p.Value) != 1<<20 {
			t.Errorf("a value of %d bytes", len(p.Value))
		}
	}
}

// TestLease renews leases of its own and takes them with it.
func TestLease(t *testing.T) {
	f := newFake(t, nil)
	mustRun(t, f, Options{Load: LeaseKeepAlive{}, Conns: 2, Clients: 5, Total: 200})
	sum := 0
	for _, n := range f.renewals {
		sum += n
	}
	if f.grants != 5 || sum != 200 || len(f.revoked) != 5 {
		t.Errorf("%d grants, %d renewals, %d revoked", f.grants, sum, len(f.revoked))
	}
}

// TestWatch wants every event to be counted, in both kinds of loads and for the past.
func TestWatch(t *testing.T) {
	for _, steps := range []bool{false, true} {
		f := newFake(t, nil)
		r := mustRun(t, f, Options{Conns: 3, Clients: 2, Total: 40, Load: Watch{Streams: 4,
			Watchers: 5, Keys: Keys{Space: 3, Sequential: true}, ValueSize: 20, Steps: steps}})
		// 20 watchers on 3 keys: 7, 7 and 6 of them; 40 puts in turn: 14, 13 and 13.
		const events = 14*7 + 13*7 + 13*6
		got := [3]uint64{}
		for i := range r.Series {
			got[i] = r.Series[i].Latency.Count()
		}
		if got != [3]uint64{events, 40, 20} || len(f.watchers) != 20 {
			t.Errorf("steps %v: %v events, puts, creations", steps, got)
		}
		if steps && f.busiest > 1 {
			t.Errorf("%d puts at once", f.busiest)
		}
	}
	f := newFake(t, nil)
	r := mustRun(t, f, Options{Conns: 2, Load: WatchGet{Streams: 2, Watchers: 10, Events: 3}})
	if n := r.Series[caughtSeries].Latency.Count(); n != 10 || len(f.puts) != 3 {
		t.Errorf("%d watchers have caught up, %d puts", n, len(f.puts))
	}
}

// TestWatchWithErrors must not wait for events of puts that were refused.
func TestWatchWithErrors(t *testing.T) {
	f := newFake(t, nil)
	f.refuse = func(n int) error {
		if n%3 == 0 {
			return status.Error(codes.Unavailable, "no")
		}
		return nil
	}
	r := mustRun(t, f, Options{Total: 30, Load: Watch{Streams: 1, Watchers: 2, Steps: true}})
	if r.Series[putSeries].Failed() != 10 || r.Series[eventSeries].Latency.Count() != 40 {
		t.Errorf("%+v", r.Series)
	}
}

// TestBadOptions are refused before anything is sent.
func TestBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no load":     {Endpoints: []string{"a:1"}},
		"no endpoint": {Load: Put{}},
		"endpoint":    {Load: Put{}, Endpoints: []string{"a"}},
		"scheme":      {Load: Put{}, Endpoints: []string{"ftp://a:1"}},
		"path":        {Load: Put{}, Endpoints: []string{"http://a:1/b"}},
		"clients":     {Load: Put{}, Endpoints: []string{"a:1"}, Clients: MaxClients + 1},
		"rate":        {Load: Put{}, Endpoints: []string{"a:1"}, Rate: -1},
		"key size":    {Load: Put{Keys{Size: 2, Space: 101}, 0}, Endpoints: []string{"a:1"}},
		"value size":  {Load: Put{ValueSize: -1}, Endpoints: []string{"a:1"}},
		"end":         {Load: Range{End: "b"}, Endpoints: []string{"a:1"}},
		"isolation":   {Load: STM{Isolation: "x"}, Endpoints: []string{"a:1"}},
		"locker":      {Load: STM{Locker: "x"}, Endpoints: []string{"a:1"}},
		"too many":    {Load: TxnPut{Ops: 2}, Endpoints: []string{"a:1"}},
		"warm-up":     {Load: Watch{}, Endpoints: []string{"a:1"}, Warmup: 1},
		"duration":    {Load: WatchGet{}, Endpoints: []string{"a:1"}, Duration: 1},
	} {
		if r, err := Run(context.Background(), o); err == nil || r != nil ||
			strings.Contains(err.Error(), "connecting") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestJSON pins the names of the fields.
func TestJSON(t *testing.T) {
	r := Result{Verb: "put", Endpoints: []string{"a:1"}, Conns: 1, Clients: 2, Seed: 3, Seconds: 4,
		Generator: 0.5, Servers: []float64{1.5}, BytesOut: 5, BytesIn: 6}
	h := &Histogram{}
	h.Record(time.Millisecond)
	r.Series = []Series{{Name: "put", Seconds: 4, Errors: map[string]int64{"Unavailable": 7},
		Latency: h}}
	got, err := json.Marshal(r)
	const stats = `{"mean":1000,"stddev":0,"min":1000,"p50":1000,"p90":1000,"p95":1000,` +
		`"p99":1000,"p99.9":1000,"max":1000}`
	const want = `{"verb":"put","endpoints":["a:1"],"conns":1,"clients":2,"seed":3,` +
		`"seconds":4,"reached_rate":0,"generator_cpu_seconds":0.5,` +
		`"server_cpu_seconds":[1.5],"bytes_out":5,"bytes_in":6,` +
		`"series":[{"name":"put","seconds":4,"count":1,"rate":0.25,"failed":7,` +
		`"errors":{"Unavailable":7},"latency_us":` + stats +
		`,"histogram":[{"upto_us":1000,"count":1}]}]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

// ExampleRun is the package's whole use.
func ExampleRun() {
	_, err := Run(context.Background(), Options{Load: Put{}, Endpoints: []string{"nobody"}})
	fmt.Println(err)
	// Output: endpoint "nobody" is no host and port
}
