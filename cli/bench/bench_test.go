package bench

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	load "github.com/cairnkv/cairn/bench"
	"github.com/cairnkv/cairn/cli/internal/terminal"
)

var update = flag.Bool("update", false, "rewrite testdata")

// golden compares a text with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (rewrite it by -update):\n%s", path, got)
	}
}

// call runs the program with a load that only notes its options.
func call(t *testing.T, result *load.Result, err error, args ...string) (
	o load.Options, stdout, stderr string, exit int,
) {
	t.Helper()
	var out, errs strings.Builder
	a := &app{cfg: Config{Name: "cairn bench", Stdout: &out, Stderr: &errs}}
	a.start = func(_ context.Context, got load.Options) (*load.Result, error) {
		o = got
		o.Progress(1, 2)
		o.Progress = nil
		return result, err
	}
	exit = terminal.Run(context.Background(), a.root(), args, &errs)
	return o, out.String(), errs.String(), exit
}

// measured is a result with all there can be.
func measured() *load.Result {
	h, reads := &load.Histogram{}, &load.Histogram{}
	for i := range 1000 {
		h.Record(time.Duration(i*i) * time.Microsecond)
	}
	reads.Record(1500 * time.Microsecond)
	return &load.Result{
		Verb: "mixed", Endpoints: []string{"a:1"}, Conns: 3, Clients: 50, Seed: 7, Seconds: 2,
		Wanted: 5000, Reached: 500.5, Generator: 0.004, Servers: []float64{0.04, 0.01},
		Series: []load.Series{
			{Name: "put", Seconds: 2, Latency: h, Errors: map[string]int64{
				"Unavailable: no leader": 2, "ResourceExhausted: too many requests": 7}},
			{Name: "range", Seconds: 2, Latency: reads},
			{Name: "delete", Seconds: 2, Latency: &load.Histogram{}},
		},
	}
}

func TestOutputs(t *testing.T) {
	for _, format := range []string{"human", "json", "csv"} {
		_, out, stderr, exit := call(t, measured(), nil, "mixed", "-w", format)
		if exit != 0 || stderr != "" {
			t.Errorf("%s: exit %d, %q", format, exit, stderr)
		}
		golden(t, "testdata/output."+format, out)
	}
	_, out, _, _ := call(t, measured(), nil, "mixed", "--precise")
	golden(t, "testdata/output.precise", out)
}

// TestExits pins the exit statuses.
func TestExits(t *testing.T) {
	none := &load.Result{Series: []load.Series{{Name: "put", Latency: &load.Histogram{}}}}
	for name, tc := range map[string]struct {
		result *load.Result
		err    error
		args   string
		exit   int
	}{
		"fine":           {measured(), nil, "put", 0},
		"nothing worked": {none, nil, "put", terminal.ExitError},
		"lost":           {measured(), errors.New("lost"), "put", terminal.ExitError},
		"no connection":  {nil, errors.New("nobody"), "put", terminal.ExitError},
		"interrupted":    {measured(), context.Canceled, "put", terminal.ExitInterrupted},
		"format":         {measured(), nil, "put -w xml", terminal.ExitBadFeature},
		"consistency":    {measured(), nil, "range a --consistency=x", terminal.ExitBadArgs},
		"ratio":          {measured(), nil, "mixed --ratio=1:2", terminal.ExitBadArgs},
		"ratio of 0":     {measured(), nil, "mixed --ratio=0:0:0", terminal.ExitBadArgs},
		"no password":    {measured(), nil, "put --user=root", terminal.ExitBadArgs},
		"key alone":      {measured(), nil, "put --key=file", terminal.ExitBadArgs},
		"no such file":   {measured(), nil, "put --cacert=testdata/none", terminal.ExitBadArgs},
		"no certificate": {measured(), nil, "put --cacert=bench.go", terminal.ExitBadArgs},
		"unknown flag":   {measured(), nil, "put --bogus", terminal.ExitError},
	} {
		if _, _, stderr, exit := call(t, tc.result, tc.err, strings.Fields(tc.args)...); exit !=
			tc.exit || (stderr == "") != (exit == 0) {
			t.Errorf("%s: exit %d, %q", name, exit, stderr)
		}
	}
}

