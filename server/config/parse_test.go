package config

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnkv/cairn/vfs"
)

func parse(t *testing.T, args ...string) (*Config, []Warning, error) {
	t.Helper()
	return parseOn(vfs.NewMem(), "cairn", args, nil)
}

func mustParse(t *testing.T, args ...string) *Config {
	t.Helper()
	c, _, err := parse(t, args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return c
}

func messages(ws []Warning) []string {
	var out []string
	for _, w := range ws {
		var b strings.Builder
		b.WriteString(w.Level.String() + " " + w.Msg)
		for _, a := range w.Attrs {
			b.WriteString(" " + a.String())
		}
		out = append(out, b.String())
	}
	return out
}

// TestEtcdFlags holds the table against the flags of the real etcd 3.7.3, as its own FlagSet lists
// them with their defaults: every one is known, and has the same default.
func TestEtcdFlags(t *testing.T) {
	text, err := os.ReadFile("testdata/etcd-3.7.3-flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	// where the table says in words what etcd has in code
	differs := map[string]string{
		"backend-bbolt-freelist-type": "map",
		"initial-cluster":             "",
		"v2-deprecation":              "write-only",
		"grpc-keepalive-interval":     "2h",
	}
	table := newTable()
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		name, want, _ := strings.Cut(line, "\t")
		o, ok := table.byName[name]
		if !ok {
			t.Errorf("--%s is unknown", name)
			continue
		}
		if d, ok := differs[name]; ok {
			want = d
		}
		if o.def != want {
			t.Errorf("--%s: default %q, etcd has %q", name, o.def, want)
		}
	}
}

// TestTable checks the rows themselves.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	examples := map[*group]int{}
	table := newTable()
	for _, o := range table.rows {
		if seen[o.name] {
			t.Errorf("--%s stands there twice", o.name)
		}
		seen[o.name] = true
		if o.help == "" || o.group == nil {
			t.Errorf("--%s has no help or no group", o.name)
		}
		if o.def != "" {
			if err := o.check(o.def); err != nil && o.effect != renamed {
				t.Errorf("--%s: default %q: %v", o.name, o.def, err)
			}
		}
		if o.effect == renamed && table.byName[o.alias] == nil {
			t.Errorf("--%s is a name of --%s, which is unknown", o.name, o.alias)
		}
		if o.example != "" {
			examples[o.group]++
			if err := o.check(o.example); err != nil {
				t.Errorf("--%s: example %q: %v", o.name, o.example, err)
			}
			if o.field != nil {
				if err := assign(o.field(&Config{}), o.example); err != nil {
					t.Errorf("--%s: example %q: %v", o.name, o.example, err)
				}
			}
		}
		if o.effect == inEffect && o.field == nil && o.name != "help" && o.name != "version" {
			t.Errorf("--%s has an effect and no field", o.name)
		}
	}
	for _, g := range allGroupsInHelp {
		if examples[g] == 0 && g != formerGroup {
			t.Errorf("group %s has no example", g.title)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := mustParse(t)
	got := []any{c.Name, c.DataDir, c.SnapshotCount, c.SnapshotCatchUpEntries, c.Heartbeat(),
		c.ElectionTicks(), c.ListenClientURLs.String(), c.AdvertiseClientURLs.String(),
		c.ListenPeerURLs.String(), c.InitialCluster, c.MaxTxnOps, c.MaxRequestBytes,
		c.MaxConcurrentStreams, c.Quota(), c.BatchLimit(), c.BatchSleep(), c.ProgressInterval(),
		c.WarningApply, c.WarningUnaryRequest, c.CORS, c.HostWhitelist, c.Log.Outputs,
		c.RequestTimeout(), c.Extensive(), c.KeepAliveInterval}
	want := []any{"default", "default.cairn", uint64(10000), uint64(5000), 100 * time.Millisecond,
		10, "http://localhost:2379", "http://localhost:2379", "http://localhost:2380",
		"default=http://localhost:2380", uint(128), uint(1572864), uint32(math.MaxUint32),
		int64(2 << 30), 1000, 10 * time.Millisecond, 10 * time.Minute, 100 * time.Millisecond,
		300 * time.Millisecond, []string{"*"}, []string{"*"}, []string{"default"},
		7 * time.Second, false, 2 * time.Hour}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("value %d is %v, want %v", i, got[i], want[i])
		}
	}
	if period, revisions := c.Retention(); period != 0 || revisions != 0 {
		t.Errorf("retention %v, %v", period, revisions)
	}
	for program, dir := range map[string]string{"etcd": "a.etcd", "/usr/bin/etcd": "a.etcd",
		`C:\bin\etcd.exe`: "a.etcd", "cairn": "a.cairn", "/x/cairn": "a.cairn"} {
		c, _, err := parseOn(vfs.NewMem(), program, []string{"--name=a"}, nil)
		if err != nil || c.DataDir != dir || c.InitialCluster != "a=http://localhost:2380" {
			t.Errorf("%s: %+v, %v", program, c, err)
		}
	}
}

