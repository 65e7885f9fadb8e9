package rpc

import (
	"context"
	"encoding/binary"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Receiver is the handler's side of a raw stream. None of its methods may block. Message and
// HalfClosed are called one at a time, Fill too, but these beside those; Ended comes last.
type Receiver interface {
	// Message takes a message of the client, valid during the call. If it returns false, the
	// message comes again, and the ones behind it, after Stream.Resume; meanwhile the client can
	// send no more than its window.
	Message(msg []byte) (ok bool)
	// HalfClosed says that no further message comes.
	HalfClosed()
	// Fill sends what there is to send, about room bytes, with Stream.Send or SendAll. It is called
	// after Stream.Wake, and again, when what was sent is under way, if it returns true.
	Fill(room int) (more bool)
	// Ended says that the stream is over: by Finish, by the client, by its deadline or with its
	// connection. Nothing that is sent from then on goes out.
	Ended()
}

// Stream is one call of a raw streaming method. Its methods are safe for concurrent use.
type Stream struct {
	stream
	recv Receiver // set once, with conn.mu

	// inMu guards in and what Receiver.Message is called for. It is taken before conn.mu.
	inMu    sync.Mutex
	in      []byte // what has come and was not taken
	off     int    // of in
	refused bool   // Message has said no
	opened  int    // bytes of in that were given back to the window before they were taken
	halfEnd bool   // the client has said all, and HalfClosed was not called yet

	// Guarded by conn.mu:
	early    bool // there was something to do before there was a receiver
	queuedUp bool // is in conn.ready
	more     bool // Fill has more
	told     bool // Ended was called
}

func (s *Server) newStream(c *conn, id uint32, h *head) *stream {
	st := new(Stream)
	st.init(c, id, h, st)
	return &st.stream
}

func (s *Stream) begin() {
	recv, err := s.head.method.open(s)
	if err != nil {
		recv = ignore{}
	}
	s.conn.mu.Lock()
	s.recv = recv
	if s.early { // Wake, or the end: a deadline may be over already
		s.enqueue()
	}
	s.conn.mu.Unlock()
	if err != nil {
		s.Finish(statusOf(err))
	}
}

// ignore is the receiver of a stream that was refused.
type ignore struct{}

func (ignore) Message([]byte) bool { return true }
func (ignore) HalfClosed()         {}
func (ignore) Fill(int) bool       { return false }
func (ignore) Ended()              {}

func (s *Stream) data(b []byte, end bool) {
	s.inMu.Lock()
	defer s.inMu.Unlock()
	c := s.conn
	c.mu.Lock()
	over := s.over || s.closing
	if !over && !s.hold(len(b)) {
		s.sendStatus(errTooMuch, nil)
		c.appended()
		over = true
	}
	c.mu.Unlock()
	if over { // it may have to wait for the client's window: nothing is kept meanwhile
		s.in, s.off = nil, 0
		return
	}
	s.in = append(s.in, b...)
	s.halfEnd = s.halfEnd || end
	s.deliver()
}

// deliver gives the receiver the messages that are complete. inMu is held.
func (s *Stream) deliver() {
	taken := 0
	var bad *status.Status
	for !s.refused && bad == nil {
		b := s.in[s.off:]
		if len(b) < prefixBytes {
			break
		}
		if bad = s.conn.srv.checkLength(b); bad != nil {
			break
		}
		n := prefixBytes + int(binary.BigEndian.Uint32(b[1:]))
		if len(b) < n {
			break
		}
		msg := b[prefixBytes:n]
		if b[0] != 0 {
			if msg, bad = s.conn.srv.expand(s.head.coding, msg); bad != nil {
				break
			}
		}
		if !s.recv.Message(msg) {
			s.refused = true
			break
		}
		s.off += n
		taken += n
	}
	if s.halfEnd && !s.refused && bad == nil {
		s.halfEnd = false
		if s.off < len(s.in) {
			bad = status.New(codes.Internal, "unexpected EOF")
		} else {
			s.recv.HalfClosed()
		}
	}
	s.account(taken, bad)
}

// account gives back what was taken; of a message that is larger than the window also what came of
// it. inMu is held.
func (s *Stream) account(taken int, bad *status.Status) {
	rest := len(s.in) - s.off
	if s.off > 0 {
		s.in = s.in[:copy(s.in, s.in[s.off:])]
		s.off = 0
		if rest == 0 && cap(s.in) > keptBytes {
			s.in = nil
		}
	}
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over {
		return
	}
	s.hold(rest - s.held)
	known := min(taken, s.opened)
	s.opened -= known
	s.giveBack(taken - known)
	if !s.refused && rest >= streamWindow/2 && rest > s.opened {
		s.giveBack(rest - s.opened)
		s.opened = rest
	}
	if bad != nil {
		s.sendStatus(bad, nil)
		c.appended()
	}
}

// Resume has the messages come again that Message has refused.
func (s *Stream) Resume() {
	s.inMu.Lock()
	defer s.inMu.Unlock()
	if s.refused {
		s.refused = false
		s.deliver()
	}
}

// Wake has Fill called, on the goroutine that writes to the connection. It does not block.
func (s *Stream) Wake() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.enqueue()
}

