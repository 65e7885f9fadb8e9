// Package link puts a TCP proxy in front of each member of a cluster, so that tests and
// demonstrations can cut, slow down and drop what members say to each other.
//
// A member listens on its target address, but advertises the address of its proxy, which Add
// returns. All other members come through there:
//
//	m := link.New(nil, nil)
//	defer m.Close()
//	address, err := m.Add("a", 0, "127.0.0.1:0", "127.0.0.1:2380")
//	...
//	m.Cut("a", "b")   // nothing that a says reaches b; b still reaches a
//	m.Isolate("c")    // c is alone
//	m.HealAll()
//
// What is cut is the flow of data, not the right to dial: raft's streams are written by the one
// that was dialled in some implementations and by the one that dials in others. Across a cut
// nothing passes, neither bytes nor the end of a connection, connections stay open, and new ones
// are accepted: a black hole, as a lost network is. After Heal what was said meanwhile arrives
// late and in order, as TCP would deliver it.
//
// Who dials is told by the caller's function, or learnt from the header X-Server-From (the member's
// id in hexadecimal) of the first HTTP/1.1 request that has it. Bytes are handed on untouched. What
// an unknown one dials passes, unless the member that it dials is isolated.
package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cairnkv/cairn/clock"
)

const (
	// maxWires is how many connections a mesh holds. Those over it are closed as they come: it
	// takes members that redial for minutes into a black hole to reach it.
	maxWires = 4096

	// acceptPause is the wait after a failed accept (no file descriptor is free, most likely).
	acceptPause = 20 * time.Millisecond
)

// ErrClosed is returned by Add on a mesh that was closed.
var ErrClosed = errors.New("link: the mesh is closed")

// pair is a direction: what one member says to another. The empty name is an unknown one.
type pair struct{ from, to string }

// proxy is the door of one member.
type proxy struct {
	id       uint64 // 0: not known
	target   string
	listener net.Listener
}

// Mesh is the set of proxies of one cluster. All methods may be called at once, on names that were
// not added too: cuts may be made before their members exist.
type Mesh struct {
	clock  clock.Clock
	who    func(remote net.Addr) string
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	spare  sync.Pool // *[]byte of chunkBytes

	mu       sync.Mutex // guards the fields below
	proxies  map[string]*proxy
	wires    map[*wire]struct{}
	cut      map[pair]bool
	isolated map[string]bool
	delay    map[pair]time.Duration
	passed   map[pair]int64 // bytes
	changed  chan struct{}  // closed and replaced when a rule changes
	closed   bool
}

// New returns a mesh without members. who tells the name of the member that dials from an
// address, or "" if it does not know; it is called once for each connection, before any byte is
// read, and may be nil. The clock measures delays; nil is the machine's.
func New(who func(remote net.Addr) string, c clock.Clock) *Mesh {
	if who == nil {
		who = func(net.Addr) string { return "" }
	}
	if c == nil {
		c = clock.Real()
	}
	m := &Mesh{
		clock: c, who: who,
		proxies: make(map[string]*proxy), wires: make(map[*wire]struct{}),
		cut: make(map[pair]bool), isolated: make(map[string]bool),
		delay: make(map[pair]time.Duration), passed: make(map[pair]int64),
		changed: make(chan struct{}),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Add opens a proxy for a member that listens on target, and returns the address that the member
// has to advertise, host:port. listen may end in ":0". The id is the one that the member puts
// into X-Server-From; 0 if it is not known yet (see SetID). The target need not listen yet: while
// it does not, connections are accepted and closed.
func (m *Mesh) Add(name string, id uint64, listen, target string) (addr string, err error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", fmt.Errorf("link: proxy of %s: %w", name, err)
	}
	p := &proxy{id: id, target: target, listener: l}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		err = ErrClosed
	case name == "":
		err = errors.New("link: a member needs a name")
	case m.proxies[name] != nil:
		err = fmt.Errorf("link: %s has a proxy already: Remove it first", name)
	}
	if err != nil {
		return "", errors.Join(err, l.Close())
	}
	m.proxies[name] = p
	m.tasks.Go(func() { m.accept(name, p) })
	return l.Addr().String(), nil
}

// SetID says under which id a member speaks from now on. It is heeded by connections that are
// open, too.
func (m *Mesh) SetID(name string, id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.proxies[name]; p != nil {
		p.id = id
		m.change()
	}
}

// Remove closes the proxy of a member and all connections through it. Rules about the name stay.
func (m *Mesh) Remove(name string) error {
	m.mu.Lock()
	p := m.proxies[name]
	delete(m.proxies, name)
	m.mu.Unlock()
	if p == nil {
		return nil
	}
	err := p.listener.Close()
	m.drop(func(p pair) bool { return p.to == name })
	return err
}

