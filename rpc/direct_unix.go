//go:build unix

package rpc

import (
	"net"
	"syscall"
)

// newDirectWriter returns nil if the connection has no socket of its own (TLS, tests).
func newDirectWriter(nc net.Conn) *directWriter {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	d := &directWriter{raw: raw}
	d.once = func(fd uintptr) bool {
		d.n, _ = syscall.Write(int(fd), d.buf) // an error shows at the write that may wait
		return true
	}
	return d
}

// write writes what the socket takes at once and returns how much that was.
func (d *directWriter) write(b []byte) int {
	d.buf, d.n = b, 0
	if d.raw.Write(d.once) != nil || d.n < 0 {
		d.n = 0
	}
	d.buf = nil
	return d.n
}
