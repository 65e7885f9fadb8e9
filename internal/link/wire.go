package link

import (
	"net"
	"sync"
	"time"
)

const (
	// chunkBytes is read at once, and queuedChunks may wait in each direction of a connection.
	chunkBytes   = 32 << 10
	queuedChunks = 64

	// dialTimeout bounds the dial to the member, which is on this machine.
	dialTimeout = 2 * time.Second
)

// wire is one connection through a proxy: up from the one that dialled to the member, and down.
// The member is dialled when the first byte may pass to it.
type wire struct {
	mesh    *Mesh
	to      string // name of the member
	target  string
	sniffer sniffer // of the upward reader
	up      *flow
	done    chan struct{} // closed with the wire

	from string // who dialled, "" if not known; guarded by mesh.mu
	id   uint64 // of the one that dialled, 0 if not known; guarded by mesh.mu

	mu     sync.Mutex // guards the fields below
	conns  []net.Conn // the dialler's and, once it is dialled, the member's
	ended  int        // directions that are through
	closed bool
}

// flow is one direction of a wire. A reader fills the queue, a writer empties it.
type flow struct {
	wire     *wire
	up       bool
	src, dst net.Conn // dst of the upward one is nil until the member is dialled
	queue    chan chunk
}

// chunk is data underway.
type chunk struct {
	data []byte
	at   time.Time // when it was read
}

// buffer returns an empty buffer of chunkBytes.
func (m *Mesh) buffer() []byte {
	if b, ok := m.spare.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, chunkBytes)
}

// recycle takes a buffer back that buffer has given.
func (m *Mesh) recycle(b []byte) {
	b = b[:cap(b)]
	m.spare.Put(&b)
}

// newWire returns a wire for a connection that was accepted. Nothing runs yet.
func newWire(m *Mesh, to, from, target string, conn net.Conn) *wire {
	w := &wire{mesh: m, to: to, target: target, from: from, done: make(chan struct{}),
		conns: []net.Conn{conn}}
	w.up = &flow{wire: w, up: true, src: conn, queue: make(chan chunk, queuedChunks)}
	return w
}

// read takes what the source says until its end.
func (f *flow) read() {
	defer close(f.queue)
	for {
		buf := f.wire.mesh.buffer()
		n, err := f.src.Read(buf)
		if n > 0 {
			if f.up {
				f.wire.sniff(buf[:n])
			}
			select {
			case f.queue <- chunk{buf[:n], f.wire.mesh.clock.Now()}:
			case <-f.wire.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// write hands on what was read when the rules let it, and at last the end of it, which is news that
// may not cross a cut either.
func (f *flow) write() {
	for c := range f.queue {
		p, ok := f.wait(c.at)
		if !ok {
			return
		}
		if f.dst == nil && !f.wire.open() {
			return
		}
		// Counted first: whoever has read it finds it counted.
		f.wire.mesh.count(p, len(c.data))
		n, err := f.dst.Write(c.data)
		f.wire.mesh.count(p, n-len(c.data))
		f.wire.mesh.recycle(c.data)
		if err != nil {
			// The receiver is gone. That is news in the other direction.
			if _, ok := f.reverse().wait(f.wire.mesh.clock.Now()); ok {
				f.wire.reset()
			}
			return
		}
	}
	if _, ok := f.wait(f.wire.mesh.clock.Now()); ok {
		f.wire.end(f)
	}
}

// wait returns when something that was said at an instant may arrive; false if the wire was closed.
func (f *flow) wait(at time.Time) (pair, bool) {
	m := f.wire.mesh
	for {
		p, cut, delay, changed := m.rule(f)
		left := delay - m.clock.Since(at)
		if !cut && (delay == 0 || left <= 0) {
			return p, true
		}
		var due <-chan time.Time
		stop := func() bool { return true }
		if !cut {
			timer := m.clock.NewTimer(left)
			due, stop = timer.C(), timer.Stop
		}
		select {
		case <-due:
		case <-changed:
		case <-f.wire.done:
			stop()
			return p, false
		}
		stop()
	}
}

// reverse returns the other direction, to ask for its rules.
func (f *flow) reverse() *flow { return &flow{wire: f.wire, up: !f.up} }

// open dials the member and starts the downward flow. A member that does not listen closes the
// wire, and open returns false.
func (w *wire) open() bool {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(w.mesh.ctx, "tcp", w.target)
	if err != nil {
		if _, ok := w.up.reverse().wait(w.mesh.clock.Now()); ok {
			w.close()
		}
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = conn.Close() // nothing was said on it
		return false
	}
	w.conns = append(w.conns, conn)
	w.up.dst = conn
	down := &flow{wire: w, src: conn, dst: w.up.src, queue: make(chan chunk, queuedChunks)}
	w.mesh.tasks.Go(down.read)
	w.mesh.tasks.Go(down.write)
	return true
}

// end notes that one direction is through: the receiver sees the end, and may still answer.
func (w *wire) end(f *flow) {
	w.mu.Lock()
	w.ended++
	all := w.ended == 2 || f.dst == nil
	w.mu.Unlock()
	if half, ok := f.dst.(interface{ CloseWrite() error }); ok && !all {
		if half.CloseWrite() == nil {
			return
		}
	}
	w.close()
}

// reset closes the wire so that both ends see an error.
func (w *wire) reset() {
	w.mu.Lock()
	for _, c := range w.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // fails only on a connection that is closed, which is as good
		}
	}
	w.mu.Unlock()
	w.close()
}

// close closes both connections and ends all that runs for the wire.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	close(w.done)
	for _, c := range w.conns {
		_ = c.Close() // both ends see the end of it whatever it says
	}
	w.mesh.forget(w)
}

// sniff looks for the name of the dialler in what it says, until it has found it.
func (w *wire) sniff(data []byte) {
	if w.mesh.known(w) {
		return
	}
	if id, ok := w.sniffer.find(data); ok {
		w.mesh.learn(w, id)
	}
}
