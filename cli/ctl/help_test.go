package ctl

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cairnkv/cairn/vfs"
)

// TestHelp compares the help of every verb with testdata/help.golden, as typed `cairn ctl VERB
// --help`, and makes sure that each verb shows an example.
func TestHelp(t *testing.T) {
	var b strings.Builder
	cfg := Config{
		Name: "cairn ctl", Stdin: strings.NewReader(""), Stdout: &b, Stderr: io.Discard,
		FS: vfs.OS(),
	}
	var visit func(cmd *cobra.Command, path []string)
	visit = func(cmd *cobra.Command, path []string) {
		b.WriteString("$ cairn ctl " + strings.Join(append(path, "--help"), " ") + "\n")
		c := cfg
		c.Args = append(path, "--help")
		if exit := Main(context.Background(), c); exit != 0 {
			t.Errorf("%q: exit %d", c.Args, exit)
		}
		b.WriteString("\n")
		if cmd.Runnable() && !cmd.HasExample() {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			if sub.Name() != "help" {
				visit(sub, append(path[:len(path):len(path)], sub.Name()))
			}
		}
	}
	visit(New(cfg), nil)
	const path = "testdata/help.golden"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("help differs from %s (rewrite it by -update):\n%s", path, got)
	}
	if strings.Contains(b.String(), "etcdctl ") && !onlyIn(b.String(), "etcdctl ", "version") {
		t.Error("help of cairn ctl sends the user to etcdctl")
	}
}

// onlyIn tells whether every line with word has other too.
func onlyIn(text, word, other string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(line, word) && !strings.Contains(line, other) {
			return false
		}
	}
	return true
}

func TestVersionStandsBesideEtcds(t *testing.T) {
	for name, lines := range map[string]int{"etcdctl": 2, "cairn ctl": 3} {
		var out strings.Builder
		exit := Main(context.Background(), Config{
			Name: name, Args: []string{"version"}, Stdin: strings.NewReader(""),
			Stdout: &out, Stderr: io.Discard, FS: vfs.OS(),
		})
		if exit != 0 || strings.Count(out.String(), "\n") != lines ||
			!strings.HasPrefix(out.String(), "etcdctl version: 3.7.3\nAPI version: 3.7\n") {
			t.Errorf("%s: exit %d, %q", name, exit, &out)
		}
	}
}

func TestCompletionOfTwoWords(t *testing.T) {
	for shell, want := range map[string]string{
		"bash":       "complete -o default -F __start_cairn cairn",
		"zsh":        "#compdef cairn",
		"fish":       "complete -c cairn",
		"powershell": "-CommandName 'cairn'",
	} {
		var out strings.Builder
		exit := Main(context.Background(), Config{
			Name: "cairn ctl", Args: []string{"completion", shell},
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard, FS: vfs.OS(),
		})
		if exit != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit %d, no %q", shell, exit, want)
		}
	}
}

func TestBadConfigPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a Config without Stdout passes")
		}
	}()
	Main(context.Background(), Config{Name: "etcdctl"})
}