func TestSyntax(t *testing.T) {
	c := mustParse(t, "-name", "a", "--name=b", "--name", "c", "--force-new-cluster",
		"--unsafe-no-fsync=true", "--snapshot-count", "0x10", "--quota-backend-bytes=-1",
		"--listen-client-urls", "http://127.0.0.1:2,http://127.0.0.1:1,http://127.0.0.1:2",
		"--advertise-client-urls=http://a:1", "--listen-metrics-urls=http://127.0.0.1:0",
		"--host-whitelist=a,b,a", "--max-concurrent-streams=0", "--listen-peer-urls=")
	if c.Name != "c" || !c.ForceNewCluster || !c.UnsafeNoFsync || c.SnapshotCount != 16 ||
		c.Quota() != 0 || c.ListenClientURLs.String() != "http://127.0.0.1:1,http://127.0.0.1:2" ||
		!slices.Equal(c.HostWhitelist, []string{"a", "b"}) ||
		c.MaxConcurrentStreams != math.MaxUint32 ||
		c.ListenPeerURLs.String() != "http://localhost:2380" {
		t.Errorf("%+v", c)
	}
	if !c.Set["name"] || c.Set["data-dir"] {
		t.Errorf("set: %v", c.Set)
	}
	if c := mustParse(t, "--socket-reuse-port", "--metrics=extensive", "--listen-client-urls",
		"unix://localhost:5,unixs://b:0", "--advertise-client-urls=unix://localhost:5",
		"--cert-file=c", "--key-file=k"); !c.ReusePort || !c.Extensive() ||
		c.ListenClientURLs[0].Host != "localhost:5" {
		t.Errorf("%+v", c)
	}
}

// refusal is a command line and the complaint about it: etcd's exit code and text. Code 1 is an
// error that is no *Exit.
type refusal struct {
	args string
	code int
	text string
}

func (c refusal) check(t *testing.T) {
	t.Helper()
	_, _, err := parse(t, strings.Fields(c.args)...)
	code, text := 1, ""
	if exit := (*Exit)(nil); errors.As(err, &exit) {
		code, text = exit.Code, exit.Stderr
	} else if err != nil {
		text = err.Error()
	}
	if err == nil || code != c.code || !strings.Contains(text, c.text) {
		t.Errorf("%s: code %d, %q; want code %d with %q", c.args, code, text, c.code, c.text)
	}
}

// TestRefusedFlags: a command line that cannot be read ends with code 2.
func TestRefusedFlags(t *testing.T) {
	for _, c := range []refusal{
		{"--nmae=x", 2, "flag provided but not defined: -nmae; did you mean --name?"},
		{"--listen-client-url=x", 2, "did you mean --listen-client-urls?"},
		{"--zzzzzzzzzz", 2, "flag provided but not defined: -zzzzzzzzzz\nUsage"},
		{"--name", 2, "flag needs an argument: -name"},
		{"--heartbeat-interval=x", 2,
			`invalid value "x" for flag -heartbeat-interval: parse error`},
		{"--snapshot-count=99999999999999999999", 2, "value out of range"},
		{"--max-concurrent-streams=x", 2, `invalid value "x" for flag -max-concurrent-streams: ` +
			`strconv.ParseUint: parsing "x": invalid syntax`},
		{"--force-new-cluster=maybe", 2,
			`invalid boolean value "maybe" for -force-new-cluster: parse error`},
		{"--initial-cluster-state=old", 2,
			`invalid value "old" for flag -initial-cluster-state: invalid value`},
		{"--v2-deprecation=X", 2,
			`invalid value "X" for flag -v2-deprecation: invalid value "X"`},
		{"--peer-client-cert-auth=x", 2, "invalid boolean value"},
		{"--corrupt-check-time=x", 2, "parse error"},
		{"--feature-gates=Nope=true", 2, "unrecognized feature gate: Nope"},
		{"--feature-gates=CompactHashCheck", 2, "missing bool value for CompactHashCheck"},
		{"--listen-client-urls=ftp://a:1", 2,
			"URL scheme must be http, https, unix, or unixs: ftp://a:1"},
		{"--listen-client-urls=http://a", 2, `URL address does not have the form "host:port"`},
		{"--listen-client-urls=http://a:1/x", 2, "URL must not contain a path: http://a:1/x"},
	} {
		c.check(t)
	}
}

