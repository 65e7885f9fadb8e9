package rpc

import (
	"context"
	"encoding/binary"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// prefixBytes is the length of what stands before a message: a flag and its length.
const prefixBytes = 5

// maxKeptMessage bounds the memory for a request that a call keeps for the next one.
const maxKeptMessage = 16 << 10

// Call is one call of a raw unary method. Its handler must answer it exactly once, with Reply,
// Fail or (after Begin) End, and not touch it afterwards. The methods may be called from any
// goroutine, one at a time, if not said otherwise.
type Call struct {
	stream

	// State belongs to the handlers. It stays with the Call when that is used again, so that
	// memory can be: for another call, of any method.
	State any

	buf  []byte // of the message; while it comes, with what is before it
	msg  []byte
	then func(*Call)
	ctx  context.Context // nil: nobody asked
	stop context.CancelFunc
	used bool // the memory is not used again: Write and Go leave traces

	began time.Time // Begin was called
	wrote int64     // bytes that Write has sent
}

// newCall makes a call, or uses one again.
func (s *Server) newCall(c *conn, id uint32, h *head) *stream {
	call, ok := s.calls.Get().(*Call)
	if !ok {
		call = new(Call)
	}
	call.init(c, id, h, call)
	return &call.stream
}

// spent says whether nobody but the handler knows of the call any more. conn.mu is held.
func (c *Call) spent() bool { return c.over && !c.blocked && !c.used }

// recycle keeps the memory of a call that is spent for another one.
func (c *Call) recycle() {
	pool := &c.conn.srv.calls
	c.stream.clear()
	if c.buf = c.buf[:0]; cap(c.buf) > maxKeptMessage {
		c.buf = nil
	}
	c.msg, c.then, c.ctx, c.stop = nil, nil, nil, nil
	pool.Put(c)
}

func (c *Call) begin() {}

// data gathers the message. All of it has come when the client has said all.
func (c *Call) data(b []byte, end bool) {
	if c.closed() {
		return
	}
	if !end || len(c.buf) > 0 {
		if c.buf = append(c.buf, b...); !c.keep(len(b)) {
			return
		}
		b = c.buf
	}
	if len(b) >= prefixBytes {
		st := c.conn.srv.checkLength(b)
		if st == nil && len(b)-prefixBytes > int(binary.BigEndian.Uint32(b[1:])) {
			st = errSeveral
		}
		if st != nil {
			c.fail(st)
			return
		}
	}
	if end {
		c.start(b)
	}
}

// closed says whether the call was answered before all of it has come.
func (c *Call) closed() bool {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	return c.over
}

// keep counts what was buffered, and lets the client go on.
func (c *Call) keep(n int) bool {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	if !c.hold(n) {
		c.sendStatus(errTooMuch, nil)
		return false
	}
	c.giveBack(n)
	return true
}

var errSeveral = status.New(codes.Internal, "cardinality violation: received multiple request "+
	"messages for non-client-streaming RPC")

var errTooMuch = status.New(codes.ResourceExhausted,
	"grpc: the connection has too much of its requests under way; send less at once")

// start calls the handler with the message in b.
func (c *Call) start(b []byte) {
	gathered := len(c.buf) > 0
	msg, st := oneMessage(b)
	if st == nil && b[0] != 0 {
		msg, st = c.conn.srv.expand(c.head.coding, msg)
	} else if st == nil && !gathered {
		c.buf = append(c.buf, msg...)
		msg = c.buf
	}
	if gathered {
		c.conn.mu.Lock()
		c.hold(-c.held)
		c.conn.mu.Unlock()
	}
	if st != nil {
		c.fail(st)
		return
	}
	c.msg = msg
	c.head.method.raw(c)
}

// oneMessage takes a message out of its frame, of which it must be all.
func oneMessage(b []byte) ([]byte, *status.Status) {
	if len(b) == 0 {
		return nil, status.New(codes.Internal, "cardinality violation: received no request "+
			"message from non-client-streaming RPC")
	}
	if len(b) < prefixBytes {
		return nil, status.New(codes.Internal, "unexpected EOF")
	}
	n := int(binary.BigEndian.Uint32(b[1:]))
	switch rest := b[prefixBytes:]; {
	case len(rest) < n:
		return nil, status.New(codes.Internal, "unexpected EOF")
	case len(rest) > n:
		return nil, errSeveral
	default:
		return rest, nil
	}
}

// fail answers a call that has not reached its handler.
func (c *Call) fail(st *status.Status) {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.hold(-c.held)
	c.sendStatus(st, nil)
	c.conn.appended()
}

func (c *Call) expired() {
	if c.headed { // an answer is under way
		c.conn.reset(&c.stream, cancelCode)
		return
	}
	if late := c.head.method.late; late != nil {
		c.sendStatus(late, nil)
		return
	}
	c.sendStatus(errDeadline, nil)
}

var errDeadline = status.New(codes.DeadlineExceeded, context.DeadlineExceeded.Error())

func (c *Call) drained() {}

func (c *Call) ended() {
	if c.stop != nil {
		c.stop()
	}
}

// Message is the request's bytes. They belong to the call and stay as they are until it is
// answered.
func (c *Call) Message() []byte { return c.msg }

// Header is the first value of a header, whose name is given in lower case; "" if there is none.
// Binary values are in base64, as they came.
func (c *Call) Header(name string) string { return c.head.get(name) }

// Gone says whether nobody waits for the answer any more: the client gave up, or its deadline or
// its connection is over. It is answered all the same.
func (c *Call) Gone() bool { return c.closed() }

// Reply answers with a message, whose bytes are not used after it returns. It says whether somebody
// was there to take it.
func (c *Call) Reply(msg []byte) (taken bool) {
	flag := byte(0)
	if c.head.coding != "" {
		msg, flag = compressed(c.head.coding, msg)
	}
	cn := c.conn
	prefix := [prefixBytes]byte{flag}
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(msg)))
	cn.mu.Lock()
	taken = !c.over && !c.closing
	switch {
	case !taken:
	case cn.out.queued > maxQueued:
		c.sendStatus(errFull, nil)
	default:
		var fields []byte
		if flag != 0 {
			fields = appendField(nil, "grpc-encoding", c.head.coding)
		}
		c.sendHead(fields)
		cn.emit(&c.stream, prefix[:], msg)
		c.sendStatus(nil, nil)
		cn.appended()
	}
	spent := c.spent()
	cn.mu.Unlock()
	if spent {
		c.recycle()
	}
	return taken
}

