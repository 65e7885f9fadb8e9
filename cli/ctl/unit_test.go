package ctl

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairnkv/cairn/vfs"
)

// testApp makes a run of the program over a server that plays calls.
func testApp(srv *replayServer, stdin string, args ...string) (
	a *app, stdout, stderr *strings.Builder) {
	stdout, stderr = new(strings.Builder), new(strings.Builder)
	a = &app{
		cfg: Config{
			Name: face, Args: args, Stdin: strings.NewReader(stdin),
			Stdout: stdout, Stderr: stderr, FS: vfs.OS(),
		},
		clientLog: quiet,
	}
	if srv != nil {
		a.dialOptions = srv.dialOptions()
	}
	return a, stdout, stderr
}

func TestSplitWords(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"", nil},
		{"  ", nil},
		{"get a", []string{"get", "a"}},
		{"  get\ta  ", []string{"get", "a"}},
		{`put a "b c"`, []string{"put", "a", "b c"}},
		{`put a 'b "c" \n'`, []string{"put", "a", `b "c" \n`}},
		{`put a "b\n\"c\"\x41"`, []string{"put", "a", "b\n\"c\"A"}},
		{`put "" ''`, []string{"put", "", ""}},
		{`put --lease=1 x-y a"b`, []string{"put", "--lease=1", "x-y", `a"b`}},
	} {
		got, err := splitWords(tc.line)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("splitWords(%q) = %q, %v; want %q", tc.line, got, err, tc.want)
		}
	}
	if got, err := splitWords(`put a "\z"`); err == nil {
		t.Errorf("an unknown escape gives %q", got)
	}
}

// TestCompareBeyondEtcdctl: what etcdctl panics over.
func TestCompareBeyondEtcdctl(t *testing.T) {
	cmp, err := parseCompare(`lease("k") != "2d8257079fa1bc0c"`)
	if err != nil {
		t.Fatal(err)
	}
	c := cmp.GetCompare()
	if c.GetTarget() != pb.Compare_LEASE || c.GetResult() != pb.Compare_NOT_EQUAL ||
		c.GetLease() != 0x2d8257079fa1bc0c || string(c.GetKey()) != "k" {
		t.Errorf("parsed as %v", c)
	}
	_, err = parseCompare(`mod("k") >= "1"`)
	if err == nil || !strings.Contains(err.Error(), "unknown operator >=") {
		t.Errorf("an unknown operator gives %v", err)
	}
	if _, err = parseCompare(`lease("k") = "xyz"`); err == nil {
		t.Error("a lease that is no number passes")
	}
}

func TestTxnRequestForHelpIsNoHelp(t *testing.T) {
	srv := startReplay(t, nil, &vars{})
	defer srv.stop()
	a, stdout, stderr := testApp(srv, "\nget -h\n\n\n", "txn")
	if exit := a.run(context.Background()); exit != 3 || stdout.Len() > 0 {
		t.Errorf("exit %d, stdout %q, stderr %q", exit, stdout, stderr)
	}
}

func TestAlarmText(t *testing.T) {
	for want, m := range map[string]*pb.AlarmMember{
		"memberID:7 alarm:NOSPACE": {MemberID: 7, Alarm: pb.AlarmType_NOSPACE},
		"alarm:CORRUPT":            {Alarm: pb.AlarmType_CORRUPT},
		"memberID:7":               {MemberID: 7},
	} {
		if got := alarmText(m); got != want {
			t.Errorf("%v is written as %q", m, got)
		}
	}
}

// TestAlarms: etcdctl's own spaces change from build to build, so this is not in the transcripts.
func TestAlarms(t *testing.T) {
	const answer = `{"header":{"clusterId":"1","memberId":"2","revision":"3","raftTerm":"4"},` +
		`"alarms":[{"memberID":"2","alarm":"NOSPACE"}]}`
	for form, want := range map[string]string{
		"simple": "memberID:2 alarm:NOSPACE\n",
		"json": `{"header":{"cluster_id":1,"member_id":2,"revision":3,"raft_term":4},` +
			`"alarms":[{"memberID":2,"alarm":1}]}` + "\n",
		"fields": "\"ClusterID\" : 1\n\"MemberID\" : 2\n\"Revision\" : 3\n\"RaftTerm\" : 4\n" +
			"\"MemberID\" : 2\n\"AlarmType\" : NOSPACE\n\n",
	} {
		srv := startReplay(t, []*call{{
			method:   "/etcdserverpb.Maintenance/Alarm",
			messages: []message{{true, `{}`}, {false, answer}},
			end:      "OK",
		}}, &vars{})
		a, stdout, stderr := testApp(srv, "", "alarm", "list", "-w", form)
		if exit := a.run(context.Background()); exit != 0 || stdout.String() != want {
			t.Errorf("%s: exit %d, %q, %s", form, exit, stdout, stderr)
		}
		srv.stop()
	}
}

