package difftest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"
)

// maxScriptLine bounds a line of a script: a txn with many large values.
const maxScriptLine = 64 << 20

// Script is what a run does: a server configuration and operations in order.
type Script struct {
	Config Config
	Ops    []Op

	// Partial leaves out the checks and restarts at the end. It is not written to files.
	Partial bool
}

// WriteTo writes a script in the form that ReadScript reads: a line for the configuration, then
// one for each operation; '#' starts a comment.
//
//	config max-txn-ops=16
//	grant var=1 {TTL:1000}
//	put {key:"a" value:"1" lease:$lease1}
//	restart signal=KILL
func (s *Script) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "config members=%d max-txn-ops=%d max-request-bytes=%d default-timing=%t\n",
		max(s.Config.Members, 1), s.Config.MaxTxnOps, s.Config.MaxRequestBytes,
		s.Config.DefaultTiming)
	for _, op := range s.Ops {
		fmt.Fprintln(&b, op)
	}
	return b.WriteTo(w)
}

// String returns the operation as a line of a script.
func (op Op) String() string {
	var b strings.Builder
	b.WriteString(op.Kind)
	number := func(name string, n int) {
		if n != 0 {
			fmt.Fprintf(&b, " %s=%d", name, n)
		}
	}
	number("at", op.Member)
	number("stream", op.Stream)
	number("var", op.Var)
	number("repeat", op.Repeat)
	if op.Signal != "" {
		fmt.Fprintf(&b, " signal=%s", op.Signal)
	}
	if op.Path != "" {
		fmt.Fprintf(&b, " path=%s", op.Path)
	}
	if op.HasLeader {
		b.WriteString(" hasleader=true")
	}
	if op.Request != nil {
		text := prototext.MarshalOptions{}.Format(op.Request)
		fmt.Fprintf(&b, " {%s}", symbolsToWords(text))
	}
	return b.String()
}

// ReadScript reads a script. Errors name the line.
func ReadScript(r io.Reader) (*Script, error) {
	s := &Script{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxScriptLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var err error
		if rest, ok := strings.CutPrefix(line, "config "); ok {
			err = s.Config.parse(rest)
		} else {
			var op Op
			op, err = parseOp(line)
			s.Ops = append(s.Ops, op)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s, lines.Err()
}

// parse reads the fields of a config line.
func (c *Config) parse(line string) error {
	for _, field := range strings.Fields(line) {
		name, value, _ := strings.Cut(field, "=")
		var err error
		switch name {
		case "members":
			c.Members, err = strconv.Atoi(value)
		case "max-txn-ops":
			c.MaxTxnOps, err = strconv.Atoi(value)
		case "max-request-bytes":
			c.MaxRequestBytes, err = strconv.Atoi(value)
		case "default-timing":
			c.DefaultTiming, err = strconv.ParseBool(value)
		default:
			err = fmt.Errorf("unknown setting %q", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseOp reads the line of one operation.
func parseOp(line string) (Op, error) {
	head, body, hasBody := strings.Cut(line, "{")
	fields := strings.Fields(head)
	if len(fields) == 0 {
		return Op{}, fmt.Errorf("no operation in %q", line)
	}
	op := Op{Kind: fields[0]}
	k, ok := kinds()[op.Kind]
	if !ok {
		return op, fmt.Errorf("unknown operation %q", op.Kind)
	}
	for _, field := range fields[1:] {
		name, value, _ := strings.Cut(field, "=")
		var err error
		switch name {
		case "stream":
			op.Stream, err = strconv.Atoi(value)
		case "var":
			op.Var, err = strconv.Atoi(value)
		case "repeat":
			op.Repeat, err = strconv.Atoi(value)
		case "signal":
			op.Signal = value
		case "at":
			op.Member, err = strconv.Atoi(value)
		case "path":
			op.Path = value
		case "hasleader":
			op.HasLeader, err = strconv.ParseBool(value)
		default:
			err = fmt.Errorf("unknown setting %q", name)
		}
		if err != nil {
			return op, err
		}
	}
	if k.request == nil {
		return op, nil
	}
	op.Request = k.request()
	if !hasBody || !strings.HasSuffix(body, "}") {
		return op, fmt.Errorf("%s needs a request in braces", op.Kind)
	}
	body = wordsToSymbols(strings.TrimSuffix(body, "}"))
	return op, prototext.Unmarshal([]byte(body), op.Request)
}
