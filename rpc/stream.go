package rpc

import (
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// stream is one request and its answer, whatever becomes of it.
type stream struct {
	conn *conn
	id   uint32
	head *head
	sink sink

	// Of the reader alone:
	credit int64 // bytes of data that the client may send
	got    int64 // bytes that came

	// Guarded by conn.mu:
	halved   bool   // the client has said all; the reader sets it
	window   int64  // bytes of data that the client takes
	queue    []byte // data that waits for a window or for room
	sent     int    // of queue
	headed   bool   // headers went out
	closing  bool   // the end comes behind the queue:
	trailers []byte // fields of it, not yet encoded; see sendEnd
	state    *status.Status
	http     bool // the end is no gRPC status
	blocked  bool // is in outbox.blocked
	over     bool // nothing more comes or goes
	deadline time.Time
	change   *sync.Cond // of those who wait for room in the queue, or for data; nil: nobody does
	looked   int64      // data that was looked at and not yet given back to the client's window
	returned int64      // given back, and not yet added to credit
	held     int        // of conn.buffered
}

// sink is what a stream's data goes to.
type sink interface {
	// begin comes first. The reader calls it.
	begin()
	// data takes a piece of the body; end says that it is the last. b is valid during the call.
	// The reader calls it, and touches the stream no more if it was the last.
	data(b []byte, end bool)
	// expired tells that the deadline is over. conn.mu is held.
	expired()
	// drained tells that the queue has become empty. conn.mu is held.
	drained()
	// ended comes last, once, whoever ended the stream. conn.mu is held.
	ended()
}

func (s *stream) init(c *conn, id uint32, h *head, k sink) {
	s.conn, s.id, s.head, s.sink = c, id, h, k
	s.credit = streamWindow
}

// clear makes s ready to be used for another request.
func (s *stream) clear() {
	queue := s.queue[:0]
	if cap(queue) > keptBytes {
		queue = nil
	}
	*s = stream{queue: queue}
}

// drained wakes those who wait for the queue and tells the sink.
func (s *stream) drained() {
	if s.change != nil {
		s.change.Broadcast()
	}
	s.sink.drained()
}

// finish marks the stream as over; whoever waits for it goes on. conn.mu is held.
func (s *stream) finish() {
	s.over = true
	s.conn.out.queued -= len(s.queue) - s.sent
	s.queue, s.sent = s.queue[:0], 0
	s.hold(-s.held)
	if s.change != nil {
		s.change.Broadcast()
	}
	s.sink.ended()
}

// hold counts n more bytes of the request as kept. It says whether that is still allowed. conn.mu
// is held.
func (s *stream) hold(n int) bool {
	s.held += n
	s.conn.buffered += n
	return s.conn.buffered <= maxBuffered
}

// giveBack lets the client send n more bytes, once that is worth a frame. conn.mu is held.
func (s *stream) giveBack(n int) {
	if s.looked += int64(n); s.looked < streamWindow/4 || s.over || s.halved {
		return
	}
	s.conn.out.buf = appendWindowUpdate(s.conn.out.buf, s.id, s.looked)
	s.returned += s.looked
	s.looked = 0
	s.conn.appended()
}

// sendHead sends the headers of a gRPC answer, with fields behind them. conn.mu is held.
func (s *stream) sendHead(fields []byte) {
	if s.headed || s.over {
		return
	}
	s.headed = true
	s.conn.out.open()
	var room [128]byte
	block := s.conn.out.enc.head(room[:0], s.head.subtype)
	block = append(block, fields...)
	s.conn.out.buf = appendHeaders(s.conn.out.buf, s.id, block, false)
	s.conn.excuses++
}

// sendStatus ends a gRPC stream behind what waits in its queue; fields are further trailers. nil
// means OK. conn.mu is held.
func (s *stream) sendStatus(st *status.Status, fields []byte) {
	if s.closing || s.over {
		return
	}
	s.closing, s.state, s.trailers = true, st, fields
	if len(s.queue) == 0 {
		s.conn.sendEnd(s)
	}
}

// sendEnd sends the end of a stream and forgets it. conn.mu is held.
func (c *conn) sendEnd(s *stream) {
	var room [128]byte
	b := room[:0]
	switch {
	case s.over:
		return
	case s.http:
		c.out.buf = appendFrameHeader(c.out.buf, 0, http2.FrameData, http2.FlagDataEndStream, s.id)
	case !s.headed:
		b = c.out.enc.head(b, s.head.subtype)
		b = append(appendStatus(b, s.state), s.trailers...)
		c.out.buf = appendHeaders(c.out.buf, s.id, b, true)
	case s.state.Code() == codes.OK && s.trailers == nil:
		c.out.buf = appendHeaders(c.out.buf, s.id, c.out.enc.okay(b), true)
	default:
		b = append(appendStatus(c.out.enc.begin(b), s.state), s.trailers...)
		c.out.buf = appendHeaders(c.out.buf, s.id, b, true)
	}
	c.excuses++
	c.earned++
	if !s.halved {
		// The client need not go on (RFC 9113, 8.1).
		c.out.buf = appendRST(c.out.buf, s.id, http2.ErrCodeNo)
	}
	c.remove(s)
	c.appended()
}

// appendStatus appends the fields of a status.
func appendStatus(b []byte, st *status.Status) []byte {
	b = appendField(b, grpcStatus, strconv.Itoa(int(st.Code())))
	if m := st.Message(); m != "" {
		b = appendField(b, grpcMessage, percentEncode(m))
	}
	if p := st.Proto(); len(p.GetDetails()) > 0 {
		if details, err := proto.Marshal(p); err == nil {
			b = appendField(b, "grpc-status-details-bin", encodeBinary(details))
		}
	}
	return b
}

// remove takes a stream off the connection. conn.mu is held.
func (c *conn) remove(s *stream) {
	if s.over {
		return
	}
	s.finish()
	delete(c.streams, s.id)
	if len(c.streams) == 0 && c.drain == drained {
		c.leave()
	}
}

// reset ends a stream from this side. conn.mu is held.
func (c *conn) reset(s *stream, code http2.ErrCode) {
	if s.over {
		return
	}
	c.out.buf = appendRST(c.out.buf, s.id, code)
	c.remove(s)
	c.appended()
}

// write sends b as data, in pieces as the client takes them, and waits until no more than the last
// piece is left to send. Not for the connection's own goroutines. The error is the stream's end.
func (s *stream) write(b []byte) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.change == nil {
		s.change = sync.NewCond(&c.mu)
	}
	for {
		for len(s.queue) > 0 && !s.over {
			s.change.Wait()
		}
		if s.over || s.closing {
			return errClientGone
		}
		n := min(len(b), turnBytes)
		c.emit(s, nil, b[:n])
		c.appended()
		if b = b[n:]; len(b) == 0 {
			return nil
		}
	}
}

// percentEncode makes a message fit for a header (gRPC's percent-encoding).
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	plain := func(c byte) bool { return ' ' <= c && c <= '~' && c != '%' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	b := append(make([]byte, 0, len(s)+16), s[:i]...)
	for ; i < len(s); i++ {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}
