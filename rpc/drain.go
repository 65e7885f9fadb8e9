package rpc

import (
	"golang.org/x/net/http2"
)

// drainPing is the payload of the ping that follows the first GOAWAY: when it comes back, the
// client has seen that one (RFC 9113, 6.8).
const drainPing = "\x01\x06\x01\x08\x00\x03\x03\x09"

// warn tells the client that the connection ends soon.
func (c *conn) warn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drain != serving {
		return
	}
	c.drain = warned
	c.out.buf = appendGoAway(c.out.buf, 1<<31-1, http2.ErrCodeNo, "graceful_stop")
	c.out.buf = appendPing(c.out.buf, 0, []byte(drainPing))
	c.appended()
}

// goAwayNow follows when the client knows. mu is held.
func (c *conn) goAwayNow() {
	if c.drain != warned {
		return
	}
	c.drain = drained
	c.out.buf = appendGoAway(c.out.buf, c.lastID, http2.ErrCodeNo, "")
	if len(c.streams) == 0 {
		c.leave()
	}
}

// leave ends a drained connection: its reader is woken. mu is held.
func (c *conn) leave() {
	c.drain = goneAway
	_ = c.nc.SetReadDeadline(c.srv.opts.Clock.Now()) // if it fails, Stop comes soon
}
