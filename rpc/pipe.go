package rpc

import "sync"

// pipe is the body of a request for a goroutine that reads it. Guarded by conn.mu.
type pipe struct {
	s      *stream
	buf    []byte
	off    int
	eof    bool // all of it has come
	opened int  // bytes of buf that were given back to the window already
}

func (p *pipe) init(s *stream) {
	p.s = s
	s.change = sync.NewCond(&s.conn.mu)
}

// put is the reader's.
func (p *pipe) put(b []byte, end bool) {
	c := p.s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.s.over {
		return
	}
	p.eof = p.eof || end
	if !p.s.closing {
		if p.off > 0 && len(p.buf)+len(b) > cap(p.buf) {
			p.buf = p.buf[:copy(p.buf, p.buf[p.off:])]
			p.off = 0
		}
		p.buf = append(p.buf, b...)
		if !p.s.hold(len(b)) {
			p.s.sendTooMuch()
		}
	}
	p.s.change.Broadcast()
}

// sendTooMuch ends a stream whose connection has too much under way.
func (s *stream) sendTooMuch() {
	if s.http {
		s.conn.reset(s, cancelCode)
		return
	}
	s.sendStatus(errTooMuch, nil)
	s.conn.appended()
}

// wait waits until n bytes are there, lets the client send them if it must be let, and returns
// what is there: fewer at the end. conn.mu is held, but not while it waits.
func (p *pipe) wait(n int) ([]byte, error) {
	for len(p.buf)-p.off < n && !p.eof && !p.s.over && !p.s.closing {
		if have := len(p.buf) - p.off; n > streamWindow/2 && have > p.opened {
			p.s.giveBack(have - p.opened)
			p.opened = have
		}
		p.s.change.Wait()
	}
	if p.s.over && !(p.eof && p.off < len(p.buf)) {
		return nil, errClientGone
	}
	return p.buf[p.off:], nil
}

// take takes n bytes away; the client may send as many. conn.mu is held.
func (p *pipe) take(n int) {
	if p.off += n; p.off == len(p.buf) {
		if p.buf, p.off = p.buf[:0], 0; cap(p.buf) > keptBytes {
			p.buf = nil
		}
	}
	if !p.s.over {
		p.s.hold(-min(n, p.s.held))
	}
	opened := min(n, p.opened)
	p.opened -= opened
	p.s.giveBack(n - opened)
}
