package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/cairnkv/cairn/bench/h2"
)

const (
	// readBuffer is how much is read at once.
	readBuffer = 256 << 10
	// flushAt is after how many bytes what was made is written, before more is made.
	flushAt = 64 << 10
	// maxErrors bounds how many kinds of errors are told apart.
	maxErrors = 64
)

// worker owns one connection and its clients. Its loop is the only goroutine that the connection
// has: what it reads it answers at once, and all that one read has led to is one write.
type worker struct {
	run     *run
	where   string // the endpoint
	conn    net.Conn
	session *h2.Session
	methods [methods]*h2.Method
	clients []*client
	watches []*watchStream // their owners follow those of the clients
	stats   []stats        // by series

	idle    queue   // clients that have nothing under way
	fresh   []int32 // clients whose operation begins with the next write
	busy    int     // operations under way
	now     int64   // when the last read returned
	last    int64   // when the last operation that counts has ended
	due     int64   // when the next operation may begin, under Options.Rate
	step    int64   // between two of them; 0: no rate
	dried   bool    // no operation is left to begin
	in, out int64   // bytes

	message []byte // the request that is being made
	buf     []byte
	filled  int  // bytes in buf
	timed   bool // the connection has a read deadline
	kicked  atomic.Bool
}

// stats are what a worker has measured of one series.
type stats struct {
	latency Histogram
	errors  map[string]int64
}

func (s *stats) fail(what string) {
	if s.errors == nil {
		s.errors = make(map[string]int64)
	}
	if _, known := s.errors[what]; !known && len(s.errors) >= maxErrors {
		what = "others"
	}
	s.errors[what]++
}

// kick makes the loop look around. It may be called by everyone.
func (w *worker) kick() {
	w.kicked.Store(true)
	_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
}

// loop runs until the run is over.
func (w *worker) loop() error {
	for {
		if w.run.halted.Load() {
			return nil
		}
		if err := w.fill(); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
		if w.dried && w.busy == 0 && w.run.over() {
			return nil
		}
		if err := w.read(); err != nil {
			return err
		}
	}
}

