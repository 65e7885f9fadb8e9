package simulate

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairnkv/cairn/sim"
)

// TestMain lets the test binary be the children that the verb starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sim" {
		os.Exit(Main(context.Background(), Config{
			Name: "cairn sim", Args: os.Args[2:], Stdout: os.Stdout, Stderr: os.Stderr,
		}))
	}
	os.Exit(m.Run())
}

// call runs the verb and returns its status and all that it prints.
func call(ctx context.Context, args ...string) (int, string) {
	var out bytes.Buffer
	code := Main(ctx, Config{Name: "cairn sim", Args: args, Stdout: &out, Stderr: &out})
	return code, out.String()
}

// TestSingle: one run prints its events, the same ones each time, and what came of it.
func TestSingle(t *testing.T) {
	o := sim.Draw(5)
	o.Duration = 2 * time.Second
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "options.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, one := call(t.Context(), "--options", file)
	_, two := call(t.Context(), "--options", file)
	if code != 0 || !strings.HasSuffix(one, "all is as promised\n") {
		t.Fatalf("exit %d: %.2000s", code, one)
	}
	if one != two || strings.Count(one, "\n") < 50 {
		t.Errorf("two runs of the same options differ, or have no events: %d and %d bytes",
			len(one), len(two))
	}
	_, quiet := call(t.Context(), "--options", file, "--quiet")
	if lines := strings.Count(quiet, "\n"); lines > 12 {
		t.Errorf("%d lines with --quiet", lines)
	}
}

// TestMany: children share the seeds, and their counts are added.
func TestMany(t *testing.T) {
	code, out := call(t.Context(), "--seed", "40", "--runs", "3", "--processes", "2")
	for _, want := range []string{"seeds 40 to 42, 2 at once\n", "3 runs, ", "\n0 failed, in "} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, no %q in %s", code, want, out)
		}
	}
}

// progressed cancels when a line of progress comes.
type progressed struct {
	bytes.Buffer
	cancel func()
}

func (p *progressed) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(" operations checked, ")) {
		p.cancel()
	}
	return p.Buffer.Write(b)
}

// TestForever: it goes on until it is stopped, and then tells what there was.
func TestForever(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &progressed{cancel: cancel}
	code := Main(ctx, Config{
		Name: "cairn sim", Args: []string{"--forever", "--progress", "10ms"}, Stdout: out,
		Stderr: out,
	})
	if code != 0 || !strings.Contains(out.String(), "\n0 failed, in ") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestRefused: wrong calls say what is wrong, and what there is.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--scenario", "no"}, "there is none of that name; there are etcd-13766, "},
		{[]string{"--scenario", "no", "--runs", "2"}, "--scenario=no: there is none of that name"},
		{[]string{"--plant", "no"}, "--plant=no: no such bug"},
		{[]string{"--options", "/nowhere"}, "/nowhere"},
		{[]string{"--seed", "x"}, "invalid argument"},
		{[]string{"what"}, "unknown command"},
	} {
		if code, out := call(t.Context(), c.args...); code != 2 || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit %d, %q lacks %q", c.args, code, out, c.want)
		}
	}
}

// TestHelp: each way to use the verb has an example.
func TestHelp(t *testing.T) {
	code, out := call(t.Context(), "--help")
	for _, flag := range []string{"--seed", "--runs", "--forever", "--shrink", "--options",
		"--scenario"} {
		if want := "  cairn sim "; code != 0 || !strings.Contains(out, want) ||
			strings.Count(out, flag) < 2 {
			t.Errorf("exit %d: no example with %s in %s", code, flag, out)
		}
	}
}
