package v3

import (
	"time"

	"google.golang.org/grpc/status"

	"github.com/cairnkv/cairn/rpc"
)

// rawStream is a streaming method without a goroutine for each stream.
type rawStream struct {
	*Method
	begin func(c *rawCall) rpc.Receiver
}

// rawStream adds one, of both directions.
func (s *service) rawStream(name string, begin func(c *rawCall) rpc.Receiver) {
	s.raw = append(s.raw, &rawStream{s.method(name, BidiStream), begin})
}

// rawCall is one stream of such a method.
type rawCall struct {
	door   *Door
	method *Method
	stream *rpc.Stream
	start  time.Time
}

// open is the entrance of raw streams.
func (d *Door) open(m *rawStream, st *rpc.Stream) (rpc.Receiver, error) {
	c := &rawCall{
		door: d, method: m.Method, stream: st, start: d.opts.Clock.Now(),
	}
	hooks := &d.opts.Hooks
	hooks.Started(m.Method)
	wantsLeader, err := d.admit(st, "stream")
	if err == nil {
		err = d.admitLearner(m.Method, nil)
	}
	if err != nil {
		err = statusOf(err)
		hooks.Handled(m.Method, status.Code(err), 0)
		return nil, err
	}
	if wantsLeader {
		d.leader.add(c, c.finish)
	}
	return m.begin(c), nil
}

// received counts a message.
func (c *rawCall) received(msg []byte) {
	c.door.opts.Hooks.Received(c.method)
	c.door.opts.Hooks.ReceivedBytes(len(msg))
}

// sent counts messages.
func (c *rawCall) sent(n, bytes int) {
	for range n {
		c.door.opts.Hooks.Sent(c.method)
	}
	c.door.opts.Hooks.SentBytes(bytes)
}

// finish ends the stream with an error.
func (c *rawCall) finish(err error) { c.stream.Finish(status.Convert(statusOf(err))) }

// end is the last of a stream: it counts how it ended. canceled is what a client's will counts as.
func (c *rawCall) end(canceled error) {
	c.door.leader.remove(c)
	code := codeOf(canceled)
	if st, finished := c.stream.Status(); finished {
		code = st.Code()
	}
	c.door.opts.Hooks.Handled(c.method, code, c.door.opts.Clock.Since(c.start))
}

// broke counts and logs a stream that ended by another cause than the client's will.
func (c *rawCall) broke(direction, api string, err error) {
	c.door.opts.Hooks.StreamFailed(direction, api)
	c.door.opts.Log.Warn("stream to a client broke", "api", api, "direction", direction,
		"error", err)
}