// fill begins operations as long as there are clients without one.
func (w *worker) fill() error {
	if w.run.running.Load() && w.step > 0 && w.due == 0 {
		// The workers begin one after the other, so that their operations are spread evenly.
		w.due = w.run.since() + w.step*int64(w.clients[0].id)/int64(w.run.Clients)
	}
	for n := w.idle.len(); n > 0 && w.session.CanOpen(); n-- {
		c := w.clients[w.idle.pop()]
		begun, err := w.begin(c)
		if err != nil {
			return err
		}
		if !begun {
			w.idle.push(c.owner)
			if c.ready && w.run.running.Load() {
				return nil // nor may the others
			}
			continue
		}
		if len(w.session.Out) >= flushAt {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin begins a client's next operation, if it may.
func (w *worker) begin(c *client) (bool, error) {
	r := w.run
	if !c.ready {
		req, ok := r.plan.prepare(c, w.message)
		if ok {
			return true, w.open(c, req)
		}
		c.ready = true
		r.prepared(1)
	}
	if !r.running.Load() || w.dried || r.gate != nil && !r.gate() {
		return false, nil
	}
	if w.step > 0 && w.due > r.since() {
		return false, nil
	}
	counted, ok := r.ticket()
	if !ok {
		w.dried = true
		return false, nil
	}
	c.busy, c.counted = true, counted
	w.busy++
	if w.step > 0 {
		if r.gate != nil {
			w.due = max(w.due, r.since()) // who waits at the gate is not late
		}
		c.began = w.due
		w.due += w.step
	} else {
		w.fresh = append(w.fresh, c.owner)
	}
	return true, w.open(c, r.plan.next(c, w.message))
}

// open sends a client's request.
func (w *worker) open(c *client, req request) error {
	c.answered, c.more = false, false
	w.message = req.msg[:0] // it may have grown
	id, err := w.session.Open(w.methods[req.method], c.owner, req.msg, !req.stream)
	c.stream = 0
	if req.stream {
		c.stream = id
	}
	return err
}

// flush writes what was made.
func (w *worker) flush() error {
	if len(w.session.Out) == 0 {
		return nil
	}
	now := w.run.since()
	for _, i := range w.fresh {
		w.clients[i].began = now
	}
	w.fresh = w.fresh[:0]
	n, err := w.conn.Write(w.session.Out)
	w.out += int64(n)
	w.session.Out = w.session.Out[:0]
	if err != nil {
		return w.lost("writing", err)
	}
	return nil
}

// read reads once and takes what has come. It returns without having read when it was kicked, or
// when an operation is due.
func (w *worker) read() error {
	if err := w.setDeadline(); err != nil {
		return w.lost("waiting", err)
	}
	if w.kicked.Swap(false) {
		w.timed = true // by the kick
		w.now = w.run.since()
		return nil
	}
	n, err := w.conn.Read(w.buf[w.filled:])
	w.now = w.run.since()
	if n > 0 {
		w.run.received.Add(1)
	}
	w.in += int64(n)
	w.filled += n
	done, rerr := w.session.Receive(w.buf[:w.filled])
	w.filled = copy(w.buf, w.buf[done:w.filled])
	if rerr != nil {
		return w.explain(rerr)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.timed = true // perhaps by a kick, and then it has to be taken back
		return nil
	}
	if err != nil {
		return w.lost("reading", err)
	}
	return nil
}

// setDeadline makes the next read end when an operation is due for which there is a client.
func (w *worker) setDeadline() error {
	wait := w.step > 0 && w.due > 0 && !w.dried && w.idle.len() > 0 && w.session.CanOpen()
	if !wait && !w.timed {
		return nil
	}
	var at time.Time
	if wait {
		at = w.run.began.Add(time.Duration(w.due))
	}
	w.timed = wait
	return w.conn.SetReadDeadline(at)
}

// lost says that a connection is gone.
func (w *worker) lost(doing string, err error) error {
	if w.run.halted.Load() {
		return nil // we have closed it
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the server has closed it")
	}
	return fmt.Errorf("the connection to %s is lost while %s: %w", w.where, doing, err)
}

// explain names the connection of an error that ends it.
func (w *worker) explain(err error) error {
	return fmt.Errorf("%s: %w", w.where, err)
}

// Message takes an answer, or a message of a watch.
func (w *worker) Message(owner int32, msg []byte, size int) error {
	if i := int(owner) - len(w.clients); i >= 0 {
		return w.watches[i].message(w, msg)
	}
	c := w.clients[owner]
	if c.stream != 0 {
		over, err := w.run.plan.(streamer).streamed(c, msg)
		if err != nil || !over {
			return err
		}
		w.session.Cancel(c.stream)
		return w.open(c, w.run.plan.next(c, w.message))
	}
	if c.answered {
		return fmt.Errorf("%s: two answers to one request", w.where)
	}
	c.answered = true
	more, err := w.run.plan.reply(c, msg)
	c.more = more
	return err
}

// End takes the end of a call.
func (w *worker) End(owner int32, status h2.Status) error {
	if i := int(owner) - len(w.clients); i >= 0 {
		return fmt.Errorf("a watch stream has ended: %s", describe(status))
	}
	c := w.clients[owner]
	if status.Code == h2.CodeOK && !c.answered {
		status = h2.Status{Code: h2.CodeInternal, Message: "an answer without a message"}
	}
	if !c.busy {
		if status.Code != h2.CodeOK {
			return fmt.Errorf("preparing: %s", describe(status))
		}
		w.idle.push(owner)
		return nil
	}
	if status.Code == h2.CodeOK && c.more {
		return w.open(c, w.run.plan.next(c, w.message))
	}
	w.finish(c, status)
	if f, ok := w.run.plan.(failing); ok && status.Code != h2.CodeOK {
		if err := f.failed(c); err != nil {
			return fmt.Errorf("%w: %s", err, describe(status))
		}
	}
	return nil
}

// describe is a status as text, as etcd's clients see it.
func describe(s h2.Status) string {
	if s.Message == "" {
		return h2.CodeName(s.Code)
	}
	return h2.CodeName(s.Code) + ": " + s.Message
}

// finish ends an operation and counts it.
func (w *worker) finish(c *client, status h2.Status) {
	w.busy--
	c.busy = false
	w.idle.push(c.owner)
	if w.run.watch != nil {
		defer w.wake()
		if status.Code != h2.CodeOK {
			w.run.watch.expected.Add(-c.events) // it may not have happened
		}
	}
	if !w.run.counts(c.counted, w.now) {
		return
	}
	w.last = w.now
	st := &w.stats[c.series]
	if status.Code == h2.CodeOK {
		st.latency.Record(time.Duration(w.now - c.began))
	} else {
		st.fail(describe(status))
	}
	w.run.done.Add(1)
}

// queue holds indexes of clients, first in, first out. Its capacity is the number of clients.
type queue struct {
	slots []int32
	head  int
	n     int
}

func newQueue(n int) queue { return queue{slots: make([]int32, n)} }

func (q *queue) len() int { return q.n }

func (q *queue) push(i int32) {
	at := q.head + q.n
	if at >= len(q.slots) {
		at -= len(q.slots)
	}
	q.slots[at] = i
	q.n++
}

func (q *queue) pop() int32 {
	i := q.slots[q.head]
	if q.head++; q.head == len(q.slots) {
		q.head = 0
	}
	q.n--
	return i
}
