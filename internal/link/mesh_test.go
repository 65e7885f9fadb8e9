package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
)

const (
	waitLong  = 20 * time.Second       // for what must come
	waitShort = 100 * time.Millisecond // for what must not
)

// ids are the members of a test's mesh.
var ids = map[string]uint64{"a": 0xa1, "b": 0xfedcba9876543210, "c": 0xc}

// world is a mesh with three members that tests play by hand.
type world struct {
	*Mesh
	t         *testing.T
	addresses map[string]string
	listeners map[string]net.Listener
}

func newWorld(t *testing.T, who func(net.Addr) string, c clock.Clock) *world {
	w := &world{New(who, c), t, map[string]string{}, map[string]net.Listener{}}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, id := range ids {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		w.listeners[name] = l
		if w.addresses[name], err = w.Add(name, id, "127.0.0.1:0", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// line is a connection: near is the end that dialled, far the member's.
type line struct {
	t         *testing.T
	near, far net.Conn
}

// dial opens a connection to a member and says hello on it; far is nil if it did not arrive.
func (w *world) dial(to, hello string) *line {
	w.t.Helper()
	near, err := net.Dial("tcp", w.addresses[to])
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = near.Close() })
	l := &line{t: w.t, near: near}
	l.say(near, hello)
	return l
}

// answer takes the connection on the member's side and reads the hello.
func (w *world) answer(l *line, to, hello string) {
	w.t.Helper()
	tcp := w.listeners[to].(*net.TCPListener)
	if err := tcp.SetDeadline(time.Now().Add(waitLong)); err != nil {
		w.t.Fatal(err)
	}
	far, err := tcp.Accept()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = far.Close() })
	l.far = far
	l.hear(far, hello)
}

// open is dial and answer with the header of a member.
func (w *world) open(from, to string) *line {
	w.t.Helper()
	l := w.dial(to, hello(from))
	w.answer(l, to, hello(from))
	return l
}

func hello(from string) string {
	return fmt.Sprintf("GET /raft HTTP/1.1\r\nHost: x\r\nX-Server-From: %x\r\n\r\n", ids[from])
}

func (l *line) say(end net.Conn, text string) {
	l.t.Helper()
	if _, err := io.WriteString(end, text); err != nil {
		l.t.Fatal(err)
	}
}

// hear demands that a text arrives at an end.
func (l *line) hear(end net.Conn, text string) {
	l.t.Helper()
	_ = end.SetReadDeadline(time.Now().Add(waitLong))
	got := make([]byte, len(text))
	if n, err := io.ReadFull(end, got); err != nil || string(got) != text {
		l.t.Fatalf("got %q, error %v; want %q", got[:n], err, text)
	}
}

// silence demands that nothing arrives at an end, not even that the other one is gone.
func (l *line) silence(end net.Conn) {
	l.t.Helper()
	_ = end.SetReadDeadline(time.Now().Add(waitShort))
	n, err := end.Read(make([]byte, 1))
	if timeout := net.Error(nil); n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
		l.t.Fatalf("got %d bytes, error %v; want a timeout", n, err)
	}
}

// gone demands that an end sees the connection's end, or an error.
func (l *line) gone(end net.Conn) {
	l.t.Helper()
	_ = end.SetReadDeadline(time.Now().Add(waitLong))
	_, err := end.Read(make([]byte, 1))
	if timeout := net.Error(nil); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		l.t.Fatalf("error %v; want the connection's end", err)
	}
}

