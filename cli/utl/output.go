package utl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// formats are the values of --write-out.
var formats = []string{"simple", "fields", "json", "protobuf", "table"}

// output is one answer in the forms that it can be shown in; none has one in protobuf.
type output struct {
	fields []field
	header []string
	row    []string
	json   any
}

// field is a name and a value.
type field struct {
	name  string
	value any
}

// checkFormat refuses a --write-out that does not exist.
func (a *app) checkFormat() error {
	if !slices.Contains(formats, a.writeOut) {
		return terminal.Fail(terminal.ExitBadFeature, errors.New("unsupported output format"))
	}
	return nil
}

// show writes o to stdout in the form that --write-out asks for.
func (a *app) show(o output) error {
	var b bytes.Buffer
	switch a.writeOut {
	case "simple":
		fmt.Fprintln(&b, strings.Join(o.row, ", "))
	case "fields":
		for _, f := range o.fields {
			fmt.Fprintf(&b, "%q : %v\n", f.name, f.value)
		}
	case "json":
		text, err := json.Marshal(o.json)
		if err != nil {
			return terminal.Failf(terminal.ExitError, "json: %w", err)
		}
		fmt.Fprintf(&b, "%s\n", text)
	case "table":
		if err := terminal.Table(&b, o.header, [][]string{o.row}); err != nil {
			return terminal.Fail(terminal.ExitError, err)
		}
	default:
		return terminal.Fail(terminal.ExitBadFeature,
			errors.New(a.writeOut+" not supported as output format"))
	}
	if _, err := a.cfg.Stdout.Write(b.Bytes()); err != nil {
		return terminal.Failf(terminal.ExitIO, "writing to stdout: %w", err)
	}
	return nil
}
