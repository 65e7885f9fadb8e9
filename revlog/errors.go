package revlog

import (
	"errors"
	"fmt"

	"github.com/cairnkv/cairn/internal/remedy"
)

// Errors of Open.
var (
	// ErrForeign says that the directory, or a file in it, belongs to something else.
	ErrForeign = errors.New("revlog: not this log's directory")
	// ErrVersion says that a newer release wrote the file.
	ErrVersion = errors.New("revlog: written by a newer release; start that release")
)

// Errors of Append.
var (
	// ErrTooLarge says that a record is beyond MaxKVBytes.
	ErrTooLarge = errors.New("revlog: record too large")
	// ErrOrder says that a revision does not come after the one before it.
	ErrOrder = errors.New("revlog: revision out of order")
)

// Errors of a log in use.
var (
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("revlog: closed")
	// ErrPinned says that Close found pins that were not released; what they pin stays mapped.
	ErrPinned = errors.New("revlog: closed while readers hold pins")
	// ErrStale says that a position was kept beyond the pin under which it was learnt.
	ErrStale = errors.New("revlog: position of a file that is gone")
)

// CorruptError says that bytes which were durable are missing or are not what was written.
type CorruptError struct {
	File   string // path of the file
	Offset int64  // where in it, in bytes: start of the record, header or footer
	Reason string // what does not fit
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("revlog: %s is damaged at offset %d: %s; check the disk; %s",
		e.File, e.Offset, e.Reason, remedy.Replace)
}