// TestPass sends random bytes both ways, the second after the end of the first.
func TestPass(t *testing.T) {
	w := newWorld(t, nil, nil)
	l := w.open("a", "b")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	up, down := make([]byte, 5<<20+17), make([]byte, 3<<20+5)
	_, _ = rng.Read(up)
	_, _ = rng.Read(down)
	send := func(c net.Conn, data []byte) {
		_, err := c.Write(data)
		if err = errors.Join(err, c.(*net.TCPConn).CloseWrite()); err != nil {
			t.Error(err)
		}
	}
	receive := func(c net.Conn, want []byte) {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(waitLong))
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, error %v; want %d, the same", len(got), err, len(want))
		}
	}
	go send(l.near, up)
	receive(l.far, up)
	go send(l.far, down) // the near end is through, and still hears
	receive(l.near, down)
	if got, want := w.Passed("a", "b"), int64(len(hello("a"))+len(up)); got != want {
		t.Errorf("%d bytes passed up, want %d", got, want)
	}
	if got, want := w.Passed("b", ""), int64(len(down)); got != want {
		t.Errorf("%d bytes passed down, want %d", got, want)
	}
}

// TestCut cuts each direction of a pair, whoever dialled: nothing passes in it, the other one
// works, and what was said arrives when it is healed.
func TestCut(t *testing.T) {
	for _, from := range []string{"a", "b"} {
		w := newWorld(t, nil, nil)
		to := map[string]string{"a": "b", "b": "a"}[from]
		dialled, served := w.open(from, to), w.open(to, from)
		other := w.open("c", to)
		w.Cut(from, to)
		dialled.say(dialled.near, "one")
		served.say(served.far, "two")
		dialled.say(dialled.far, "back")
		served.say(served.near, "back")
		dialled.hear(dialled.near, "back")
		served.hear(served.far, "back")
		other.say(other.near, "from c")
		other.hear(other.far, "from c")
		dialled.silence(dialled.far)
		served.silence(served.near)
		late := w.dial(to, hello(from)) // accepted, and nothing more
		dialled.say(dialled.near, "three")
		dialled.silence(dialled.far)
		late.silence(late.near)
		w.Heal(to, from) // not the one
		dialled.silence(dialled.far)
		w.Heal(from, to)
		dialled.hear(dialled.far, "onethree")
		served.hear(served.near, "two")
		w.answer(late, to, hello(from))
		late.say(late.far, "at last")
		late.hear(late.near, "at last")
	}
}

// TestCutHidesTheEnd closes ends across a cut: the other end learns of it when it is healed.
func TestCutHidesTheEnd(t *testing.T) {
	w := newWorld(t, nil, nil)
	one, two := w.open("a", "b"), w.open("a", "b")
	w.Cut("a", "b")
	_ = one.near.(*net.TCPConn).SetLinger(0)
	_ = one.near.Close()
	one.say(one.far, "to nobody")
	one.silence(one.far)
	_ = two.near.Close()
	two.silence(two.far)
	w.HealAll()
	one.gone(one.far)
	two.gone(two.far)
}

// TestIsolate isolates a member: neither those known nor those unknown reach it.
func TestIsolate(t *testing.T) {
	w := newWorld(t, nil, nil)
	to, from, unknown := w.open("b", "a"), w.open("a", "c"), w.dial("a", "who knows")
	w.answer(unknown, "a", "who knows")
	apart := w.open("b", "c")
	w.Isolate("a")
	for _, l := range []*line{to, from, unknown} {
		l.say(l.near, "up")
		l.say(l.far, "down")
	}
	for _, l := range []*line{to, from, unknown} {
		l.silence(l.near)
		l.silence(l.far)
	}
	apart.say(apart.near, "hi")
	apart.hear(apart.far, "hi")
	w.Heal("b", "a")
	to.silence(to.far)
	w.Rejoin("a")
	for _, l := range []*line{to, from, unknown} {
		l.hear(l.near, "down")
		l.hear(l.far, "up")
	}
}

// TestSniff finds the sender late: in a second request, in pieces, of a member whose id becomes
// known while the connection is open.
func TestSniff(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.SetID("a", 0)
	w.Cut("a", "b")
	first := "GET /probing HTTP/1.1\r\nX-Server-From: none\r\n\r\n"
	l := w.dial("b", first)
	w.answer(l, "b", first)
	pieces := []string{"POST /raft HTTP/1.1\r\nx-server", "-from:   a", "1 \r\n\r\nbody"}
	for _, piece := range pieces {
		l.say(l.near, piece)
		l.hear(l.far, piece)
	}
	w.SetID("a", ids["a"])
	l.say(l.near, "more")
	l.silence(l.far)
	w.HealAll()
	l.hear(l.far, "more")
}

