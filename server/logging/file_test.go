package logging

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/vfs"
)

func content(t *testing.T, fs vfs.FS, name string) string {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestOutputs: each output once, files appended to over restarts, directories made.
func TestOutputs(t *testing.T) {
	sys, stderr := system()
	stdout := sys.Stdout.(*bytes.Buffer)
	c := config.Log{Outputs: []string{"stdout", "default", "stderr", "logs/a.log", "stdout"}}
	for range 2 {
		l := newLog(t, c, sys)
		l.Info("hello")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, got := range map[string]string{"stdout": stdout.String(), "stderr": stderr.String(),
		"file": content(t, sys.FS, "logs/a.log")} {
		if strings.Count(got, "hello") != 2 || strings.Count(got, "\n") != 2 {
			t.Errorf("%s: %q", name, got)
		}
	}
	sys, stderr = system()
	newLog(t, config.Log{Outputs: []string{"stderr", "/dev/null"}}, sys).Info("hello")
	newLog(t, config.Log{Outputs: []string{"systemd/journal"}}, sys).Info("journal")
	if got := stderr.String(); strings.Contains(got, "hello") || !strings.Contains(got, "journal") {
		t.Errorf("%q", got)
	}
}

func TestRefusedOutputs(t *testing.T) {
	sys, _ := system()
	f, err := sys.FS.Create("plain")
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		log  config.Log
		want string
	}{
		{config.Log{Outputs: []string{"plain/a.log"}}, "open log output: "},
		{config.Log{Level: "loud"}, `unknown log level "loud"`},
		{config.Log{Outputs: []string{"a"}, Rotate: true, RotationJSON: "{"},
			"improperly formatted log rotation config: "},
		{config.Log{Outputs: []string{"a"}, Rotate: true, RotationJSON: `{"maxsize":"x"}`},
			"invalid log rotation config: "},
		{config.Log{Outputs: []string{"a"}, Rotate: true, RotationJSON: `{"maxsizes":1}`},
			"fail to unmarshal log rotation config: "},
		{config.Log{Outputs: []string{"a"}, Rotate: true, RotationJSON: `{"maxage":-1}`},
			"invalid log rotation config: "},
	} {
		if l, err := New(c.log, sys); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, %v; want %q", c.log, l, err, c.want)
		}
	}
}

// TestRotation writes 10 MB through files of 1 MB: of the rotated ones the newest three stay, as
// gzip, and every line that they and the file hold is whole and in order.
func TestRotation(t *testing.T) {
	sys, _ := system()
	clk := sys.Clock.(*clock.Manual)
	l := newLog(t, config.Log{Outputs: []string{"d/a.log"}, Rotate: true,
		RotationJSON: `{"maxsize":1,"maxbackups":3,"compress":true}`}, sys)
	line := strings.Repeat("x", 100<<10)
	for i := range 100 {
		clk.Advance(time.Second)
		l.Info("n", "i", i, "x", line)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := sys.FS.List("d")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a-2026-11-21T00-52-05.042.log.gz", "a-2026-11-21T00-52-15.042.log.gz",
		"a-2026-11-21T00-52-25.042.log.gz", "a.log"}
	if !slices.Equal(names, want) {
		t.Fatalf("files %v, want %v", names, want)
	}
	var all strings.Builder
	for _, name := range names[:3] {
		zip, err := gzip.NewReader(strings.NewReader(content(t, sys.FS, "d/"+name)))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(zip)
		if err != nil || len(text) > 1<<20 {
			t.Fatalf("%s: %d bytes, %v", name, len(text), err)
		}
		all.Write(text)
	}
	all.WriteString(content(t, sys.FS, "d/a.log"))
	lines := strings.Split(strings.TrimSpace(all.String()), "\n")
	for i, got := range lines {
		if want := `"i":` + itoa(100-len(lines)+i) + `,`; !strings.Contains(got, want) {
			t.Fatalf("line %d of %d lacks %s: %.200s", i, len(lines), want, got)
		}
	}
	if len(lines) < 30 {
		t.Errorf("%d lines are left", len(lines))
	}
}

func itoa(i int) string { return string(appendFloat(nil, float64(i))) }

func TestTidyAge(t *testing.T) {
	sys, _ := system()
	for _, name := range []string{"a-2026-11-19T00-50-53.000.log", "a-2026-11-20T00-50-55.000.log",
		"a-strange.log", "b-2026-11-01T00-50-55.000.log"} {
		f, err := sys.FS.Create(name)
		if err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
	f, err := openFile("a.log", config.Log{Rotate: true, RotationJSON: `{"maxage":2}`}, sys)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.tidy(start); err != nil {
		t.Fatal(err)
	}
	names, err := sys.FS.List(".")
	want := []string{"a-2026-11-20T00-50-55.000.log", "a-strange.log", "a.log",
		"b-2026-11-01T00-50-55.000.log"}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("files %v (%v), want %v", names, err, want)
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}

// TestFullDisk: lines are lost, the server is told once, and lines come again when there is room.
func TestFullDisk(t *testing.T) {
	sys, stderr := system()
	mem := sys.FS.(*vfs.Mem)
	l := newLog(t, config.Log{Outputs: []string{"a.log"}}, sys)
	l.Info("before")
	mem.SetCapacity(4096)
	for range 100 {
		l.Info("lost", "x", strings.Repeat("x", 200))
	}
	if got := stderr.String(); strings.Count(got, "lines are lost") != 1 ||
		!strings.Contains(got, vfs.ErrNoSpace.Error()) {
		t.Errorf("stderr: %s", got)
	}
	mem.SetCapacity(0)
	l.Info("after")
	lines := strings.Split(strings.TrimSpace(content(t, mem, "a.log")), "\n")
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("not whole: %q", line)
		}
	}
	if last := lines[len(lines)-1]; !strings.HasSuffix(last, `"msg":"after"}`) {
		t.Errorf("the file ends with %q", last)
	}
}
