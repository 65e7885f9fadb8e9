package v3

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/wire"
)

const (
	// maxKeptOps bounds the operations of a transaction whose memory a call keeps for the next one,
	// and maxKeptRequest its bytes, for there are others inside of operations.
	maxKeptOps     = 64
	maxKeptRequest = 4 << 10
	// maxKeptReply bounds the memory of an answer that is kept for the next one.
	maxKeptReply = 1 << 20
)

// call is one hot request on its way: the client's bytes and what was decoded from them (aliasing
// them). It lives in the State of an rpc.Call and is used again with it, so that nothing of it may
// be touched once the request is answered.
type call struct {
	door   *Door
	rpc    *rpc.Call
	method *hot
	start  time.Time
	req    []byte

	// One of these holds the request, depending on the method.
	rng     cairn.RangeRequest
	put     cairn.PutRequest
	del     cairn.DeleteRangeRequest
	txn     cairn.TxnRequest
	compact cairn.CompactRequest
	msg     proto.Message // of the methods that use generated types

	// Bound once, for the backend and the connection:
	done  func(reply []byte, err error) // answer
	ready func(reply []byte, err error) // of a barrier
	next  func(*rpc.Call)               // read, on the connection's goroutine
	phase atomic.Uint32
	err   error         // of the barrier
	look  func(c *call) // the second half of a read
}

// Phases of a read that waits for a barrier.
const (
	asking   uint32 = iota // the backend has not returned yet
	waiting                // it has, and the answer is to come
	answered               // it came
)

// hot is a unary method whose requests have no goroutine of their own. serve answers, or hands the
// call to the backend, and does not block.
type hot struct {
	*Method
	reads  bool // it changes nothing, whatever is asked
	decode func(c *call) error
	serve  func(c *call)
}

// handle is the entrance: it is called on the goroutine that reads the connection.
func (d *Door) handle(m *hot, r *rpc.Call) {
	c, ok := r.State.(*call)
	if !ok {
		c = &call{}
		c.done, c.ready, c.next = c.answer, c.passed, c.proceed
		r.State = c
	}
	c.door, c.rpc, c.method, c.req = d, r, m, r.Message()
	hooks := &d.opts.Hooks
	hooks.ReceivedBytes(len(c.req))
	if err := m.decode(c); err != nil {
		c.forget()
		r.Fail(malformed(err))
		return
	}
	c.start = d.opts.Clock.Now()
	hooks.Started(m.Method)
	hooks.Received(m.Method)
	_, err := d.admit(r, "unary")
	if err == nil {
		err = d.admitLearner(m.Method, c)
	}
	if err != nil {
		c.fail(err)
		return
	}
	m.serve(c)
}

// answer is what the backend calls when it is done with a proposal.
func (c *call) answer(reply []byte, err error) {
	if err != nil {
		c.fail(err)
		return
	}
	c.reply(reply)
}

// reply answers with the bytes of a message. The call is over then.
func (c *call) reply(msg []byte) {
	d, m, start := c.door, c.method.Method, c.start
	c.forget()
	code := codes.OK
	if n := len(msg); c.rpc.Reply(msg) {
		d.opts.Hooks.SentBytes(n)
		d.opts.Hooks.Sent(m)
	} else {
		code = codes.Canceled // nobody was there any more
	}
	d.opts.Hooks.Handled(m, code, d.opts.Clock.Since(start))
}

// fail answers with an error. The call is over then.
func (c *call) fail(err error) {
	d, m, start := c.door, c.method.Method, c.start
	c.forget()
	st := status.Convert(statusOf(err))
	code := st.Code()
	if !c.rpc.Fail(st) {
		code = codes.Canceled
	}
	d.opts.Hooks.Handled(m, code, d.opts.Clock.Since(start))
}

// forget lets go of what the next request shall not keep in memory.
func (c *call) forget() {
	ops := cap(c.txn.Compare) + cap(c.txn.Success) + cap(c.txn.Failure)
	if ops > maxKeptOps || len(c.req) > maxKeptRequest {
		c.txn = cairn.TxnRequest{}
	}
	c.req, c.msg, c.err = nil, nil, nil
}

// propose submits the request to be replicated.
func (c *call) propose(kind command.Kind) {
	if proposalSize(len(c.req)) > c.door.opts.MaxRequestBytes {
		c.fail(cairn.ErrRequestTooLarge)
		return
	}
	c.door.backend.Propose(kind, c.req, c.done)
}

// read calls look, which reads and answers, when local reads are linearizable: at once if the
// backend says so at once, else when it does, on the connection's writing goroutine.
func (c *call) read(serializable bool, look func(c *call)) {
	c.look = look
	if !serializable {
		c.phase.Store(asking)
		c.door.backend.Barrier(c.ready)
		if c.phase.CompareAndSwap(asking, waiting) {
			return // and the call may be over by now
		}
	}
	c.proceed(c.rpc)
}

// passed is what the backend calls at the barrier.
func (c *call) passed(_ []byte, err error) {
	c.err = err
	if c.phase.Swap(answered) == waiting {
		c.rpc.Later(c.next)
	}
}

// proceed answers a read, now that it may.
func (c *call) proceed(r *rpc.Call) {
	switch {
	case c.err != nil:
		c.fail(c.err)
	case r.Gone():
		c.fail(context.Canceled)
	default:
		c.look(c)
	}
}

// replies lends the memory in which answers are built.
var replies = sync.Pool{New: func() any { b := make([]byte, 0, replyBytes); return &b }}

// replyBytes is the room that a reply starts with; it grows as needed.
const replyBytes = 4 << 10

// lend returns a slice with no bytes in it.
func lend() *[]byte { return replies.Get().(*[]byte) }

// giveBack takes a lent slice, grown or not.
func giveBack(lent *[]byte, b []byte) {
	if cap(b) > maxKeptReply {
		return
	}
	*lent = b[:0]
	replies.Put(lent)
}

// barrier waits until local reads are linearizable. For handlers with a goroutine of their own.
func (d *Door) barrier(ctx context.Context) error {
	passed := make(chan error, 1)
	d.backend.Barrier(func(_ []byte, err error) { passed <- err })
	select {
	case err := <-passed:
		return err
	case <-ctx.Done():
		return contextError(ctx)
	}
}

// proposalSize is how long etcd's InternalRaftRequest would be around a request of n bytes, which
// is what it compares with --max-request-bytes: a header with an id (of 9 bytes, as the ids of
// most members give) and a field of the request's kind.
func proposalSize(n int) int {
	const header = 2 + 1 + 1 + 9 // tag, length, tag of the id, id
	return header + wire.SizeKV(1, n)
}