// TestRefusedValues: options that make no sense together, or alone.
func TestRefusedValues(t *testing.T) {
	for _, c := range []refusal{
		{"serve", 1, `"serve" is not a valid flag`},
		{"--listen-client-urls=http://127.0.0.1:1", 1,
			"--advertise-client-urls is required when --listen-client-urls is set explicitly"},
		{"--listen-peer-urls=http://example.com:1", 1,
			"expected IP in URL for binding (http://example.com:1)"},
		{"--listen-peer-urls=http://127.0.0.1:99999", 1, "expected a port"},
		{"--listen-peer-urls=http://localhost:2379", 1, "cannot bind both --listen-client-urls " +
			"and --listen-peer-urls on the same url http://localhost:2379"},
		{"--advertise-client-urls=http://:1", 1, "unexpected empty host (http://:1)"},
		{"--initial-advertise-peer-urls=http://:1", 1,
			`--initial-advertise-peer-urls "http://:1" must be "host:port"`},
		{"--heartbeat-interval=0", 1, "--heartbeat-interval must be >0 (set to 0ms)"},
		{"--heartbeat-interval=201", 1, "--election-timeout[1000ms] should be at least as 5 " +
			"times as --heartbeat-interval[201ms]"},
		{"--election-timeout=50001", 1, "--election-timeout[50001ms] is too long, and should " +
			"be set less than 50000ms"},
		{"--auto-compaction-mode=x", 1, `unknown auto-compaction-mode "x"`},
		{"--auto-compaction-retention=x", 1, "error parsing CompactionRetention"},
		{"--auto-compaction-mode=revision --auto-compaction-retention=1h", 1, "revisions"},
		{"--discovery-fallback=proxy", 1, `v2 proxy is deprecated, and --discovery-fallback ` +
			`can't be configured as "proxy"`},
		{"--discovery-token=x", 1, "both --discovery-token and --discovery-endpoints must be set"},
		{"--discovery-srv=example.com --initial-cluster=default=http://localhost:2380", 1,
			"multiple discovery or bootstrap flags are set. Choose one of"},
		{"--compact-hash-check-time=0", 1, "--compact-hash-check-time must be >0 (set to 0s)"},
		{"--logger=capnslog", 1, "--logger=capnslog is removed in v3.5"},
		{"--log-format=xml", 1, "unknown log format: xml, supported values json, console"},
		{"--log-level=loud", 1, `unknown level "loud"`},
		{"--log-outputs=default,stderr", 1, "multi logoutput"},
		{"--enable-log-rotation", 1, "requires a single file path"},
		{"--tls-min-version=TLS1.1", 1,
			`unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3)`},
		{"--tls-min-version=TLS1.3 --tls-max-version=TLS1.2", 1, "is greater than max version"},
		{"--tls-min-version=TLS1.3 --cipher-suites=TLS_AES_128_GCM_SHA256", 1,
			"cipher suites cannot be configured when only TLS1.3 is enabled"},
		{"--cipher-suites=ROT13", 1, `unexpected TLS cipher suite "ROT13"`},
		{"--listen-client-urls=https://127.0.0.1:1 --advertise-client-urls=https://a:1", 1,
			"TLS key/cert (--cert-file, --key-file) must be provided for client url " +
				"https://127.0.0.1:1 with HTTPS scheme"},
		{"--listen-metrics-urls=https://127.0.0.1:1", 1, "client TLS key/cert (--cert-file, " +
			"--key-file) must be provided for metrics secure url"},
		{"--cert-file=a", 1, "KeyFile and CertFile must both be present[key: , cert: a]"},
		{"--feature-gates=LeaseCheckpoint=false,LeaseCheckpointPersist=true", 1,
			"requires enabling feature gate LeaseCheckpoint"},
		{"--max-request-bytes=0", 1, "--max-request-bytes must be >0"},
		{"--max-request-bytes=100000000", 1, "--max-request-bytes must be at most 62914560"},
		{"--config-file=nowhere.yml", 1, "configuration file nowhere.yml: "},
	} {
		c.check(t)
	}
}