var errFull = status.New(codes.ResourceExhausted,
	"grpc: too many answers wait for the client to take them; open its window or ask for less")

// Fail answers with an error.
func (c *Call) Fail(st *status.Status) (taken bool) {
	c.conn.mu.Lock()
	if taken = !c.over && !c.closing; taken {
		c.sendStatus(st, nil)
		c.conn.appended()
	}
	spent := c.spent()
	c.conn.mu.Unlock()
	if spent {
		c.recycle()
	}
	return taken
}

// Later has the connection's writing goroutine call then, which must not block. It is for the
// second half of a call that had to wait, from goroutines that have no time for it. If the
// connection is over, then is called at once.
func (c *Call) Later(then func(*Call)) {
	cn := c.conn
	c.then = then
	cn.mu.Lock()
	if cn.dead {
		cn.mu.Unlock()
		then(c)
		return
	}
	cn.later = append(cn.later, c)
	cn.wakeWriter()
	cn.mu.Unlock()
}

// Go has a goroutine of its own call run, which may block and use Context, Begin, Write and End. At
// most maxLong such goroutines of a connection run at once; further ones wait for their turn. Stop
// waits for them. If the connection is over, run is called at once, with a context that has ended.
func (c *Call) Go(run func(*Call)) {
	cn := c.conn
	c.then, c.used = run, true
	cn.mu.Lock()
	c.ctx, c.stop = context.WithCancel(cn.ctx)
	if c.over {
		c.stop()
	}
	if cn.dead { // Stop may have seen the last goroutine already
		cn.mu.Unlock()
		run(c)
		return
	}
	defer cn.mu.Unlock()
	if cn.long >= maxLong {
		cn.longWait = append(cn.longWait, c)
		return
	}
	cn.long++
	cn.srv.handlers.Go(func() { cn.runLong(c) })
}

// runLong runs c and then those that wait.
func (c *conn) runLong(call *Call) {
	for call != nil {
		stop := call.stop
		call.then(call)
		stop()
		call = nil
		c.mu.Lock()
		if len(c.longWait) > 0 {
			call = c.longWait[0]
			c.longWait[0] = nil
			c.longWait = c.longWait[1:]
		} else {
			c.long--
			c.longWait = nil
		}
		c.mu.Unlock()
	}
}

// Context ends when nobody waits for the answer any more. Only after Go.
func (c *Call) Context() context.Context { return c.ctx }

// Begin begins an answer of size bytes, which Write has to bring. Only after Go.
func (c *Call) Begin(size int) error {
	prefix := make([]byte, prefixBytes)
	binary.BigEndian.PutUint32(prefix[1:], uint32(size))
	c.began = c.conn.srv.opts.Clock.Now()
	c.conn.mu.Lock()
	if !c.closing {
		c.sendHead(nil)
	}
	c.conn.mu.Unlock()
	return c.write(prefix)
}

// Write sends a part of the answer. It blocks until the client takes it, but no longer than
// stallTime for each part, and as leastRate allows for all: what is sent may be pinned. The error
// says that nobody waits for it any more.
func (c *Call) Write(b []byte) (int, error) {
	cn := c.conn
	stall := cn.srv.opts.Clock.Now().Add(stallTime)
	slowest := c.began.Add(stallTime + time.Duration(c.wrote/leastRate)*time.Second)
	if slowest.Before(stall) {
		stall = slowest
	}
	c.wrote += int64(len(b))
	cn.mu.Lock()
	asked := c.deadline
	if asked.IsZero() || stall.Before(asked) {
		cn.endAt(&c.stream, stall)
	}
	cn.mu.Unlock()
	err := c.write(b)
	cn.mu.Lock()
	c.deadline = asked
	cn.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// End ends an answer. If it was cut short, err is not nil: the client is told that it is broken.
func (c *Call) End(err error) (taken bool) {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	taken = !c.over && !c.closing
	switch {
	case !taken:
	case err != nil:
		c.conn.reset(&c.stream, internalCode)
	default:
		c.sendStatus(nil, nil)
		c.conn.appended()
	}
	return taken
}
