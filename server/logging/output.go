package logging

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// sink is one place that lines go to.
type sink struct {
	name string
	w    io.Writer
}

// output writes each line to every sink. The lock keeps lines whole and in one order.
type output struct {
	fallback io.Writer // told once of each sink that fails; may be nil

	mu     sync.Mutex // guards below
	sinks  []sink
	failed map[string]bool
}

// add appends a sink unless one of that name is there.
func (o *output) add(name string, w io.Writer) {
	for _, s := range o.sinks {
		if s.name == name {
			return
		}
	}
	o.sinks = append(o.sinks, sink{name, w})
}

// write writes one line everywhere. A sink that fails is reported to the fallback once and tried
// again with every line: logging must not stop the server.
func (o *output) write(line []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all error
	for _, s := range o.sinks {
		if _, err := s.w.Write(line); err != nil {
			all = errors.Join(all, fmt.Errorf("write log to %s: %w", s.name, err))
			o.report(s.name, err)
		} else if o.failed[s.name] {
			delete(o.failed, s.name)
		}
	}
	return all
}

// report tells the fallback that lines are being lost.
func (o *output) report(name string, err error) {
	if o.fallback == nil || o.failed[name] {
		return
	}
	if o.failed == nil {
		o.failed = map[string]bool{}
	}
	o.failed[name] = true
	// The fallback is the last place: if it fails too there is nobody left to tell.
	_, _ = fmt.Fprintf(o.fallback, `{"level":"warn","msg":"cannot write the log; lines are lost",`+
		`"output":%s,"error":%s}`+"\n", appendString(nil, name), appendString(nil, err.Error()))
}

// close closes the sinks that can be closed (files; the process's streams are not ours).
func (o *output) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all error
	for _, s := range o.sinks {
		if f, ok := s.w.(*file); ok {
			all = errors.Join(all, f.close())
		}
	}
	o.sinks = nil
	return all
}
