package transport

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Sizes of the network in memory.
const (
	etherBuffer = 256 << 10 // bytes of one direction of a connection that are under way at most
	etherChunk  = 16 << 10  // bytes that go together at most
)

// ether is a network in memory for members in a bubble of testing/synctest, whose time passes only
// when all of them wait. Its connections do what those of a bad network do.
type ether struct {
	mu        sync.Mutex // guards all of it, wires too
	rng       *rand.Rand
	listeners map[string]*etherListener // by address
	paths     map[path]*state
	wires     map[*wire]bool
}

// path is a direction between two hosts.
type path struct{ from, to string }

// state is what a path does to bytes.
type state struct {
	stalled bool          // nothing arrives
	delay   time.Duration // of each chunk, at most
	rate    int           // bytes per second; 0: no bound
	decay   float64       // probability that a bit of a chunk changes
}

func newEther(rng *rand.Rand) *ether {
	return &ether{rng: rng, listeners: map[string]*etherListener{}, paths: map[path]*state{},
		wires: map[*wire]bool{}}
}

// state is what a path does now; e.mu is held.
func (e *ether) state(from, to string) *state {
	s := e.paths[path{from, to}]
	if s == nil {
		s = &state{}
		e.paths[path{from, to}] = s
	}
	return s
}

// alter changes what a path does.
func (e *ether) alter(from, to string, change func(*state)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e.state(from, to))
	e.wake()
}

// wake lets all look again; e.mu is held.
func (e *ether) wake() {
	for w := range e.wires {
		w.wake()
	}
}

// cut breaks the connections between two hosts.
func (e *ether) cut(a, b string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for w := range e.wires {
		if w.between(a) && w.between(b) {
			w.broken = true
			w.wake()
		}
	}
}

// vanish takes a host away as a loss of power does: nobody is told.
func (e *ether) vanish(host string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for w := range e.wires {
		if w.between(host) {
			w.silent = true
			w.wake()
		}
	}
}

