package listen

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// ALPN names.
const (
	protoHTTP2 = "h2"
	protoHTTP1 = "http/1.1"
)

// opening is what a connection begins with.
type opening int

const (
	isOther opening = iota // HTTP/1, or nonsense that the HTTP server refuses
	isTLS
	isHTTP2
)

// tlsHandshakeRecord is the first byte of a TLS connection.
const tlsHandshakeRecord = 0x16

// http2Opening is enough of HTTP/2's preface ("PRI * HTTP/2.0...") to tell it from any method of
// HTTP/1 that is in use (POST, PUT, PATCH, PROPFIND).
const http2Opening = "PRI"

// sniffed is a connection whose first bytes were read ahead. Reads are not concurrent with peek.
type sniffed struct {
	net.Conn
	head [len(http2Opening)]byte
	rest []byte // of head, what Read has not given yet

	serverName string // as the client said in the TLS handshake
}

// peek reads until it is clear what the connection is.
func (s *sniffed) peek() (opening, error) {
	for n := 0; n < len(s.head); n++ {
		if _, err := io.ReadFull(s.Conn, s.head[n:n+1]); err != nil {
			return isOther, err
		}
		s.rest = s.head[:n+1]
		if n == 0 && s.head[0] == tlsHandshakeRecord {
			return isTLS, nil
		}
		if s.head[n] != http2Opening[n] {
			return isOther, nil
		}
	}
	return isHTTP2, nil
}

// SyscallConn lets writes go to the socket without waiting for it; what was read ahead is not seen
// by it.
func (s *sniffed) SyscallConn() (syscall.RawConn, error) {
	if slot, ok := s.Conn.(*slotConn); ok {
		if c, ok := slot.Conn.(syscall.Conn); ok {
			return c.SyscallConn()
		}
	}
	return nil, errors.ErrUnsupported
}

// CloseWrite tells the client that nothing more comes.
func (s *sniffed) CloseWrite() error {
	if slot, ok := s.Conn.(*slotConn); ok {
		if half, ok := slot.Conn.(interface{ CloseWrite() error }); ok {
			return half.CloseWrite()
		}
	}
	return nil
}

// Read gives the bytes that peek read, then the connection's.
func (s *sniffed) Read(b []byte) (int, error) {
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	return s.Conn.Read(b)
}

// handover is a net.Listener whose connections come from a Group.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr // the first of the group
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), done: make(chan struct{})}
}

// give hands a connection to whoever accepts. False: nobody does any more.
func (h *handover) give(conn net.Conn) bool {
	select {
	case h.conns <- conn:
		return true
	case <-h.done:
		return false
	}
}

// Accept waits for a connection; after Close the error is net.ErrClosed.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. The group goes on; what it would hand over is closed.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr is the first address of the group.
func (h *handover) Addr() net.Addr { return h.addr }
