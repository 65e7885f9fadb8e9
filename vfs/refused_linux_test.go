package vfs

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRefused: a call that a file system or a sandbox refuses is done without; what says that data
// is lost, or that there is no room, stays an error.
func TestRefused(t *testing.T) {
	wrapped := func(err error) error { return fmt.Errorf("control: %w", err) }
	for _, err := range []error{unix.EIO, unix.ENOSPC, unix.EDQUOT} {
		w, a := writeback(wrapped(err)), allocation(wrapped(err))
		if w == nil || errors.Is(a, errors.ErrUnsupported) {
			t.Errorf("%v is no error", err)
		}
	}
	for _, err := range []error{unix.EPERM, unix.ENOSYS, unix.EOPNOTSUPP} {
		w, a := writeback(wrapped(err)), allocation(wrapped(err))
		if w != nil || !errors.Is(a, errors.ErrUnsupported) {
			t.Errorf("%v is an error", err)
		}
	}
	if writeback(nil) != nil || allocation(nil) != nil {
		t.Error("an error out of none")
	}
}
