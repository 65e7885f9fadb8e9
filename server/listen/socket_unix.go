//go:build unix

package listen

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketOptions sets what the flags ask for before the socket is bound.
func socketOptions(o Options) func(network, address string, c syscall.RawConn) error {
	if !o.ReusePort && !o.ReuseAddr {
		return nil
	}
	return func(network, _ string, c syscall.RawConn) error {
		if network == "unix" {
			return nil
		}
		var failed error
		err := c.Control(func(fd uintptr) {
			if o.ReusePort {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
			if o.ReuseAddr && failed == nil {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			}
		})
		return errors.Join(err, failed)
	}
}

// isAddrInUse covers errors that are not syscall.EADDRINUSE: none here.
func isAddrInUse(error) bool { return false }