func TestEndpointHealthWithAlarm(t *testing.T) {
	srv := startReplay(t, []*call{
		{
			method:   "/etcdserverpb.KV/Range",
			messages: []message{{true, `{"key":"aGVhbHRo"}`}},
			end:      "7 etcdserver: permission denied", // is as good as an answer
		},
		{
			method: "/etcdserverpb.Maintenance/Alarm",
			messages: []message{{true, `{}`}, {false, `{"alarms":[` +
				`{"memberID":"2","alarm":"NOSPACE"},{"memberID":"3","alarm":"CORRUPT"}]}`}},
			end: "OK",
		},
	}, &vars{})
	defer srv.stop()
	a, stdout, stderr := testApp(srv, "", "endpoint", "health")
	exit := a.run(context.Background())
	const want = "127.0.0.1:2379 is unhealthy: failed to commit proposal: " +
		"Active Alarm(s): NOSPACE CORRUPT \nError: unhealthy cluster\n"
	if exit != 1 || stdout.Len() > 0 || stderr.String() != want {
		t.Errorf("exit %d, stdout %q, stderr %q", exit, stdout, stderr)
	}
}

func TestHealthTable(t *testing.T) {
	a, stdout, _ := testApp(nil, "")
	a.flags.writeOut = "table"
	err := a.show(healthOutput([]endpointHealth{
		{Endpoint: "127.0.0.1:2379", Health: true, Took: "1.5ms"},
		{Endpoint: "[::1]:2379", Took: "5s", Error: "context deadline exceeded"},
	}, a.warn))
	const want = `
┌────────────────┬────────┬───────┬───────────────────────────┐
│    ENDPOINT    │ HEALTH │ TOOK  │           ERROR           │
├────────────────┼────────┼───────┼───────────────────────────┤
│ 127.0.0.1:2379 │   true │ 1.5ms │                           │
│     [::1]:2379 │  false │    5s │ context deadline exceeded │
└────────────────┴────────┴───────┴───────────────────────────┘
`
	if err != nil || stdout.String() != want[1:] {
		t.Errorf("%v\n%s", err, stdout)
	}
}

func TestLeaseKeepAliveUntilItExpires(t *testing.T) {
	for form, want := range map[string]string{
		"simple": "lease 0000000000001234 keepalived with TTL(60)\n" +
			"lease 0000000000001234 expired or revoked.\n",
		"json": `{"cluster_id":1,"ID":4660,"TTL":60}` + "\n",
	} {
		srv := startReplay(t, []*call{{
			method: "/etcdserverpb.Lease/LeaseKeepAlive",
			messages: []message{
				{true, `{"ID":"4660"}`},
				{false, `{"header":{"clusterId":"1"},"ID":"4660","TTL":"60"}`},
				{false, `{"header":{"clusterId":"1"},"ID":"4660"}`},
			},
			end: "canceled",
		}}, &vars{})
		a, stdout, stderr := testApp(srv, "", "lease", "keep-alive", "1234", "-w", form)
		if exit := a.run(context.Background()); exit != 0 || stdout.String() != want {
			t.Errorf("%s: exit %d, %q, %s", form, exit, stdout, stderr)
		}
		srv.stop()
	}
}

// TestWatchInteractive: two watches on one stream, a progress request, and the end of the input.
func TestWatchInteractive(t *testing.T) {
	srv := startReplay(t, []*call{{
		method: "/etcdserverpb.Watch/Watch",
		messages: []message{
			{true, `{"createRequest":{"key":"YQ==","prevKv":true}}`},
			{false, `{"created":true}`},
			{false, `{"events":[{"kv":{"key":"YQ==","value":"MQ=="}}]}`},
			{true, `{"progressRequest":{}}`},
			{false, `{"header":{"revision":"9"},"watchId":"-1"}`},
		},
		end: "canceled",
	}}, &vars{})
	defer srv.stop()
	a, _, stderr := testApp(srv, "", "watch", "-i")
	in, type_ := io.Pipe()
	out, print_ := io.Pipe()
	a.cfg.Stdin, a.cfg.Stdout = in, print_
	exit := make(chan int)
	go func() { exit <- a.run(context.Background()) }()
	read := func(want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(out, b); err != nil || string(b) != want {
			t.Fatalf("%q, %v; want %q", b, err, want)
		}
	}
	io.WriteString(type_, "watch a --prev-kv\n")
	read("PUT\na\n1\n")
	io.WriteString(type_, "progress\n")
	read("progress notify: 9\n")
	type_.Close()
	if got := <-exit; got != 3 || !strings.Contains(stderr.String(),
		"Error: error reading watch request line: EOF") {
		t.Errorf("exit %d, stderr %q", got, stderr)
	}
}