// TestNoEffect: what other releases know is accepted with one warning each.
func TestNoEffect(t *testing.T) {
	_, ws, err := parse(t, "--client-cert-file=x", "--max-snapshots=3", "--max-snapshots=4",
		"--experimental-initial-corrupt-check=true", "--proxy=off", "--v", "--enable-v2=false",
		"--experimental-compaction-batch-limit=7", "--v2-deprecation=gone", "--data-dir=d",
		"--feature-gates=PriorityRequest=true,LeaseCheckpoint=true,FastLeaseKeepAlive=true")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"WARN flag is accepted and has no effect yet name=client-cert-file",
		"WARN --max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
		"WARN flag is accepted and has no effect yet name=experimental-initial-corrupt-check",
		"WARN flag is accepted and has no effect yet name=proxy",
		"WARN flag is no longer supported - ignoring flag-name=v",
		"WARN flag is accepted and has no effect yet name=enable-v2",
		"WARN flag has a new name name=experimental-compaction-batch-limit " +
			"use=compaction-batch-limit",
		"WARN --v2-deprecation is deprecated and scheduled for removal in v3.8. The default " +
			"value is enforced, ignoring user input.",
		"WARN feature gate is accepted and has no effect yet name=PriorityRequest",
	}
	if got := messages(ws); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if c := mustParse(t, "--experimental-compaction-batch-limit=7"); c.BatchLimit() != 7 {
		t.Errorf("the former name set %d", c.BatchLimit())
	}
}

// TestEveryFlag: each row of the table is accepted on its own, by flag and by variable.
func TestEveryFlag(t *testing.T) {
	for _, o := range newTable().rows {
		value := o.example
		if value == "" {
			value = o.def
		}
		if value == "" && o.isBool() {
			value = "true"
		}
		if value == "" && o.kind != text {
			value = map[kind]string{signed: "1", unsigned: "1", duration: "1s"}[o.kind]
		}
		if value == "" && o.alias != "" {
			value = newTable().byName[o.alias].def
		}
		switch o.name {
		case "help", "version", "config-file":
			continue
		case "discovery-token", "discovery-endpoints", "cert-file", "key-file",
			"peer-cert-file", "peer-key-file",
			"auto-compaction-retention", "tls-max-version",
			"enable-log-rotation", "cipher-suites":
			continue // need each other; tested above
		}
		if _, _, err := parse(t, "--"+o.name+"="+value, "--advertise-client-urls=http://a:1",
			"--initial-cluster=default=http://localhost:2380"); err != nil {
			t.Errorf("--%s=%s: %v", o.name, value, err)
		}
		_, ws, err := parseOn(vfs.NewMem(), "etcd", nil, []string{o.env() + "=" + value,
			"ETCD_ADVERTISE_CLIENT_URLS=http://a:1"})
		if err != nil || slices.ContainsFunc(ws, func(w Warning) bool {
			return strings.HasPrefix(w.Msg, "unrecognized")
		}) {
			t.Errorf("%s=%s: %v %v", o.env(), value, err, messages(ws))
		}
	}
}

