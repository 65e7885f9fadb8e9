package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/cairnkv/cairn/transport"
)

// Errors of connections.
var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset by peer")
)

// exchange is a request of one member to another and its answer, which comes in pieces: a
// connection of its own. What is lost ends it after a while.
type exchange struct {
	from, to *life
	ctx      context.Context // of the answering side
	cancel   context.CancelFunc

	// The asking side:
	answered bool // the head of the answer is here
	header   http.Header
	status   int
	body     bytes.Buffer
	ended    bool // all of it is here
	err      error
	closed   bool // nobody reads any more

	// The answering side:
	head    http.Header
	wrote   int // its status
	broken  bool
	until   time.Time // when a write fails that waits; zero: never
	untaken int       // bytes that the system keeps for nobody
}

// Do implements peer.Doer.
func (e *endpoint) Do(
	ctx context.Context, id uint64, r transport.Request,
) (*http.Response, error) {
	to := e.l.m.sim.byID(id)
	if to == nil || !e.l.peers[id] && e.l.heard[id] == nil {
		return nil, fmt.Errorf("member %x is no known peer", id)
	}
	return e.ask(ctx, to, r)
}

// Get implements peer.Getter.
func (e *endpoint) Get(ctx context.Context, urls []string, path string) (*http.Response, error) {
	err := error(errRefused)
	for _, u := range urls {
		to := e.l.m.sim.byURL(u)
		if to == nil {
			continue
		}
		var resp *http.Response
		resp, err = e.ask(ctx, to, transport.Request{Method: http.MethodGet, Path: path})
		if err == nil {
			return resp, nil
		}
	}
	return nil, err
}

// ask sends a request and waits for the head of the answer. By a task of the asking member.
func (e *endpoint) ask(
	ctx context.Context, to *member, r transport.Request,
) (*http.Response, error) {
	l := e.l
	s := l.m.sim
	x := &exchange{from: l, head: http.Header{}, wrote: http.StatusOK}
	s.Stats.Requests++
	s.logf("%s>%s %s %s", l.m.name, to.name, r.Method, r.Path)
	s.net.carry(link{l.m.index, to.index}, func() { x.serve(to, r) }, x.lose)
	l.await(func() bool { return x.answered || x.err != nil || ctx.Err() != nil })
	if err := ctx.Err(); err != nil && !x.answered {
		x.close()
		return nil, err
	}
	if x.err != nil {
		return nil, x.err
	}
	return &http.Response{
		StatusCode: x.status, Status: http.StatusText(x.status), Header: x.header,
		Body: &answerBody{x, ctx},
	}, nil
}

// lose breaks the connection; its sides notice it much later.
func (x *exchange) lose() {
	x.broken = true
	x.from.m.sim.after(keepAliveTime, func() { x.fail(errReset) })
}

// fail tells the asking side.
func (x *exchange) fail(err error) {
	if x.err == nil && !x.ended {
		x.err = err
		x.from.touch()
	}
}

// serve answers, as a task of the member that was asked.
func (x *exchange) serve(to *member, r transport.Request) {
	l := to.life
	s := to.sim
	if l == nil || l.handler == nil {
		s.net.carry(link{to.index, x.from.m.index}, func() { x.fail(errRefused) }, x.lose)
		return
	}
	x.to = l
	x.ctx, x.cancel = context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(x.ctx, r.Method, to.url+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		s.fail(err)
		return
	}
	req.Header.Set("X-Server-From", strconv.FormatUint(x.from.m.id, 16))
	l.pending = append(l.pending, func() {
		after := detection
		if l.powerless {
			after = keepAliveTime
		}
		s.after(after, func() { x.fail(errReset) })
	})
	l.Go("request "+r.Path, func() {
		defer x.cancel()
		defer func() {
			if p := recover(); p == http.ErrAbortHandler {
				x.lose()
			} else if p != nil {
				panic(p)
			}
		}()
		l.handler.ServeHTTP(x, req)
		x.flush(nil, true)
	})
	l.touch()
}

// Header implements http.ResponseWriter.
func (x *exchange) Header() http.Header { return x.head }

// WriteHeader implements http.ResponseWriter.
func (x *exchange) WriteHeader(status int) { x.wrote = status }

// Flush implements http.Flusher.
func (x *exchange) Flush() {}

// Write implements http.ResponseWriter.
func (x *exchange) Write(p []byte) (int, error) {
	if silent := x.broken || x.from.powerless; silent && !x.closed {
		if x.untaken += len(p); x.untaken > socketBuffer {
			return 0, x.hang()
		}
		return len(p), nil
	}
	if x.closed || x.from.dead {
		return 0, errReset
	}
	x.crowd()
	x.flush(bytes.Clone(p), false)
	return len(p), nil
}

// hang is a write that nobody takes.
func (x *exchange) hang() error {
	clk := x.to.m.clock
	wait := retransmitTime
	if !x.until.IsZero() {
		wait = x.until.Sub(clk.Now())
	}
	t := clk.NewTimer(max(wait, time.Nanosecond))
	defer t.Stop()
	x.to.on().Wait(t.C(), x.ctx.Done())
	return os.ErrDeadlineExceeded
}

// SetWriteDeadline is for http.ResponseController.
func (x *exchange) SetWriteDeadline(t time.Time) error {
	x.until = t
	return nil
}

// SetReadDeadline is for http.ResponseController: a request comes whole.
func (x *exchange) SetReadDeadline(time.Time) error { return nil }

// crowd lets the answering side wait now and then until the connection takes more, while the rest
// of the member goes on.
func (x *exchange) crowd() {
	s, l := x.to.m.sim, x.to
	if !s.opts.Crowded || l.current == nil || s.netRNG.IntN(4) > 0 {
		return
	}
	t := l.m.clock.NewTimer(between(s.netRNG, leastLatency, slowLatency/4))
	defer t.Stop()
	l.on().Wait(t.C(), x.ctx.Done())
}

// flush sends a piece of the answer.
func (x *exchange) flush(p []byte, last bool) {
	if x.to.dead {
		return
	}
	header, status := x.head.Clone(), x.wrote
	x.to.m.sim.net.carry(link{x.to.m.index, x.from.m.index}, func() {
		if x.broken || x.err != nil {
			return
		}
		if !x.answered {
			x.answered, x.header, x.status = true, header, status
		}
		x.body.Write(p)
		x.ended = x.ended || last
		x.from.touch()
	}, x.lose)
}

// close ends the exchange from the asking side.
func (x *exchange) close() {
	x.closed = true
	if x.cancel != nil {
		x.cancel()
		to := x.to
		x.from.m.sim.after(leastLatency, to.touch)
	}
}

// answerBody is the answer as its reader sees it.
type answerBody struct {
	x   *exchange
	ctx context.Context
}

// Read implements io.Reader. By a task of the asking member.
func (b *answerBody) Read(p []byte) (int, error) {
	x := b.x
	x.from.await(func() bool {
		return x.body.Len() > 0 || x.ended || x.err != nil || b.ctx.Err() != nil
	})
	if x.body.Len() > 0 {
		return x.body.Read(p)
	}
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if x.err != nil {
		return 0, x.err
	}
	return 0, io.EOF
}

// Close implements io.Closer.
func (b *answerBody) Close() error {
	b.x.close()
	return nil
}
