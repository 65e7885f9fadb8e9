package terminal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 9: "9 B", 10: "10 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB",
		9950: "10 kB", 24576: "25 kB", 999_999: "1000 kB", // the rounding is etcd's
		1_000_000: "1.0 MB", 1_000_000_000: "1.0 GB",
		2_147_483_648: "2.1 GB", 1 << 63: "9.2 EB", 1<<64 - 1: "18 EB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

// tree is a program with a verb that ends in every way.
func tree(stderr *strings.Builder) *cobra.Command {
	root := Root("cairn ctl", "a program")
	root.SetErr(stderr)
	root.SetOut(stderr)
	verb := &cobra.Command{
		Use: "verb",
		RunE: func(_ *cobra.Command, args []string) error {
			switch args[0] {
			case "fail":
				return Failf(ExitBadArgs, "bad %s", "thing")
			case "silent":
				return Fail(ExitError, nil)
			case "wrapped":
				return fmt.Errorf("while doing: %w", Fail(ExitIO, errors.New("disk")))
			case "plain":
				return errors.New("plain")
			}
			return nil
		},
	}
	verb.Flags().Int("n", 0, "a number")
	root.AddCommand(verb)
	return root
}

func TestRun(t *testing.T) {
	for _, tc := range []struct {
		args   string
		exit   int
		stderr string
	}{
		{"verb ok", 0, ""},
		{"ve ok", 0, ""},
		{"verb fail", 128, "Error: bad thing\n"},
		{"verb silent", 1, ""},
		{"verb wrapped", 6, "Error: disk\n"},
		{"verb plain", 1, "Error: plain\nUsage:\n  cairn ctl verb [flags]\n"},
		{"verb --bogus", 1, "Error: unknown flag: --bogus\nUsage:\n  cairn ctl verb [flags]\n"},
		{"bogus", 1, "Error: unknown command \"bogus\" for \"cairn ctl\"\n" +
			"Run 'cairn ctl --help' for usage.\n"},
	} {
		var stderr strings.Builder
		exit := Run(context.Background(), tree(&stderr), strings.Fields(tc.args), &stderr)
		if exit != tc.exit || !strings.HasPrefix(stderr.String(), tc.stderr) ||
			tc.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%s: exit %d, %q", tc.args, exit, &stderr)
		}
	}
}

func TestFailUnwraps(t *testing.T) {
	cause := errors.New("cause")
	if err := Fail(ExitError, cause); !errors.Is(err, cause) || err.Error() != "cause" {
		t.Errorf("%v", err)
	}
	if err := Fail(ExitIO, nil); err.Error() != "exit status 6" {
		t.Errorf("%v", err)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := Table(&b, []string{"endpoint", "hash_revision"}, [][]string{{"a", "1"}, {"日本", "22"}})
	const want = `
┌──────────┬───────────────┐
│ ENDPOINT │ HASH REVISION │
├──────────┼───────────────┤
│        a │             1 │
│     日本 │            22 │
└──────────┴───────────────┘
`
	if err != nil || b.String() != want[1:] {
		t.Errorf("%v\n%s", err, &b)
	}
}