// TestPlainBesideTLS: a client URL that does without the TLS that was set up is told.
func TestPlainBesideTLS(t *testing.T) {
	_, ws, err := parse(t, "--data-dir=d", "--cert-file=c", "--key-file=k", "--client-cert-auth",
		"--listen-client-urls=https://127.0.0.1:1,http://127.0.0.1:2",
		"--advertise-client-urls=https://127.0.0.1:1")
	want := []string{
		"WARN scheme is http or unix while key and cert files are present; ignoring key and cert " +
			"files client-url=http://127.0.0.1:2",
		"WARN scheme is http or unix while --client-cert-auth is enabled; ignoring client cert " +
			"auth for this URL client-url=http://127.0.0.1:2",
	}
	if got := messages(ws); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, got\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, arg := range []string{"--help", "-h", "-help"} {
		_, _, err := parse(t, arg)
		exit := (*Exit)(nil)
		if !errors.As(err, &exit) || exit.Code != 0 {
			t.Fatalf("%s: %v", arg, err)
		}
		for _, o := range newTable().rows {
			if !strings.Contains(exit.Stdout, "--"+o.name) {
				t.Errorf("%s does not show --%s", arg, o.name)
			}
		}
		for _, g := range allGroupsInHelp {
			_, rest, ok := strings.Cut(exit.Stdout, "\n"+g.title+":\n")
			section, _, _ := strings.Cut(rest, "\n\n")
			if !ok || !strings.Contains(section, "Example: ") {
				t.Errorf("group %s is missing or has no example", g.title)
			}
		}
	}
	_, _, err := parse(t, "--version")
	exit := (*Exit)(nil)
	if !errors.As(err, &exit) || exit.Code != 0 ||
		!strings.HasPrefix(exit.Stdout, "etcd Version: 3.7.3\n") {
		t.Errorf("--version: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	env := []string{"ETCD_NAME=e", "ETCD_SNAPSHOT_COUNT=7", "HOME=/x", "ETCD_VERSION=3.1",
		"ETCD_UNSUPPORTED_ARCH=arm", "ETCD_VERIFY=all", "ETCD_DATA_DIR=", "ETCDCTL_API=3",
		"ETCD_DISCOVERY_PASSWORD=secret", "ETCD_NAME=later"}
	c, _, err := parseOn(vfs.NewMem(), "etcd", []string{"--data-dir=d"}, env)
	if exit := (*ShadowedError)(nil); !errors.As(err, &exit) || exit.Variable != "ETCD_DATA_DIR" {
		t.Errorf("a variable that a flag shadows, even empty: %v %v", c, err)
	}
	c, ws, err := parseOn(vfs.NewMem(), "etcd", nil, env)
	if err != nil || c.Name != "e" || c.SnapshotCount != 7 || c.DataDir != "e.etcd" {
		t.Fatalf("%+v, %v", c, err)
	}
	want := []string{
		"WARN cannot set special environment variable key=ETCD_VERSION value=3.1",
		"INFO recognized and used environment variable variable-name=ETCD_NAME variable-value=e",
		"INFO recognized and used environment variable variable-name=ETCD_SNAPSHOT_COUNT " +
			"variable-value=7",
		"WARN environment variable is accepted and has no effect yet name=discovery-password",
		"INFO recognized and used environment variable variable-name=ETCD_DISCOVERY_PASSWORD " +
			"variable-value=***",
		"WARN unrecognized environment variable environment-variable=ETCD_UNSUPPORTED_ARCH=arm",
		"WARN unrecognized environment variable environment-variable=ETCD_VERIFY=all",
		"WARN 'data-dir' was empty; using default data-dir=e.etcd",
	}
	if got := messages(ws); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	_, _, err = parseOn(vfs.NewMem(), "etcd", nil, []string{"ETCD_HEARTBEAT_INTERVAL=100 # ms"})
	const wrong = `invalid value "100 # ms" for ETCD_HEARTBEAT_INTERVAL: parse error`
	if err == nil || err.Error() != wrong {
		t.Errorf("got %v, want %s", err, wrong)
	}
	_, _, err = parseOn(vfs.NewMem(), "etcd", []string{"--name=a"}, []string{"ETCD_NAME=b"})
	if err == nil || !strings.Contains(err.Error(),
		"conflicting environment variable is shadowed by corresponding command-line flag") {
		t.Errorf("shadowed: %v", err)
	}
}

// TestWarningLevels: nothing that Parse notes is an error line; a normal run has none.
func TestWarningLevels(t *testing.T) {
	_, ws, err := parseOn(vfs.NewMem(), "etcd", nil, []string{"ETCD_X=1", "ETCD_NAME=a"})
	if err != nil || len(ws) == 0 {
		t.Fatal(ws, err)
	}
	for _, w := range ws {
		if w.Level >= slog.LevelError {
			t.Errorf("%s: %s", w.Level, w.Msg)
		}
	}
}
