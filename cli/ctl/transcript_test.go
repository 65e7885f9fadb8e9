package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/cairnkv/cairn/vfs"
)

// A transcript is a file of commands and of what the real etcdctl 3.7.3 did for each: the calls
// that it made, with their messages, and what it printed. The tests make this package's client run
// the same commands against a server in memory that insists on the same requests, gives the same
// answers, and compare what it prints. No etcd and no network is needed for that.
//
//	$ get foo -w json                       a command; $EP, $LEASE, $MEMBER: values seen
//	! ETCDCTL_HEX=true                      a variable of its environment
//	< some line                             a line of its stdin
//	% cut 2                                 cancel its watch after 2 answers
//	rpc /etcdserverpb.KV/Range              a call,
//	> {"key":"Zm9v"}                        its requests
//	< ...                                   and answers, in order,
//	= OK                                    and how it ended
//	| {"header":{...}}                      a line of stdout; |q for quoted text
//	E Error: ...                            a line of stderr that begins with "Error:"
//	exit 0                                  the exit status
//
// Recording anew, from the first four kinds of lines, needs the programs of etcd 3.7.3:
//
//	go test ./cli/ctl -run TestTranscripts -update -etcd DIR
//
// where DIR holds etcd and etcdctl.
var (
	update  = flag.Bool("update", false, "rewrite testdata (transcripts: with -etcd)")
	etcdDir = flag.String("etcd", "", "directory with etcd and etcdctl 3.7.3, to record from")
)

// fakeEndpoint is what the address of the server is called in transcripts.
const fakeEndpoint = "127.0.0.1:23790"

// took matches what changes from run to run: durations.
var took = regexp.MustCompile(`(took[ =]+|"took":"|"Took" : )[0-9.]+[µmn]?s`)

// exchange is one command of a transcript.
type exchange struct {
	args  []string
	env   []string
	stdin []string
	cut   int

	calls  []*call
	stdout string
	errors []string
	exit   int
}

// call is one RPC.
type call struct {
	method   string
	messages []message
	end      string // "OK", "canceled", or the code's number and the text
}

// message is one message of a call, in JSON.
type message struct {
	request bool
	text    string
}

// vars are the names that commands use for values seen in answers.
type vars struct{ lease, member string }

// learn takes the values of an answer.
func (v *vars) learn(m protoreflect.Message) {
	field := func(name protoreflect.Name) (protoreflect.Value, bool) {
		fd := m.Descriptor().Fields().ByName(name)
		if fd == nil || !m.Has(fd) {
			return protoreflect.Value{}, false
		}
		return m.Get(fd), true
	}
	if m.Descriptor().Name() == "LeaseGrantResponse" {
		if id, ok := field("ID"); ok {
			v.lease = fmt.Sprintf("%016x", id.Int())
		}
	}
	if h, ok := field("header"); ok {
		h := h.Message()
		id := h.Get(h.Descriptor().Fields().ByName("member_id")).Uint()
		v.member = strconv.FormatUint(id, 16)
	}
}

// expand puts the values into the arguments of a command.
func (v *vars) expand(args []string, endpoint string) []string {
	r := strings.NewReplacer("$LEASE", v.lease, "$MEMBER", v.member, "$EP", endpoint)
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = r.Replace(a)
	}
	return out
}

// stdinText is what a command reads.
func (x *exchange) stdinText() string {
	if len(x.stdin) == 0 {
		return ""
	}
	return strings.Join(x.stdin, "\n") + "\n"
}

// environ is the environment of a command.
func (x *exchange) environ(endpoint string) []string {
	env := append([]string{"PATH=" + os.Getenv("PATH")}, x.env...)
	for _, a := range x.args {
		if strings.HasPrefix(a, "--endpoints") {
			return env
		}
	}
	return append(env, "ETCDCTL_ENDPOINTS="+endpoint)
}

// parseTranscript reads a file.
func parseTranscript(t *testing.T, path string) (comment string, list []*exchange) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var x *exchange
	for n, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "":
		case kind == "#":
			comment += line + "\n"
		case kind == "$":
			args, err := splitWords(rest)
			if err != nil {
				t.Fatalf("%s:%d: %v", path, n+1, err)
			}
			x = &exchange{args: args}
			list = append(list, x)
		case x == nil:
			t.Fatalf("%s:%d: no command above", path, n+1)
		default:
			if err := x.parseLine(kind, rest); err != nil {
				t.Fatalf("%s:%d: %v", path, n+1, err)
			}
		}
	}
	return comment, list
}

