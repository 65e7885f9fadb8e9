package rpc

import "syscall"

// directWriter writes to a socket without waiting for it.
type directWriter struct {
	raw  syscall.RawConn
	buf  []byte
	n    int
	once func(fd uintptr) bool
}