// TestWatchCommandFails: the first failure of the command ends the watch.
func TestWatchCommandFails(t *testing.T) {
	for _, args := range [][]string{
		{"watch", "a", "--", "/nonexistent/program", "x"},
		{"watch", "-i"},
	} {
		srv := startReplay(t, []*call{{
			method: "/etcdserverpb.Watch/Watch",
			messages: []message{
				{true, `{"createRequest":{"key":"YQ=="}}`},
				{false, `{"created":true}`},
				{false, `{"events":[{"kv":{"key":"YQ==","value":"MQ=="}}]}`},
			},
			end: "canceled",
		}}, &vars{})
		a, stdout, stderr := testApp(srv, "", args...)
		in, type_ := io.Pipe()
		a.cfg.Stdin = in
		go io.WriteString(type_, "watch a -- /nonexistent/program x\n")
		exit := a.run(context.Background())
		if exit != 1 || stdout.String() != "PUT\na\n1\n" || !strings.Contains(stderr.String(),
			`command ["/nonexistent/program" "x"] error (`) {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", args, exit, stdout, stderr)
		}
		in.Close()
		srv.stop()
	}
}

func TestEnvironment(t *testing.T) {
	run := func(env []string, args ...string) (exit int, stderr string) {
		srv := startReplay(t, []*call{{
			method:   "/etcdserverpb.KV/Range",
			messages: []message{{true, `{"key":"YQ=="}`}, {false, `{}`}},
			end:      "OK",
		}}, &vars{})
		defer srv.stop()
		a, _, errs := testApp(srv, "", append([]string{"get", "a"}, args...)...)
		a.cfg.Environ = env
		return a.run(context.Background()), errs.String()
	}
	for _, tc := range []struct {
		env  string
		args []string
		exit int
		text string
	}{
		{"ETCDCTL_DIAL_TIMEOUT=3s", nil, 0, ""},
		{"ETCDCTL_DIAL_TIMEOUT=", nil, 0, ""},
		{"OTHER=x", nil, 0, ""},
		{"ETCDCTL_DIAL_TIMEOUT=soon", nil, 1, `invalid value "soon" for ETCDCTL_DIAL_TIMEOUT`},
		{"ETCDCTL_DIAL_TIMEOUT=3s", []string{"--dial-timeout=3s"}, 1,
			`conflicting environment variable "ETCDCTL_DIAL_TIMEOUT" is shadowed by ` +
				`command-line flag --dial-timeout`},
		{"ETCDCTL_BOGUS=1", nil, 0, "unrecognized environment variable"},
		{"ETCDCTL_WATCH_KEY=1", nil, 0, "unrecognized environment variable"},
	} {
		exit, stderr := run([]string{tc.env}, tc.args...)
		if exit != tc.exit || tc.text == "" && stderr != "" || !strings.Contains(stderr, tc.text) {
			t.Errorf("%s %q: exit %d, stderr %q", tc.env, tc.args, exit, stderr)
		}
	}
}

func TestPassword(t *testing.T) {
	for _, tc := range []struct {
		flags    globalFlags
		stdin    string
		name     string
		password string
		prompt   string
	}{
		{globalFlags{user: "u", password: "p:q"}, "", "u", "p:q", ""},
		{globalFlags{user: "u:p:q"}, "", "u", "p:q", ""},
		{globalFlags{user: "u:"}, "", "u", "", ""},
		{globalFlags{user: "u"}, " secret\r\nvalue", "u", "secret", "Password: \n"},
		{globalFlags{user: "u"}, "secret", "u", "secret", "Password: \n"},
	} {
		a, stdout, _ := testApp(nil, tc.stdin)
		a.flags = tc.flags
		auth, err := a.authConfig()
		if err != nil || auth.Username != tc.name || auth.Password != tc.password ||
			stdout.String() != tc.prompt {
			t.Errorf("%+v: %+v, %v, stdout %q", tc.flags, auth, err, stdout)
		}
		if rest, _ := io.ReadAll(a.cfg.Stdin); tc.stdin == " secret\r\nvalue" &&
			string(rest) != "value" {
			t.Errorf("of stdin is left %q", rest)
		}
	}
	a, _, _ := testApp(nil, "")
	a.cfg.Stdin = iotest.ErrReader(errors.New("gone"))
	a.flags.user = "u"
	if _, err := a.authConfig(); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("stdin that fails: %v", err)
	}
}