// TestFlags says what becomes of the flags.
func TestFlags(t *testing.T) {
	keys := load.Keys{Size: 8, Space: 1}
	for args, want := range map[string]load.Load{
		"put": load.Put{Keys: keys, ValueSize: 8},
		"put --key-size=32 --key-space-size=9 --sequential-keys --val-size=256": load.Put{
			Keys: load.Keys{Size: 32, Space: 9, Sequential: true}, ValueSize: 256},
		"range a b --consistency=s --limit=3 --keys-only --count-only": load.Range{Key: "a",
			End: "b", Keys: keys, Limit: 3, Serializable: true, KeysOnly: true, CountOnly: true},
		"list --limit=7 --consistency=s --keys-only": load.List{Keys: keys, Limit: 7,
			Serializable: true, KeysOnly: true},
		"mixed --ratio=1:2:3": load.Mixed{Keys: keys, ValueSize: 8, Puts: 1, Gets: 2, Deletes: 3},
		"txn-put --txn-ops=4": load.TxnPut{Keys: keys, ValueSize: 8, Ops: 4},
		"txn-mixed --rw-ratio=.5 --end-key=e --limit=2": load.TxnMixed{Keys: keys, ValueSize: 8,
			Ratio: .5, End: "e", Limit: 2},
		"stm --keys=5 --keys-per-txn=2 --txn-wr-percent=60 --isolation=ss": load.STM{Keys: 5,
			PerTxn: 2, WritePercent: 60, ValueSize: 8, Isolation: load.SerializableSnapshot,
			Locker: load.NoLock},
		"stm --stm-locker=lock-rpc": load.STM{Keys: 1, PerTxn: 1, WritePercent: 50, ValueSize: 8,
			Isolation: load.RepeatableReads, Locker: load.RPCLock},
		"watch --streams=2 --watch-per-stream=3 --watched-key-total=4 --prevkv": load.Watch{
			Streams: 2, Watchers: 3, Keys: load.Keys{Size: 32, Space: 4, Sequential: true},
			ValueSize: 32, PrevKV: true},
		"watch-latency --streams=2 --watchers-per-stream=3": load.Watch{Streams: 2, Watchers: 3,
			Keys: load.Keys{Size: 32, Space: 1}, ValueSize: 32, Steps: true},
		"watch-get --watchers=5 --streams=2 --events=3": load.WatchGet{Streams: 2, Watchers: 5,
			Events: 3},
		"lease-keepalive --ttl=9": load.LeaseKeepAlive{TTL: 9},
		"lease":                   load.LeaseKeepAlive{TTL: 100},
	} {
		o, _, stderr, exit := call(t, measured(), nil, strings.Fields(args)...)
		if exit != 0 || !reflect.DeepEqual(o.Load, want) {
			t.Errorf("%s: exit %d, %+v, %q", args, exit, o.Load, stderr)
		}
	}
}

// TestGlobalFlags says the same of those that all verbs have.
func TestGlobalFlags(t *testing.T) {
	o, _, _, exit := call(t, measured(), nil, "put", "--endpoints=a:1,http://b:2", "--conns=3",
		"--clients=4", "--total=5", "--duration=6s", "--warmup=7s", "--rate=8.5", "--seed=9",
		"--dial-timeout=10s", "--server-pid=11,12", "--user=u:p:q", "--insecure-skip-tls-verify")
	if exit != 0 || !o.TLS.InsecureSkipVerify {
		t.Errorf("exit %d, %+v", exit, o)
	}
	o.TLS, o.Load = nil, nil
	want := load.Options{Endpoints: []string{"https://a:1", "http://b:2"}, Conns: 3, Clients: 4,
		Total: 5, Duration: 6 * time.Second, Warmup: 7 * time.Second, Rate: 8.5, Seed: 9,
		DialTimeout: 10 * time.Second, ServerPIDs: []int{11, 12}, User: "u", Password: "p:q"}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("%+v", o)
	}
	o, _, _, _ = call(t, measured(), nil, "watch", "--put-total=5", "--put-rate=6", "--user=u",
		"--password=p")
	if o.Total != 5 || o.Rate != 6 || o.Password != "p" || o.Endpoints[0] != "127.0.0.1:2379" {
		t.Errorf("%+v", o)
	}
}

// TestHelp compares the help of every verb with testdata/help.golden, and wants an example in each.
func TestHelp(t *testing.T) {
	var b strings.Builder
	cfg := Config{Name: "cairn bench", Stdout: &b, Stderr: io.Discard}
	var visit func(cmd *cobra.Command, path []string)
	visit = func(cmd *cobra.Command, path []string) {
		b.WriteString("$ cairn bench " + strings.Join(append(path, "--help"), " ") + "\n")
		c := cfg
		c.Args = append(path, "--help")
		if exit := Main(context.Background(), c); exit != 0 {
			t.Errorf("%q: exit %d", c.Args, exit)
		}
		b.WriteString("\n")
		if cmd.Runnable() && !cmd.HasExample() {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				visit(sub, append(path[:len(path):len(path)], sub.Name()))
			}
		}
	}
	visit(New(cfg), nil)
	golden(t, "testdata/help.golden", b.String())
}

// TestMVCC runs the store by itself.
func TestMVCC(t *testing.T) {
	dir := t.TempDir()
	_, out, stderr, exit := call(t, nil, nil, "mvcc", "put", "--total=1000", "--dir="+dir, "-w=csv",
		"--key-space-size=10", "--txn-ops=2", "--batch=300")
	lines := strings.Split(out, "\n")
	if exit != 0 || len(lines) != 4 || !strings.HasPrefix(lines[1], "mvcc put,put,0,1,") ||
		!strings.Contains(lines[1], ",1000,0,") || !strings.Contains(lines[2], ",4,0,") {
		t.Errorf("exit %d, %q, %q", exit, out, stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", err, left)
	}
}