// accept takes connections to one member until its listener is closed.
func (m *Mesh) accept(name string, p *proxy) {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			timer := m.clock.NewTimer(acceptPause)
			select {
			case <-timer.C():
				continue
			case <-m.ctx.Done():
				timer.Stop()
				return
			}
		}
		w := newWire(m, name, m.who(conn.RemoteAddr()), p.target, conn)
		m.mu.Lock()
		full := m.closed || m.proxies[name] != p || len(m.wires) >= maxWires
		if !full {
			m.wires[w] = struct{}{}
			m.tasks.Go(w.up.read)
			m.tasks.Go(w.up.write)
		}
		m.mu.Unlock()
		if full {
			_ = conn.Close() // nothing was said on it
		}
	}
}

// Cut stops what from says to to, on connections that are open and on new ones, until it is
// healed. The empty name is that of all that are not known.
func (m *Mesh) Cut(from, to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut[pair{from, to}] = true
	m.change()
}

// Heal undoes Cut. A member that is isolated stays so.
func (m *Mesh) Heal(from, to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.cut, pair{from, to})
	m.change()
}

// Isolate stops everything that is said to or by a member, whoever dialled. What the member itself
// dials without being known is the one thing that passes.
func (m *Mesh) Isolate(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.isolated[name] = true
	m.change()
}

// Rejoin undoes Isolate. Cuts stay.
func (m *Mesh) Rejoin(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.isolated, name)
	m.change()
}

// Delay lets all that from says to to arrive d later, in order; 0 ends it. While more is underway
// than fits the buffers (some MiB a connection), the sender has to wait, as on a slow line.
func (m *Mesh) Delay(from, to string, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delay[pair{from, to}] = d
	if d <= 0 {
		delete(m.delay, pair{from, to})
	}
	m.change()
}

// HealAll ends every cut, isolation and delay.
func (m *Mesh) HealAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.cut)
	clear(m.isolated)
	clear(m.delay)
	m.change()
}

// Drop resets the connections between two members, whoever dialled; "" stands for any. What is
// underway on them is lost. It returns how many there were.
func (m *Mesh) Drop(a, b string) int {
	is := func(name, want string) bool { return want == "" || name == want }
	return m.drop(func(p pair) bool {
		return is(p.from, a) && is(p.to, b) || is(p.from, b) && is(p.to, a)
	})
}

// drop resets the connections that match; from is the one that dialled.
func (m *Mesh) drop(match func(pair) bool) int {
	var dropped []*wire
	m.mu.Lock()
	for w := range m.wires {
		if match(pair{m.dialler(w), w.to}) {
			dropped = append(dropped, w)
		}
	}
	m.mu.Unlock()
	for _, w := range dropped {
		w.reset()
	}
	return len(dropped)
}

// Passed returns how many bytes from has got through to to since the mesh was made; "" stands for
// any, the unknown included. What the receiver has read is always in it.
func (m *Mesh) Passed(from, to string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum int64
	for p, n := range m.passed {
		if (from == "" || p.from == from) && (to == "" || p.to == to) {
			sum += n
		}
	}
	return sum
}

// Close closes every proxy and connection and returns when nothing of the mesh runs any more.
func (m *Mesh) Close() error {
	m.mu.Lock()
	m.closed = true
	var errs []error
	for _, p := range m.proxies {
		errs = append(errs, p.listener.Close())
	}
	clear(m.proxies)
	m.mu.Unlock()
	m.cancel()
	m.drop(func(pair) bool { return true })
	m.tasks.Wait()
	return errors.Join(errs...)
}

// change wakes all that wait for a rule to change. m.mu is held.
func (m *Mesh) change() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// dialler returns the name of the one that dialled, "" if it is not known. m.mu is held.
func (m *Mesh) dialler(w *wire) string {
	if w.from == "" && w.id != 0 {
		for name, p := range m.proxies {
			if p.id == w.id {
				w.from = name
			}
		}
	}
	return w.from
}

// rule returns what holds for a direction now, and a channel that is closed when that may change.
func (m *Mesh) rule(f *flow) (p pair, cut bool, delay time.Duration, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p = pair{m.dialler(f.wire), f.wire.to}
	if !f.up {
		p = pair{p.to, p.from}
	}
	cut = m.cut[p] || m.isolated[p.from] || m.isolated[p.to]
	return p, cut, m.delay[p], m.changed
}

// count notes that bytes have passed.
func (m *Mesh) count(p pair, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed[p] += int64(n)
}

// learn notes under which id a connection's dialler speaks.
func (m *Mesh) learn(w *wire, id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.id = id
}

// known says whether the dialler is known.
func (m *Mesh) known(w *wire) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return w.from != "" || w.id != 0
}

// forget strikes out a connection that is closed.
func (m *Mesh) forget(w *wire) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.wires, w)
}