// parseLine reads one line below a command.
func (x *exchange) parseLine(kind, rest string) (err error) {
	var last *call
	if len(x.calls) > 0 {
		last = x.calls[len(x.calls)-1]
	}
	switch {
	case kind == "!":
		x.env = append(x.env, rest)
	case kind == "%":
		x.cut, err = strconv.Atoi(strings.TrimPrefix(rest, "cut "))
	case kind == "rpc":
		x.calls = append(x.calls, &call{method: rest})
	case kind == "<" && last == nil:
		x.stdin = append(x.stdin, rest)
	case (kind == "<" || kind == ">") && last.end == "":
		last.messages = append(last.messages, message{request: kind == ">", text: rest})
	case kind == "=" && last != nil:
		last.end = rest
	case kind == "|":
		x.stdout += rest + "\n"
	case kind == "|q":
		x.stdout, err = strconv.Unquote(rest)
	case kind == "E":
		x.errors = append(x.errors, rest)
	case kind == "exit":
		x.exit, err = strconv.Atoi(rest)
	default:
		err = fmt.Errorf("what is %q here?", kind)
	}
	return err
}

// format writes an exchange as parseTranscript reads it.
func (x *exchange) format(b *strings.Builder) {
	b.WriteString("$")
	for _, a := range x.args {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\") {
			a = strconv.Quote(a)
		}
		b.WriteString(" " + a)
	}
	b.WriteString("\n")
	for _, e := range x.env {
		b.WriteString("! " + e + "\n")
	}
	for _, s := range x.stdin {
		b.WriteString(strings.TrimSuffix("< "+s, " ") + "\n")
	}
	if x.cut > 0 {
		fmt.Fprintf(b, "%% cut %d\n", x.cut)
	}
	for _, c := range x.calls {
		b.WriteString("rpc " + c.method + "\n")
		for _, m := range c.messages {
			if m.request {
				b.WriteString("> " + m.text + "\n")
			} else {
				b.WriteString("< " + m.text + "\n")
			}
		}
		b.WriteString("= " + c.end + "\n")
	}
	b.WriteString(formatStdout(x.stdout))
	for _, e := range x.errors {
		b.WriteString("E " + e + "\n")
	}
	fmt.Fprintf(b, "exit %d\n", x.exit)
}

// formatStdout writes text line by line where that can be read back.
func formatStdout(text string) string {
	if text == "" {
		return ""
	}
	lines := strings.TrimSuffix(text, "\n")
	printable := func(r rune) bool { return r == '\n' || strconv.IsPrint(r) }
	if !strings.HasSuffix(text, "\n") || strings.IndexFunc(text, func(r rune) bool {
		return !printable(r) || r == '\uFFFD'
	}) >= 0 {
		return "|q " + strconv.Quote(text) + "\n"
	}
	var b strings.Builder
	for line := range strings.SplitSeq(lines, "\n") {
		b.WriteString("| " + line + "\n")
	}
	return b.String()
}

// errorLines picks the lines of stderr that say what went wrong.
func errorLines(stderr string) (list []string) {
	for line := range strings.SplitSeq(stderr, "\n") {
		if strings.HasPrefix(line, "Error:") {
			list = append(list, line)
		}
	}
	return list
}

// messageTypes finds the types of a method's messages.
func messageTypes(method string) (in, out protoreflect.MessageType, err error) {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil, nil, err
	}
	md, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, nil, fmt.Errorf("%s is no method", method)
	}
	if in, err = protoregistry.GlobalTypes.FindMessageByName(md.Input().FullName()); err == nil {
		out, err = protoregistry.GlobalTypes.FindMessageByName(md.Output().FullName())
	}
	return in, out, err
}

// encodeJSON writes a message in JSON that does not change from run to run.
func encodeJSON(m proto.Message) (string, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = json.Compact(&out, b) // protojson puts in spaces at random
	return out.String(), err
}

func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			comment, list := parseTranscript(t, path)
			if *update && *etcdDir != "" {
				record(t, *etcdDir, path, comment, list)
				return
			}
			var v vars
			for _, x := range list {
				x.replay(t, &v)
			}
		})
	}
}

// replay runs one command against a server that plays the calls recorded, and compares.
func (x *exchange) replay(t *testing.T, v *vars) {
	t.Helper()
	srv := startReplay(t, x.calls, v)
	defer srv.stop()
	var stdout, stderr strings.Builder
	a := &app{
		cfg: Config{
			Name:    face,
			Args:    v.expand(x.args, fakeEndpoint),
			Environ: x.environ(fakeEndpoint),
			Stdin:   strings.NewReader(x.stdinText()),
			Stdout:  &stdout,
			Stderr:  &stderr,
			FS:      vfs.OS(),
		},
		dialOptions: srv.dialOptions(),
		clientLog:   quiet,
	}
	exit := a.run(context.Background())
	srv.finish(t, x)
	got := exchange{
		args: x.args, env: x.env, stdin: x.stdin, cut: x.cut, calls: x.calls,
		stdout: took.ReplaceAllString(stdout.String(), "${1}T"),
		errors: errorLines(took.ReplaceAllString(stderr.String(), "${1}T")),
		exit:   exit,
	}
	var want, have strings.Builder
	x.format(&want)
	got.format(&have)
	if want.String() != have.String() {
		t.Errorf("recorded:\n%s\ngot:\n%s\nall of stderr:\n%s", &want, &have, &stderr)
	}
}
