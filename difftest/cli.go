package difftest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// commandTimeout bounds one command of a CLI script.
const commandTimeout = 30 * time.Second

// Command is one line of a CLI script: arguments for etcdctl as a shell would split them, then
// perhaps
//
//	=> NAME   keep the id of the lease or new member that it prints as $NAME
//	&N        interrupt it (as with Ctrl-C) once it has printed N lines
//	<<        the lines from here to one with a single dot are its standard input
//
// and before them
//
//	~         the output is a help text: only the exit status counts
//
// $endpoint, $client, $peer, $member and $dir stand for what belongs to the server of the script.
type Command struct {
	Args  []string
	Stdin string
	Keep  string
	Lines int
	Text  string
	Help  bool
}

// ParseCommands reads a CLI script.
func ParseCommands(r io.Reader) ([]Command, error) {
	var commands []Command
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		c := Command{Text: line}
		line, c.Help = strings.CutPrefix(line, "~ ")
		line, input := strings.CutSuffix(line, "<<")
		if rest, count, ok := cutLast(line, " &"); ok {
			line = rest
			if _, err := fmt.Sscan(count, &c.Lines); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		}
		if rest, name, ok := cutLast(line, " => "); ok {
			line, c.Keep = rest, strings.TrimSpace(name)
		}
		var err error
		if c.Args, err = splitArgs(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		for input && lines.Scan() && lines.Text() != "." {
			n++
			c.Stdin += lines.Text() + "\n"
		}
		commands = append(commands, c)
	}
	return commands, lines.Err()
}

// cutLast cuts s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// splitArgs splits a line at spaces; quotes of both kinds hold an argument together.
func splitArgs(line string) ([]string, error) {
	var args []string
	var arg strings.Builder
	quote, inside := rune(0), false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			arg.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inside = c, true
		case c == ' ':
			if inside {
				args = append(args, arg.String())
				arg.Reset()
			}
			inside = false
		default:
			arg.WriteRune(c)
			inside = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if inside {
		args = append(args, arg.String())
	}
	return args, nil
}

// Shell runs commands of a CLI script against one server.
type Shell struct {
	Program []string          // with its first arguments, as "cairn", "ctl"
	Vars    map[string]string // what $NAME stands for
	Env     []string          // besides this process's own, without what etcd's programs read
}

// Outcome is what came of a command, not masked.
type Outcome struct {
	Stdout, Stderr string
	End            string // exit status or signal
}

// hexLease and decimalLease find the id of a lease, newMember that of a member, in what a command
// prints.
var (
	hexLease     = regexp.MustCompile(`lease ([0-9a-f]{16})\b`)
	newMember    = regexp.MustCompile(`Member +([0-9a-f]+) added`)
	decimalLease = regexp.MustCompile(`"ID" ?: ?(\d+)\b`)
)

// variable finds what expand replaces.
var variable = regexp.MustCompile(`\$[a-z]+[0-9]*`)

// leaseIn returns the id of a lease or new member in a command's output with 16 hexadecimal digits,
// or "".
func leaseIn(output string) string {
	if m := hexLease.FindStringSubmatch(output); m != nil {
		return m[1]
	}
	if m := newMember.FindStringSubmatch(output); m != nil {
		return fmt.Sprintf("%016s", m[1])
	}
	if m := decimalLease.FindStringSubmatch(output); m != nil {
		if id, err := strconv.ParseUint(m[1], 10, 64); err == nil {
			return fmt.Sprintf("%016x", id)
		}
	}
	return ""
}

// Run runs a command to its end.
func (s *Shell) Run(ctx context.Context, c Command) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	args := append([]string(nil), s.Program[1:]...)
	if endpoint := s.Vars["endpoint"]; endpoint != "" && !strings.Contains(c.Text, "--endpoints") {
		args = append(args, "--endpoints="+endpoint)
	}
	for _, arg := range c.Args {
		args = append(args, s.expand(arg))
	}
	cmd := exec.CommandContext(ctx, s.Program[0], args...)
	cmd.Env = append(environment(), s.Env...)
	cmd.Dir = s.Vars["dir"]
	cmd.Stdin = strings.NewReader(s.expand(c.Stdin))
	stdout := &lineCounter{want: c.Lines, enough: make(chan struct{})}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &stderr
	if c.Lines > 0 && c.Stdin != "" {
		// A command that reads commands would end with its input.
		pr, pw, err := os.Pipe()
		if err != nil {
			return Outcome{}, err
		}
		defer pr.Close()
		defer pw.Close()
		if _, err := io.WriteString(pw, s.expand(c.Stdin)); err != nil {
			return Outcome{}, err
		}
		cmd.Stdin = pr
	}
	if err := cmd.Start(); err != nil {
		return Outcome{}, err
	}
	done := make(chan struct{})
	var interrupt sync.WaitGroup
	if c.Lines > 0 {
		interrupt.Go(func() {
			select {
			case <-stdout.enough:
				_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended by itself
			case <-done:
			}
		})
	}
	_ = cmd.Wait() // the process state tells how it ended
	close(done)
	interrupt.Wait()
	o := Outcome{
		Stdout: stdout.text.String(), Stderr: stderr.String(), End: cmd.ProcessState.String(),
	}
	if ctx.Err() != nil {
		o.End = "killed after " + commandTimeout.String()
	}
	if c.Keep != "" {
		s.Vars[c.Keep] = leaseIn(o.Stdout)
	}
	return o, nil
}

// expand replaces $NAME by what it stands for.
func (s *Shell) expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(name string) string {
		if v, ok := s.Vars[name[1:]]; ok {
			return v
		}
		return name
	})
}

// environment returns this process's environment without what etcdctl or etcd would read.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ETCD") {
			env = append(env, v)
		}
	}
	return env
}

// lineCounter collects output and tells when it has enough lines.
type lineCounter struct {
	text   bytes.Buffer
	lines  int
	want   int
	enough chan struct{} // closed when there are want lines
}

// Write is called by the command's output.
func (l *lineCounter) Write(p []byte) (int, error) {
	before := l.lines
	l.lines += bytes.Count(p, []byte("\n"))
	if l.want > 0 && before < l.want && l.lines >= l.want {
		close(l.enough)
	}
	return l.text.Write(p)
}