// enqueue puts the stream on the writer's list. conn.mu is held.
func (s *Stream) enqueue() {
	if s.recv == nil {
		s.early = true
		return
	}
	if s.told || s.queuedUp {
		return
	}
	s.queuedUp = true
	s.conn.ready = append(s.conn.ready, s)
	s.conn.wakeWriter()
}

// turn is called by the writer.
func (s *Stream) turn() {
	c := s.conn
	c.mu.Lock()
	s.queuedUp = false
	over, told := s.over, s.told
	s.told = told || over
	if len(s.queue) > 0 && !over {
		s.more = true
		c.mu.Unlock()
		return
	}
	room := int(max(1, min(s.window, c.out.window, turnBytes)))
	c.mu.Unlock()
	if over {
		if !told {
			s.recv.Ended()
		}
		return
	}
	if !s.recv.Fill(room) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.more = true; len(s.queue) == 0 {
		s.more = false
		s.enqueue()
	}
}

func (s *Stream) drained() {
	if s.more {
		s.more = false
		s.enqueue()
	}
}

func (s *Stream) ended() { s.enqueue() }

func (s *Stream) expired() { s.sendStatus(errDeadline, nil) }

// Send sends a message, whose bytes are not used after it returns. What the client's windows do not
// take waits. ok is false once the stream has ended.
func (s *Stream) Send(msg []byte) (ok bool) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	ok = s.send(msg)
	s.conn.appended()
	return ok
}

// SendAll sends messages that stand one after the other in buf, each up to the next of ends.
func (s *Stream) SendAll(buf []byte, ends []int) (ok bool) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	ok = true
	from := 0
	for _, end := range ends {
		ok = ok && s.send(buf[from:end])
		from = end
	}
	s.conn.appended()
	return ok
}

// send is Send with conn.mu held.
func (s *Stream) send(msg []byte) bool {
	if s.over || s.closing {
		return false
	}
	flag := byte(0)
	if s.head.coding != "" {
		msg, flag = compressed(s.head.coding, msg)
	}
	if !s.headed {
		s.sendFirst()
	}
	prefix := [prefixBytes]byte{flag}
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(msg)))
	s.conn.emit(&s.stream, prefix[:], msg)
	return true
}

// sendFirst sends the headers.
func (s *Stream) sendFirst() {
	if s.head.coding != "" {
		s.sendHead(appendField(nil, "grpc-encoding", s.head.coding))
		return
	}
	s.sendHead(nil)
}

// Finish ends the stream with a status, nil being OK, behind what was sent.
func (s *Stream) Finish(st *status.Status) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.sendStatus(st, nil)
	s.conn.appended()
}

// Status is what the stream was ended with from this side, or by its deadline; nil is OK. finished
// is false if it was not.
func (s *Stream) Status() (st *status.Status, finished bool) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.state, s.closing
}

// Go calls run on a goroutine of its own, with a context that ends with the connection at the
// latest. Stop waits for it. ok is false if the connection is over: then run is not called.
func (s *Stream) Go(run func(ctx context.Context)) (ok bool) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.conn.dead {
		return false
	}
	s.conn.srv.handlers.Go(func() { run(s.conn.ctx) })
	return true
}

// Header is as that of Call.
func (s *Stream) Header(name string) string { return s.head.get(name) }

// Over says whether the stream has ended, or will behind what was sent.
func (s *Stream) Over() bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.over || s.closing
}
