// Package terminal holds what the two command-line programs (packages cli/ctl and cli/utl) do
// alike: how a command ends, and how numbers and tables are written.
//
// # Ending
//
// A verb never ends the process. It returns an error; one made by [Fail] carries the status that
// etcd's own programs exit with. [Run] executes a command tree, writes what went wrong to stderr in
// etcd's words, and returns the status for main to exit with:
//
//	status   meaning
//	     0   done
//	     1   the request failed, or a flag is unknown
//	     2   no connection
//	     3   input of txn or watch that cannot be parsed
//	     4   a valid flag with a value that is not supported
//	     5   interrupted
//	     6   reading or writing a file failed
//	   128   wrong arguments
//
// The numbers are those of etcd's pkg/cobrautl; scripts depend on them.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	ExitOK            = 0
	ExitError         = 1
	ExitBadConnection = 2
	ExitInvalidInput  = 3
	ExitBadFeature    = 4
	ExitInterrupted   = 5
	ExitIO            = 6
	ExitBadArgs       = 128
)

// exitError is an error with the status that the process ends with. A nil err ends it without a
// word: the verb has said on stderr already what failed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Fail gives err the exit status code. With a nil err nothing more is printed.
func Fail(code int, err error) error { return &exitError{code: code, err: err} }

// Failf is Fail with the error made from a format, as fmt.Errorf does it.
func Failf(code int, format string, args ...any) error {
	return &exitError{code: code, err: fmt.Errorf(format, args...)}
}

// prefixMatching guards cobra's package-level switch, which has no home on a command.
var prefixMatching sync.Once

// Run executes root with args (the program's name not among them) and returns the exit status.
// Errors go to stderr; a flag that cannot be parsed is followed by the usage of its verb. Verbs may
// be shortened as far as they stay unambiguous, as in etcdctl.
func Run(ctx context.Context, root *cobra.Command, args []string, stderr io.Writer) int {
	prefixMatching.Do(func() { cobra.EnablePrefixMatching = true })
	if args == nil {
		args = []string{} // cobra takes nil as an order to read os.Args
	}
	root.SetArgs(args)
	root.SilenceErrors, root.SilenceUsage = true, true
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			fmt.Fprintln(stderr, "Error:", exit.err)
		}
		return exit.code
	}
	fmt.Fprintln(stderr, "Error:", err)
	if strings.HasPrefix(err.Error(), "unknown command ") {
		fmt.Fprintf(stderr, "Run '%v --help' for usage.\n", cmd.CommandPath())
	} else {
		fmt.Fprintln(stderr, cmd.UsageString())
	}
	return ExitError
}