// TestWho takes the caller's word for who dials.
func TestWho(t *testing.T) {
	w := newWorld(t, func(net.Addr) string { return "c" }, nil)
	w.Cut("c", "b")
	l := w.dial("b", "nothing of HTTP")
	l.silence(l.near)
	w.Heal("c", "b")
	w.answer(l, "b", "nothing of HTTP")
	if got := w.Passed("c", "b"); got != int64(len("nothing of HTTP")) {
		t.Errorf("%d bytes passed", got)
	}
}

// TestDelay moves the clock by hand: what is said arrives when its time has come, in order.
func TestDelay(t *testing.T) {
	c := clock.NewManual(time.Unix(1_000_000, 0))
	w := newWorld(t, nil, c)
	l := w.open("a", "b")
	w.Delay("a", "b", time.Second)
	l.say(l.near, "slow")
	l.say(l.far, "fast")
	l.hear(l.near, "fast")
	l.silence(l.far)
	c.Advance(time.Second - 1)
	l.silence(l.far)
	c.Advance(1)
	l.hear(l.far, "slow")
	l.say(l.near, "no more")
	l.silence(l.far)
	w.Delay("a", "b", 0)
	l.hear(l.far, "no more")
}

// TestDrop resets the connections of a pair and no others.
func TestDrop(t *testing.T) {
	w := newWorld(t, nil, nil)
	one, two, other := w.open("a", "b"), w.open("b", "a"), w.open("c", "b")
	if n := w.Drop("a", "b"); n != 2 {
		t.Errorf("%d connections dropped, want 2", n)
	}
	for _, l := range []*line{one, two} {
		l.gone(l.near)
		l.gone(l.far)
	}
	other.say(other.near, "still")
	other.hear(other.far, "still")
	if err := w.Remove("b"); err != nil {
		t.Fatal(err)
	}
	other.gone(other.near)
	if _, err := net.Dial("tcp", w.addresses["b"]); err == nil {
		t.Error("the proxy listens after Remove")
	}
}

// TestTargetDown dials a member that does not listen: the connection ends, but not across a cut.
func TestTargetDown(t *testing.T) {
	w := newWorld(t, nil, nil)
	_ = w.listeners["b"].Close()
	l := w.dial("b", hello("a"))
	l.gone(l.near)
	w.Cut("b", "a")
	l = w.dial("b", hello("a"))
	l.silence(l.near)
	w.Heal("b", "a")
	l.gone(l.near)
}

// TestClose closes a mesh with connections of each kind: all of them end, and so does everything
// that ran for them (Close waits for it).
func TestClose(t *testing.T) {
	w := newWorld(t, nil, nil)
	open, cut := w.open("a", "b"), w.open("a", "c")
	w.Cut("a", "c")
	cut.say(cut.near, "stuck")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	open.gone(open.near)
	open.gone(open.far)
	cut.gone(cut.near)
	cut.gone(cut.far)
	if n := len(w.wires); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if _, err := w.Add("d", 0, "127.0.0.1:0", "127.0.0.1:1"); !errors.Is(err, ErrClosed) {
		t.Errorf("Add after Close: %v, want %v", err, ErrClosed)
	}
}

// TestAddRefuses what it cannot do.
func TestAddRefuses(t *testing.T) {
	w := newWorld(t, nil, nil)
	for _, tt := range [][2]string{{"a", "127.0.0.1:0"}, {"", "127.0.0.1:0"},
		{"d", w.addresses["a"]}, {"d", "nonsense"}} {
		if _, err := w.Add(tt[0], 0, tt[1], "127.0.0.1:1"); err == nil {
			t.Errorf("Add(%q, %q) has no error", tt[0], tt[1])
		}
	}
}
