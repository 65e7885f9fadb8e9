// Package logging makes the server's logger: a *slog.Logger whose lines are those of etcd (zap), so
// that what reads etcd's logs reads ours.
//
//	{"level":"info","ts":"2026-11-21T00:50:54.042487Z","caller":"server/run.go:139",
//	 "msg":"ready to serve client requests","local-member-id":"8e9e05c52164694d"}
//
// With the format console the same is "ts level caller msg {fields}", separated by tabs. One record
// is one line and one Write. Values look as zap's: durations as text ("1.5s"), instants like ts,
// errors as their text, what is left as JSON.
//
// An attribute named "logger" at [slog.Logger.With] names a part of the program ("raft") and stands
// before the caller, as zap's Named does.
//
// There is no global logger: New's result is handed down.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/vfs"
)

// Levels above slog's, as zap has them.
const (
	LevelDPanic = slog.Level(10)
	LevelPanic  = slog.Level(12)
	LevelFatal  = slog.Level(16) // the process ends after the line; the caller sees to that
)

// loggerKey is the attribute that names the part of the program.
const loggerKey = "logger"

// System is what a logger needs of the world.
type System struct {
	FS     vfs.FS
	Clock  clock.Clock
	Stdout io.Writer
	Stderr io.Writer
}

// Log is a logger with what belongs to its life. Safe for concurrent use.
type Log struct {
	*slog.Logger
	level *slog.LevelVar
	out   *output
}

// New opens the outputs. A path is appended to; /dev/null discards everything; systemd/journal is
// stderr, which systemd forwards. The error names the output that cannot be opened.
func New(c config.Log, sys System) (*Log, error) {
	level, err := parseLevel(c.Level)
	if err != nil {
		return nil, err
	}
	out, err := openOutputs(c, sys)
	if err != nil {
		return nil, err
	}
	l := &Log{level: &slog.LevelVar{}, out: out}
	l.level.Set(level)
	l.Logger = slog.New(&handler{
		out: out, level: l.level, clock: sys.Clock, console: c.Format == "console",
	})
	return l, nil
}

// Early is the logger for the time before the flags are read: JSON, info, to w.
func Early(w io.Writer, clk clock.Clock) *slog.Logger {
	level := &slog.LevelVar{}
	return slog.New(&handler{out: &output{sinks: []sink{{"stderr", w}}}, level: level, clock: clk})
}

// SetLevel changes the lowest level that is logged, at once and for all that were derived.
func (l *Log) SetLevel(name string) error {
	level, err := parseLevel(name)
	if err != nil {
		return err
	}
	l.level.Set(level)
	return nil
}

// Level is the name of the lowest level that is logged.
func (l *Log) Level() string { return levelName(l.level.Level()) }

// Close ends the work on rotated files and closes the files. Later lines are lost.
func (l *Log) Close() error { return l.out.close() }

// parseLevel reads a level of --log-level.
func parseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "debug":
		return slog.LevelDebug, nil
	case "info", "":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	case "dpanic":
		return LevelDPanic, nil
	case "panic":
		return LevelPanic, nil
	case "fatal":
		return LevelFatal, nil
	}
	return 0, fmt.Errorf("unknown log level %q: use debug, info, warn, error, panic or fatal", name)
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	case l < LevelDPanic:
		return "error"
	case l < LevelPanic:
		return "dpanic"
	case l < LevelFatal:
		return "panic"
	}
	return "fatal"
}

// openOutputs turns --log-outputs into writers, each one once.
func openOutputs(c config.Log, sys System) (*output, error) {
	out := &output{fallback: sys.Stderr}
	names := slices.Compact(slices.Sorted(slices.Values(c.Outputs)))
	if slices.Contains(names, "/dev/null") {
		return out, nil
	}
	for _, name := range names {
		switch name {
		case "default", "stderr", "/dev/stderr", "systemd/journal":
			out.add("stderr", sys.Stderr)
		case "stdout", "/dev/stdout":
			out.add("stdout", sys.Stdout)
		default:
			f, err := openFile(name, c, sys)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("open log output: %w", err), out.close())
			}
			out.add(name, f)
		}
	}
	return out, nil
}
