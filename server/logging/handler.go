package logging

import (
	"bytes"
	"context"
	"log/slog"
	"path"
	"runtime"
	"strconv"
	"sync"

	"github.com/cairnkv/cairn/clock"
)

// timeLayout is etcd's: microseconds and the zone without a colon ("Z" for UTC).
const timeLayout = "2006-01-02T15:04:05.000000Z0700"

// maxPooledBytes bounds what a buffer may hold to be kept for the next line.
const maxPooledBytes = 16 << 10

// handler implements slog.Handler. With copies it; all copies share output and level.
type handler struct {
	out     *output
	level   *slog.LevelVar
	clock   clock.Clock
	console bool
	name    string // the value of the attribute "logger"
	fields  []byte // encoded attributes of With, each with a comma before it
	groups  int    // objects opened in fields
}

// Enabled says whether a line of this level is written.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// WithAttrs returns a handler that adds attrs to each line.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	n.fields = append([]byte(nil), h.fields...)
	for _, a := range attrs {
		if a.Key == loggerKey && h.groups == 0 {
			n.name = joinName(h.name, a.Value.Resolve().String())
			continue
		}
		n.fields = h.encoder().attr(n.fields, a)
	}
	return &n
}

// joinName is zap's Named: parts of parts are separated by dots.
func joinName(outer, inner string) string {
	if outer == "" {
		return inner
	}
	return outer + "." + inner
}

// WithGroup returns a handler that puts what follows into an object.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	n := *h
	e := h.encoder()
	n.fields = append(e.key(append([]byte(nil), h.fields...), name), '{')
	n.groups++
	return &n
}

func (h *handler) encoder() encoder { return encoder{spaced: h.console} }

// linePool keeps buffers between lines. It is no state: what it holds is empty.
var linePool = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Handle writes one line.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	buf := linePool.Get().(*[]byte)
	line := (*buf)[:0]
	if h.console {
		line = h.consoleHead(line, r)
	} else {
		line = h.jsonHead(line, r)
	}
	line = h.body(line, r)
	err := h.out.write(append(line, '\n'))
	if cap(line) <= maxPooledBytes {
		*buf = line
		linePool.Put(buf)
	}
	return err
}

func (h *handler) jsonHead(line []byte, r slog.Record) []byte {
	line = append(line, `{"level":"`...)
	line = append(line, levelName(r.Level)...)
	line = append(line, `","ts":"`...)
	line = h.clock.Now().AppendFormat(line, timeLayout)
	line = append(line, '"')
	if h.name != "" {
		line = appendString(append(line, `,"logger":`...), h.name)
	}
	if caller := callerOf(r.PC); caller != "" {
		line = appendString(append(line, `,"caller":`...), caller)
	}
	return appendString(append(line, `,"msg":`...), r.Message)
}

func (h *handler) consoleHead(line []byte, r slog.Record) []byte {
	line = h.clock.Now().AppendFormat(line, timeLayout)
	line = append(append(line, '\t'), levelName(r.Level)...)
	if h.name != "" {
		line = append(append(line, '\t'), h.name...)
	}
	if caller := callerOf(r.PC); caller != "" {
		line = append(append(line, '\t'), caller...)
	}
	return append(append(line, '\t'), r.Message...)
}

// body appends the fields: after the head in JSON, as an object of their own on the console.
func (h *handler) body(line []byte, r slog.Record) []byte {
	e := h.encoder()
	start := len(line)
	if h.console {
		line = append(line, "\t{"...)
		start = len(line)
	}
	line = append(line, h.fields...)
	r.Attrs(func(a slog.Attr) bool {
		line = e.attr(line, a)
		return true
	})
	if h.console {
		if len(line) == start {
			return line[:start-len("\t{")]
		}
		if bytes.HasPrefix(line[start:], []byte(e.comma())) { // none before the first
			line = append(line[:start], line[start+len(e.comma()):]...)
		}
	}
	for range h.groups {
		line = append(line, '}')
	}
	return append(line, '}')
}

// callerOf is zap's short caller: the last directory, the file and the line.
func callerOf(pc uintptr) string {
	if pc == 0 {
		return ""
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	if frame.File == "" {
		return ""
	}
	dir, file := path.Split(frame.File)
	return path.Base(dir) + "/" + file + ":" + strconv.Itoa(frame.Line)
}
