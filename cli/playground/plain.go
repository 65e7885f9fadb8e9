package playground

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cairnkv/cairn/clock"
)

// maxEvents is how many events wait for the plain loop; who has another one waits too.
const maxEvents = 64

// runPlain writes a line for every change until the context, the input or a command ends it.
func (p *playground) runPlain(ctx context.Context, cfg Config, o options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan event, maxEvents)
	p.send = func(e event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	started := make(chan error, 1)
	go func() { started <- p.cluster.start() }()
	lines := make(chan string)
	if listens(cfg.Stdin, o) {
		go readLines(ctx, cfg.Stdin, lines)
	} else {
		lines = nil
	}
	ticker := clock.Real().NewTicker(tickEvery)
	defer ticker.Stop()
	out := &plainOutput{w: cfg.Stdout}
	for !p.model.done {
		select {
		case <-ctx.Done():
			return out.err
		case err := <-started:
			if err != nil {
				return err
			}
			out.talk(p.model)
			out.begun = true
		case e := <-events:
			p.take(e)
		case line, ok := <-lines:
			if !ok {
				return out.err
			}
			p.take(typed{line})
		case <-ticker.C():
			if gone(cfg.Stdout) {
				return nil
			}
			p.take(passed{})
		}
		if out.begun {
			out.write(p.model)
		}
		if out.err != nil {
			return out.err
		}
	}
	return out.err
}

// listens says whether commands are read. The end of a pipe or of a terminal ends the playground;
// what has no end that means anything, as the null device that a shell gives to what runs in the
// background, is not read. Neither is anything when the time is set.
func listens(stdin *os.File, o options) bool {
	info, err := stdin.Stat()
	if err != nil {
		return false
	}
	null, err := os.Stat(os.DevNull)
	if err == nil && os.SameFile(info, null) {
		return false
	}
	return o.length == 0 || info.Mode()&os.ModeNamedPipe != 0
}

// readLines hands on lines until there are no more, and closes the channel.
func readLines(ctx context.Context, r io.Reader, lines chan<- string) {
	defer close(lines)
	for s := bufio.NewScanner(r); s.Scan(); {
		select {
		case lines <- s.Text():
		case <-ctx.Done():
			return
		}
	}
}

// plainOutput writes what has changed in a model.
type plainOutput struct {
	w      io.Writer
	begun  bool   // all members were started
	logged int    // entries of the model's log that were written, the dropped ones included
	state  string // the last one written
	err    error
}

// talk writes how to use the cluster.
func (o *plainOutput) talk(m *model) {
	for _, line := range m.usage() {
		o.println(line)
	}
	o.println("")
}

// write writes the new entries of the log, and the state if it has changed.
func (o *plainOutput) write(m *model) {
	fresh := m.said - o.logged
	for _, e := range m.log[max(0, len(m.log)-fresh):] {
		o.println(stamp(e.at) + "  " + e.text)
	}
	o.logged = m.said
	if state := m.state(); state != o.state {
		o.state = state
		o.println(stamp(m.now) + "  " + state)
	}
}

func (o *plainOutput) println(line string) {
	_, err := fmt.Fprintln(o.w, line)
	o.err = errors.Join(o.err, err)
}

// state is one line with what matters of each member, and nothing that changes all the time.
func (m *model) state() string {
	parts := []string{"=="}
	for _, r := range m.rows {
		role := string(m.role(r))
		if r.learner && role != string(roleLearner) {
			role = "learner, " + role
		}
		parts = append(parts, r.name+" "+role)
	}
	if m.everLed {
		parts = append(parts, fmt.Sprintf("term %d", m.term))
	}
	return strings.Join(parts, "  ")
}
