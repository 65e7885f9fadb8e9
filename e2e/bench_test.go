package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchTimeout bounds all loads of TestBench together.
const benchTimeout = 2 * time.Minute

// benched is what the test reads of the output of `cairn bench -w json`.
type benched struct {
	Series []struct {
		Name          string
		Count, Failed int64
	}
	Servers []float64 `json:"server_cpu_seconds"`
}

// loads are the verbs of `cairn bench`, small, and how many operations of each kind must succeed;
// -1: as many as may be.
var loads = []struct {
	args string
	want map[string]int64
}{
	{"put --sequential-keys --key-space-size=2000 --total=2000 --clients=50 --conns=3",
		map[string]int64{"put": 2000}},
	{"range --key-space-size=2000 --total=500 --clients=20", map[string]int64{"range": 500}},
	{"range 00000100 00000200 --consistency=s --total=50", map[string]int64{"range": 50}},
	{"list --key-space-size=2000 --limit=100 --total=40 --clients=3", map[string]int64{"list": 40}},
	{"mixed --ratio=2:2:1 --key-space-size=100 --total=500 --clients=10",
		map[string]int64{"put": -1, "range": -1, "delete": -1}},
	{"txn-put --txn-ops=5 --key-space-size=100 --total=200 --clients=10",
		map[string]int64{"txn-put": 200}},
	{"txn-mixed --limit=10 --key-space-size=100 --total=200 --clients=10",
		map[string]int64{"write": -1, "read": -1}},
	{"stm --keys=3 --keys-per-txn=2 --total=200 --clients=10", map[string]int64{"stm": 200}},
	{"stm --txn-wr-percent=100 --isolation=c --total=100 --clients=10 --stm-locker=lock-client",
		map[string]int64{"stm": 100}},
	{"stm --txn-wr-percent=100 --isolation=ss --total=100 --clients=10",
		map[string]int64{"stm": 100}},
	{"watch --streams=4 --watch-per-stream=25 --put-total=30 --conns=2 --prevkv",
		map[string]int64{"event": 3000, "put": 30, "create": 100}},
	{"watch-latency --streams=4 --watchers-per-stream=25 --put-total=30 --conns=2",
		map[string]int64{"event": 3000, "put": 30, "create": 100}},
	{"watch-get --watchers=200 --streams=3 --conns=2 --events=4",
		map[string]int64{"get": -1, "catch-up": 198, "create": 198}},
	{"lease-keepalive --clients=10 --total=300", map[string]int64{"lease-keepalive": 300}},
}

// TestBench runs every load of `cairn bench` against a server and counts what was done.
func TestBench(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), benchTimeout)
	defer cancel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	program, err := Build(ctx, root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(program, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer s.Stop(syscall.SIGKILL)
	for _, l := range loads {
		args := append([]string{"bench"}, strings.Fields(l.args)...)
		cmd := exec.CommandContext(ctx, program, append(args, "-w=json",
			"--endpoints="+s.Endpoint())...)
		var out, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v, %s", l.args, err, &stderr)
		}
		var got benched
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", l.args, err)
		}
		if len(got.Series) != len(l.want) {
			t.Errorf("%s: %v", l.args, got.Series)
		}
		for _, series := range got.Series {
			want, known := l.want[series.Name]
			if !known || series.Failed != 0 || series.Count == 0 ||
				want >= 0 && series.Count != want {
				t.Errorf("%s: %+v, want %d", l.args, series, want)
			}
		}
	}
	checkSTM(ctx, t, s)
}

// checkSTM looks at what is left: 200 transactions have overwritten one key, each of them once.
func checkSTM(ctx context.Context, t *testing.T, s *Server) {
	t.Helper()
	c, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := c.Get(ctx, fmt.Sprintf("%016d", 0))
	if err != nil || len(resp.Kvs) != 1 || resp.Kvs[0].Version < 200 {
		t.Errorf("%v, %v", resp, err)
	}
	// Leases go with the loads that made them, and so do the locks.
	leases, err := c.Leases(ctx)
	if err != nil || len(leases.Leases) != 0 {
		t.Errorf("%d leases are left, %v", len(leases.Leases), err)
	}
}
