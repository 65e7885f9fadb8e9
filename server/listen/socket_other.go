//go:build !unix

package listen

import (
	"errors"
	"syscall"
)

// wsaeAddrInUse is Windows' own number of "address in use".
const wsaeAddrInUse = syscall.Errno(10048)

// socketOptions refuses the flags: the system's options of these names mean something else.
func socketOptions(o Options) func(network, address string, c syscall.RawConn) error {
	if !o.ReusePort && !o.ReuseAddr {
		return nil
	}
	return func(string, string, syscall.RawConn) error {
		return errors.New("--socket-reuse-port and --socket-reuse-address do not exist on this " +
			"system; leave them out")
	}
}

func isAddrInUse(err error) bool { return errors.Is(err, wsaeAddrInUse) }