// listen accepts connections to an address, which is the host's name too.
func (e *ether) listen(host string) *etherListener {
	l := &etherListener{e: e, host: host, queue: make(chan net.Conn, 64), ended: make(chan bool)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners[host] = l
	return l
}

// dialler dials from a host.
func (e *ether) dialler(from string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, to string) (net.Conn, error) {
		const again = 50 * time.Millisecond // a SYN that is lost is sent again
		for {
			e.mu.Lock()
			stalled := e.state(from, to).stalled || e.state(to, from).stalled
			delay := e.state(from, to).delay + e.state(to, from).delay
			l := e.listeners[to]
			e.mu.Unlock()
			wait := max(delay, time.Microsecond)
			if stalled {
				wait = again
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if stalled {
				continue
			}
			if l == nil {
				return nil, syscall.ECONNREFUSED
			}
			return l.connect(from)
		}
	}
}

// etherListener is a net.Listener.
type etherListener struct {
	e     *ether
	host  string
	queue chan net.Conn
	ended chan bool
	once  sync.Once
}

func (l *etherListener) connect(from string) (net.Conn, error) {
	w := &wire{e: l.e}
	for i, host := range []string{from, l.host} {
		w.ends[i] = &end{w: w, i: i, host: host, changed: make(chan bool)}
	}
	l.e.mu.Lock()
	l.e.wires[w] = true
	l.e.mu.Unlock()
	select {
	case <-l.ended:
	case l.queue <- w.ends[1]:
		return w.ends[0], nil
	}
	return nil, syscall.ECONNREFUSED
}

func (l *etherListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *etherListener) Close() error {
	l.once.Do(func() {
		close(l.ended)
		l.e.mu.Lock()
		defer l.e.mu.Unlock()
		if l.e.listeners[l.host] == l {
			delete(l.e.listeners, l.host)
		}
	})
	return nil
}

func (l *etherListener) Addr() net.Addr { return etherAddr(l.host) }

type etherAddr string

func (etherAddr) Network() string  { return "ether" }
func (a etherAddr) String() string { return string(a) }

// wire is a connection.
type wire struct {
	e      *ether
	ends   [2]*end
	broken bool // reset: both ends know
	silent bool // one end is gone, and the other does not know
}

func (w *wire) between(host string) bool {
	return w.ends[0].host == host || w.ends[1].host == host
}

// wake lets who waits look again; e.mu is held.
func (w *wire) wake() {
	for _, c := range w.ends {
		close(c.changed)
		c.changed = make(chan bool)
	}
}

// chunk is bytes that arrive together.
type chunk struct {
	at time.Time
	b  []byte
}

// end is one end of a wire, a net.Conn.
type end struct {
	w       *wire
	i       int
	host    string
	changed chan bool // closed at each change

	arriving          []chunk // for it
	bytes             int     // of these
	closed            bool    // by its host
	readBy, writtenBy time.Time
}

func (c *end) peer() *end { return c.w.ends[1-c.i] }

// try calls fn under the lock until it is done; fn says until when to wait, if for a time.
func (c *end) try(fn func(now time.Time) (done bool, until time.Time)) {
	for {
		c.w.e.mu.Lock()
		done, until := fn(time.Now())
		changed := c.changed
		c.w.e.mu.Unlock()
		if done {
			return
		}
		if until.IsZero() {
			<-changed
			continue
		}
		timer := time.NewTimer(time.Until(until))
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// trouble is why neither reading nor writing is possible; e.mu is held.
func (c *end) trouble(now, deadline time.Time) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case !deadline.IsZero() && !now.Before(deadline):
		return os.ErrDeadlineExceeded
	case c.w.broken:
		return syscall.ECONNRESET
	}
	return nil
}

func (c *end) Read(b []byte) (n int, err error) {
	c.try(func(now time.Time) (bool, time.Time) {
		if err = c.trouble(now, c.readBy); err != nil || len(b) == 0 {
			return true, now
		}
		if c.w.silent || c.w.e.state(c.peer().host, c.host).stalled {
			return false, c.readBy
		}
		if len(c.arriving) == 0 {
			if c.peer().closed {
				err = io.EOF
			}
			return err != nil, c.readBy
		}
		first := &c.arriving[0]
		if first.at.After(now) {
			if !c.readBy.IsZero() && c.readBy.Before(first.at) {
				return false, c.readBy
			}
			return false, first.at
		}
		n = copy(b, first.b)
		if first.b = first.b[n:]; len(first.b) == 0 {
			c.arriving = slices.Delete(c.arriving, 0, 1)
		}
		c.bytes -= n
		c.w.wake()
		return true, now
	})
	return n, err
}

func (c *end) Write(b []byte) (n int, err error) {
	c.try(func(now time.Time) (bool, time.Time) {
		if err = c.trouble(now, c.writtenBy); err != nil {
			return true, now
		}
		p := c.peer()
		if p.closed && !c.w.silent && !c.w.e.state(p.host, c.host).stalled {
			err = syscall.ECONNRESET
			return true, now
		}
		for n < len(b) && p.bytes < etherBuffer {
			size := min(len(b)-n, etherBuffer-p.bytes, etherChunk)
			p.arriving = append(p.arriving, c.send(now, b[n:n+size]))
			p.bytes += size
			n += size
		}
		c.w.wake()
		return n == len(b), c.writtenBy
	})
	return n, err
}

// send lets the path do to bytes what it does; e.mu is held.
func (c *end) send(now time.Time, b []byte) chunk {
	p, s := c.peer(), c.w.e.state(c.host, c.peer().host)
	at := now
	if s.delay > 0 {
		at = now.Add(time.Duration(c.w.e.rng.Int64N(int64(s.delay))))
	}
	if last := len(p.arriving) - 1; last >= 0 && p.arriving[last].at.After(at) {
		at = p.arriving[last].at
	}
	if s.rate > 0 {
		at = at.Add(time.Duration(len(b)) * time.Second / time.Duration(s.rate))
	}
	b = slices.Clone(b)
	if s.decay > 0 && c.w.e.rng.Float64() < s.decay {
		b[c.w.e.rng.IntN(len(b))] ^= 1 << c.w.e.rng.IntN(8)
	}
	return chunk{at, b}
}

func (c *end) Close() error {
	c.w.e.mu.Lock()
	defer c.w.e.mu.Unlock()
	c.closed = true
	if c.peer().closed {
		delete(c.w.e.wires, c.w)
	}
	c.w.wake()
	return nil
}

func (c *end) set(what ...*time.Time) func(time.Time) error {
	return func(t time.Time) error {
		c.w.e.mu.Lock()
		defer c.w.e.mu.Unlock()
		for _, d := range what {
			*d = t
		}
		c.w.wake()
		return nil
	}
}

func (c *end) SetDeadline(t time.Time) error      { return c.set(&c.readBy, &c.writtenBy)(t) }
func (c *end) SetReadDeadline(t time.Time) error  { return c.set(&c.readBy)(t) }
func (c *end) SetWriteDeadline(t time.Time) error { return c.set(&c.writtenBy)(t) }
func (c *end) LocalAddr() net.Addr                { return etherAddr(c.host) }
func (c *end) RemoteAddr() net.Addr               { return etherAddr(c.peer().host) }

// heal ends all that is wrong with the network; what is broken stays so.
func (e *ether) heal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.paths)
	now := time.Now()
	for w := range e.wires {
		for _, c := range w.ends {
			for i := range c.arriving {
				c.arriving[i].at = now
			}
		}
	}
	e.wake()
}
