package v3

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/wire"
)

// maxKeptOps bounds the operations of a transaction whose memory a call keeps for the next one.
const maxKeptOps = 64

// call is one unary request on its way: the client's bytes, what was decoded from them (aliasing
// them), and the meeting point of the handler, which waits, with the backend, which answers. Calls
// are used again and again.
//
// A call is shared by its handler and, from a submission until its answer, by the backend. Who
// lets go last gives it back, so that the bytes stay as they are until the backend is done with
// them.
type call struct {
	door *Door
	refs atomic.Int32

	buf mem.Buffer // owns req
	req []byte

	// One of these holds the request, depending on the method.
	rng     cairn.RangeRequest
	put     cairn.PutRequest
	del     cairn.DeleteRangeRequest
	txn     cairn.TxnRequest
	compact cairn.CompactRequest
	msg     proto.Message // of the methods that use generated types

	timer    clock.Timer
	done     func(reply []byte, err error) // answer, bound once
	answered chan struct{}                 // has room for the one answer
	reply    *[]byte                       // set before answered is
	err      error                         // set before answered is
}

// newCall makes or reuses a call that the caller owns.
func (d *Door) newCall() *call {
	c, ok := d.calls.Get().(*call)
	if !ok {
		c = &call{door: d, answered: make(chan struct{}, 1)}
		c.done = c.answer
		c.timer = d.opts.Clock.NewTimer(d.opts.RequestTimeout)
		c.timer.Stop()
	}
	c.refs.Store(1)
	return c
}

// take keeps the bytes of a received message.
func (c *call) take(data mem.BufferSlice) {
	c.buf = data.MaterializeToBuffer(pool)
	c.req = c.buf.ReadOnlyData()
}

// answer is what the backend calls when it is done with a submitted request.
func (c *call) answer(reply []byte, err error) {
	if c.err = err; err == nil && reply != nil {
		c.reply = lendCopy(reply)
	}
	c.answered <- struct{}{}
	c.release()
}

// wait waits for the answer to what was submitted. If the client's context ends first or the time
// is up, gaveUp is true and err the context's error or ErrTimeout.
func (c *call) wait(ctx context.Context) (reply *[]byte, err error, gaveUp bool) {
	select {
	case <-c.answered: // on the spot
		return c.takeReply()
	default:
	}
	c.timer.Reset(c.door.opts.RequestTimeout)
	defer c.timer.Stop()
	select {
	case <-c.answered:
		return c.takeReply()
	case <-ctx.Done():
		return nil, contextError(ctx), true
	case <-c.timer.C():
		return nil, cairn.ErrTimeout, true
	}
}

func (c *call) takeReply() (reply *[]byte, err error, gaveUp bool) {
	reply, c.reply = c.reply, nil
	return reply, c.err, false
}

// release lets go of the call; the last one to do so gives it back.
func (c *call) release() {
	if c.refs.Add(-1) > 0 {
		return
	}
	select {
	case <-c.answered: // nobody waited for it
	default:
	}
	if c.reply != nil {
		pool.Put(c.reply)
	}
	if c.buf != nil {
		c.buf.Free()
	}
	c.buf, c.req, c.reply, c.err = nil, nil, nil, nil
	c.msg = nil
	if cap(c.txn.Compare)+cap(c.txn.Success)+cap(c.txn.Failure) > maxKeptOps {
		c.txn = cairn.TxnRequest{}
	}
	c.door.calls.Put(c)
}

// propose submits a request to be replicated and waits for its reply.
func (d *Door) propose(ctx context.Context, c *call, kind command.Kind) (*[]byte, error) {
	if proposalSize(len(c.req)) > d.opts.MaxRequestBytes {
		return nil, cairn.ErrRequestTooLarge
	}
	c.refs.Add(1)
	d.backend.Propose(kind, c.req, c.done)
	reply, err, gaveUp := c.wait(ctx)
	if gaveUp {
		// As etcd's parseProposeCtxErr: the request may still take effect.
		switch err {
		case context.Canceled:
			err = cairn.ErrCanceled
		case context.DeadlineExceeded:
			err = cairn.ErrTimeout
		}
	}
	return reply, err
}

// barrier waits until local reads are linearizable.
func (d *Door) barrier(ctx context.Context, c *call) error {
	c.refs.Add(1)
	d.backend.Barrier(c.done)
	_, err, _ := c.wait(ctx)
	return err
}

// proposalSize is how long etcd's InternalRaftRequest would be around a request of n bytes, which
// is what it compares with --max-request-bytes: a header with an id (of 9 bytes, as the ids of
// most members give) and a field of the request's kind.
func proposalSize(n int) int {
	const header = 2 + 1 + 1 + 9 // tag, length, tag of the id, id
	return header + wire.SizeKV(1, n)
}
