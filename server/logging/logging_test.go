package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/vfs"
)

var start = time.Date(2026, 11, 21, 0, 50, 54, 42487123, time.UTC)

// system is a world in memory; what goes to stderr is in the buffer.
func system() (System, *bytes.Buffer) {
	var out bytes.Buffer
	return System{vfs.NewMem(), clock.NewManual(start), &bytes.Buffer{}, &out}, &out
}

func newLog(t *testing.T, c config.Log, sys System) *Log {
	t.Helper()
	if c.Outputs == nil {
		c.Outputs = []string{"default"}
	}
	l, err := New(c, sys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// zapLine is the line that zap writes with etcd's configuration (client/pkg/logutil).
func zapLine(console bool, name, msg string, fields ...zap.Field) string {
	c := zapcore.EncoderConfig{
		TimeKey: "ts", LevelKey: "level", NameKey: "logger", CallerKey: "caller",
		MessageKey: "msg", LineEnding: "\n", EncodeLevel: zapcore.LowercaseLevelEncoder,
		EncodeTime: func(t time.Time, e zapcore.PrimitiveArrayEncoder) {
			e.AppendString(t.Format("2006-01-02T15:04:05.000000Z0700"))
		},
		EncodeDuration: zapcore.StringDurationEncoder, EncodeCaller: zapcore.ShortCallerEncoder,
	}
	e := zapcore.NewJSONEncoder(c)
	if console {
		e = zapcore.NewConsoleEncoder(c)
	}
	b, err := e.EncodeEntry(zapcore.Entry{Level: zapcore.WarnLevel, Time: start, LoggerName: name,
		Message: msg, Caller: zapcore.EntryCaller{Defined: true, File: "a/logging/x.go", Line: 1},
	}, fields)
	if err != nil {
		return err.Error()
	}
	return b.String()
}

var callerPattern = regexp.MustCompile(`logging/[a-z_]+\.go:\d+`)

type stringer struct{ n int }

func (stringer) String() string { return "as text" }

// TestSameAsZap writes the same records through zap, as etcd sets it up, and through this package.
func TestSameAsZap(t *testing.T) {
	msg := "quote \" slash \\ tab \t bell \a tag <&> e\u0301 bad \xff end"
	zapFields := []zap.Field{zap.String("s", msg), zap.Int("i", -1),
		zap.Uint64("u", math.MaxUint64),
		zap.Float64("f", 1.5e-7), zap.Float64("nan", math.NaN()), zap.Bool("b", true),
		zap.Duration("took", 1500*time.Millisecond), zap.Time("at", start),
		zap.Error(errors.New("no \"leader\"")), zap.Strings("urls", []string{"a", "b\n"}),
		zap.Strings("none", []string{}), zap.Any("text", stringer{1}),
		zap.Any("map", map[string]int{"a": 1}), zap.Binary("raw", []byte{1, 2})}
	ours := []any{"s", msg, "i", -1, "u", uint64(math.MaxUint64), "f", 1.5e-7, "nan", math.NaN(),
		"b", true, "took", 1500 * time.Millisecond, "at", start,
		"error", errors.New("no \"leader\""), "urls", []string{"a", "b\n"}, "none", []string{},
		"text", stringer{1}, "map", map[string]int{"a": 1}, "raw", []byte{1, 2}}
	for _, format := range []string{"json", "console"} {
		for n := range []int{0, 1, len(zapFields)} {
			for _, name := range []string{"", "raft"} {
				sys, out := system()
				l := newLog(t, config.Log{Format: format}, sys).Logger
				if name != "" {
					l = l.With("logger", name)
				}
				l.Warn("msg "+msg, ours[:2*n]...)
				got := callerPattern.ReplaceAllString(out.String(), "logging/x.go:1")
				want := zapLine(format == "console", name, "msg "+msg, zapFields[:n]...)
				if got != want {
					t.Errorf("%s with %d fields\n got %s\nzap %s", format, n, got, want)
				}
			}
		}
		sys, out := system()
		newLog(t, config.Log{Format: format}, sys).Warn(msg, ours...)
		got := callerPattern.ReplaceAllString(out.String(), "logging/x.go:1")
		if want := zapLine(format == "console", "", msg, zapFields...); got != want {
			t.Errorf("%s\n got %s\nzap %s", format, got, want)
		}
	}
}

// bad is a value that cannot be logged.
type bad struct{ panics bool }

func (b bad) MarshalJSON() ([]byte, error) {
	if b.panics {
		panic("oh")
	}
	return nil, errors.New("will not")
}

func TestWithAndGroups(t *testing.T) {
	sys, out := system()
	l := newLog(t, config.Log{}, sys)
	l.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").Info("m", "c", 3,
		slog.Group("", "d", 4), slog.Group("empty"), slog.Group("k", "e", 5, "f", 6), slog.Attr{})
	l.With("logger", "x").With("logger", "y").Info("m", "p", bad{true}, "q", bad{}, "n", nil)
	lines := strings.Split(out.String(), "\n")
	want := `"msg":"m","a":1,"g":{"b":2,"h":{"c":3,"d":4,"k":{"e":5,"f":6}}}}`
	if !strings.HasSuffix(lines[0], want) {
		t.Errorf("got %s, want ...%s", lines[0], want)
	}
	for _, want := range []string{`"logger":"x.y"`, `"p":"panic while logging logging.bad: oh"`,
		`"q":"cannot log logging.bad: `, `"n":null`} {
		if !strings.Contains(lines[1], want) {
			t.Errorf("%s lacks %s", lines[1], want)
		}
	}
	for _, line := range lines[:2] {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

func TestLevels(t *testing.T) {
	sys, out := system()
	l := newLog(t, config.Log{Level: "warn"}, sys)
	derived := l.With("k", "v")
	derived.Info("no")
	derived.Warn("yes")
	if err := l.SetLevel("debug"); err != nil {
		t.Fatal(err)
	}
	derived.Debug("now")
	for _, level := range []slog.Level{slog.LevelError, LevelDPanic, LevelPanic, LevelFatal} {
		derived.Log(t.Context(), level, "loud")
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var m map[string]string
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got = append(got, m["level"]+":"+m["msg"])
	}
	want := "warn:yes debug:now error:loud dpanic:loud panic:loud fatal:loud"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if err := l.SetLevel("loud"); err == nil || l.Level() != "debug" {
		t.Errorf("level loud: %v, now %s", err, l.Level())
	}
	for _, name := range []string{"debug", "info", "warn", "error", "dpanic", "panic", "fatal"} {
		if err := l.SetLevel(name); err != nil || l.Level() != name {
			t.Errorf("%s: %v, %s", name, err, l.Level())
		}
	}
}

// TestPrinters: raft and grpc print through the logger, with the caller's file.
func TestPrinters(t *testing.T) {
	sys, out := system()
	l := newLog(t, config.Log{Level: "debug"}, sys)
	var r raft.Logger = Raft(l.Logger)
	var g grpclog.LoggerV2 = GRPC(l.Logger)
	r.Infof("%x became leader at term %d", 10, 2)
	r.Warning("a", "b")
	g.Errorln("lost", "connection")
	g.Infof("chatter")
	func() {
		defer func() {
			if p := recover(); p != "tocommit(5) is out of range" {
				t.Errorf("panicked with %v", p)
			}
		}()
		r.Panicf("tocommit(%d) is out of range", 5)
	}()
	want := []string{
		`{"level":"info",.*"logger":"raft","caller":"logging/logging_test.go:\d+",` +
			`"msg":"a became leader at term 2"}`,
		`{"level":"warn",.*"msg":"ab"}`,
		`{"level":"warn",.*"logger":"grpc","caller":"logging/logging_test.go:\d+",` +
			`"msg":"lost connection"}`,
		`{"level":"debug",.*"msg":"chatter"}`,
		`{"level":"panic",.*"msg":"tocommit\(5\) is out of range"}`,
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got\n%s", out)
	}
	for i, w := range want {
		if !regexp.MustCompile("^" + w + "$").MatchString(lines[i]) {
			t.Errorf("line %d: %s, want %s", i, lines[i], w)
		}
	}
}

// TestConcurrent: lines stay whole.
func TestConcurrent(t *testing.T) {
	sys, out := system()
	l := newLog(t, config.Log{}, sys)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				l.With("i", i).Info("line", "more", strings.Repeat("x", i))
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 800 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Fatalf("not whole: %s", line)
		}
	}
}

func TestEarly(t *testing.T) {
	var out bytes.Buffer
	Early(&out, clock.NewManual(start)).Warn("failed to verify flags", "error", errors.New("x"))
	if !strings.HasPrefix(out.String(), `{"level":"warn","ts":"2026-11-21T00:50:54.042487Z",`) ||
		!strings.HasSuffix(out.String(), `"msg":"failed to verify flags","error":"x"}`+"\n") {
		t.Errorf("%s", out.String())
	}
}

func BenchmarkLine(b *testing.B) {
	sys, _ := system()
	l, err := New(config.Log{Outputs: []string{"/dev/null"}}, sys)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Info("finished scheduled compaction", "compact-revision", int64(7), "took", time.Second)
	}
}
