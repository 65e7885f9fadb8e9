package transport

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairnkv/cairn/clock"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// checkOrder demands that the indexes of each sender's stream rise, and returns how many messages
// there are of each sender.
func checkOrder(t *testing.T, messages []*raftpb.Message) map[uint64]int {
	t.Helper()
	last, count := map[streamKey]uint64{}, map[uint64]int{}
	for _, m := range messages {
		key := streamKey{m.GetFrom(), kindOf(m)}
		if m.GetIndex() <= last[key] {
			t.Fatalf("on %v came %d after %d", key, m.GetIndex(), last[key])
		}
		last[key] = m.GetIndex()
		count[m.GetFrom()]++
	}
	return count
}

// TestMesh: three members over each kind of URL; all that is sent arrives once, in order.
func TestMesh(t *testing.T) {
	for _, scheme := range []string{"http", "https", "unix", "unixs"} {
		t.Run(scheme, func(t *testing.T) { testMesh(t, scheme, newRand(t)) })
	}
}

func testMesh(t *testing.T, scheme string, rnd *rand.Rand) {
	const perPair = 1500
	ca := newAuthority(t)
	var members []*member
	var rtt sync.Map
	for id := uint64(1); id <= 3; id++ {
		server, client := ca.member()
		m := newMember(t, id, func(o *Options) {
			o.RTT = func(id uint64, d time.Duration) { rtt.Store([2]uint64{o.Local, id}, d) }
			if strings.HasSuffix(scheme, "s") {
				o.TLS = tlsOf(client)
			}
		})
		m.tls = server
		m.serve(scheme, "")
		members = append(members, m)
	}
	connect(t, members...)
	var wg sync.WaitGroup
	for _, from := range members {
		seed := rnd.Uint64()
		wg.Go(func() { sendAll(from, members, perPair, rand.New(rand.NewPCG(seed, 1))) })
	}
	wg.Wait()
	for _, m := range members {
		eventually(t, "all arrived", func() bool { return len(m.messages()) >= 2*perPair })
		eventually(t, "all counted", func() bool {
			return m.Stats()[0].SentMessages >= perPair && m.Stats()[1].SentMessages >= perPair
		})
	}
	for _, m := range members {
		for from, n := range checkOrder(t, m.messages()) {
			if n != perPair || from == m.id {
				t.Errorf("%d got %d messages of %d", m.id, n, from)
			}
		}
		for _, s := range m.Stats() {
			if s.SentMessages != perPair || s.ReceivedMessages != perPair || s.Dropped != 0 ||
				s.Queued != 0 || s.SentBytes < perPair*20 || s.ReceivedBytes < perPair*20 ||
				s.Disconnects != 0 || s.ActiveSince.IsZero() || s.ReceiveFailures != 0 {
				t.Errorf("%d: %+v", m.id, s)
			}
			eventually(t, "a round trip", func() bool {
				_, ok := rtt.Load([2]uint64{m.id, s.ID})
				return ok
			})
			if v, ok := m.PeerVersion(s.ID); !ok || v != "3.7.0" {
				t.Errorf("version %q, %v", v, ok)
			}
		}
		if len(m.Stats()) != 2 || m.losses(1)+m.losses(2)+m.losses(3) != 0 {
			t.Errorf("%d: %+v, lost %v", m.id, m.Stats(), m.unreachable)
		}
		if n := m.log.count("peer became active"); n != 2 {
			t.Errorf("%d lines about active peers:\n%s", n, m.log)
		}
	}
	if _, ok := members[0].PeerVersion(9); ok || !members[0].ActiveSince(9).IsZero() {
		t.Error("something is known of a member that is no peer")
	}
}

// sendAll sends to each member (itself, too) as many messages as perPair.
func sendAll(from *member, members []*member, perPair uint64, rnd *rand.Rand) {
	for i := uint64(1); i <= perPair; {
		var batch []*raftpb.Message
		for range 1 + rnd.IntN(20) {
			size := rnd.IntN(2) * (1 + rnd.IntN(3000))
			for _, to := range members {
				batch = append(batch, message(from.id, to.id, i, size))
			}
			if i++; i > perPair {
				break
			}
		}
		from.Send(batch)
	}
}

// TestReconnect: streams break and the listener goes; when it is back the peers find each other,
// losses were reported, and what arrived is in order and not twice.
func TestReconnect(t *testing.T) {
	a, b := newMember(t, 1, nil), newMember(t, 2, nil)
	a.serve("http", "")
	b.serve("http", "")
	connect(t, a, b)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(100 * time.Microsecond)
		defer ticker.Stop()
		for i := uint64(1); ; i++ {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			a.Send([]*raftpb.Message{message(1, 2, i, 0), message(1, 2, i, 100)})
		}
	})
	for range 3 {
		addr := b.addr()
		b.shut()
		b.cutIncoming()
		eventually(t, "inactive", func() bool { return a.ActiveSince(2).IsZero() })
		lost := a.losses(2)
		eventually(t, "another loss is reported", func() bool { return a.losses(2) > lost })
		b.serve("http", addr)
		eventually(t, "active", func() bool { return !a.ActiveSince(2).IsZero() })
		got := len(b.messages())
		eventually(t, "messages arrive", func() bool { return len(b.messages()) > got+10 })
	}
	close(stop)
	wg.Wait()
	checkOrder(t, b.messages())
	if s := a.Stats()[0]; s.Disconnects != 3 || s.SendFailures == 0 || s.Dropped == 0 {
		t.Errorf("%+v", s)
	}
	if n := a.log.count("cannot connect to the peer"); n > 6 {
		t.Errorf("%d lines about failures:\n%s", n, a.log)
	}
	if n := a.log.count("peer became inactive (message send to peer failed)"); n != 3 {
		t.Errorf("%d times inactive:\n%s", n, a.log)
	}
}

// TestStuckPeer: a peer that does not read costs no more than the queue, and is given up.
func TestStuckPeer(t *testing.T) {
	release := make(chan struct{})
	a := newMember(t, 1, func(o *Options) {
		o.ReadTimeout, o.WriteTimeout = time.Second, time.Second
	})
	b := newMember(t, 2, func(o *Options) {
		o.Deliver = func(uint64, []*raftpb.Message) { <-release }
	})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	a.serve("http", "")
	b.serve("http", "")
	connect(t, a, b)
	began := time.Now()
	const size = 100 << 10
	for i := range uint64(2000) {
		a.Send([]*raftpb.Message{message(1, 2, i+1, size)})
		if s := a.Stats()[0]; s.QueuedBytes > maxQueueBytes {
			t.Fatalf("%+v", s)
		}
	}
	s := a.Stats()[0]
	if took := time.Since(began); s.Dropped < 500 || took > 5*time.Second {
		t.Errorf("%d dropped in %v", s.Dropped, took)
	}
	if n := a.losses(2); n == 0 || n > int(time.Since(began)/reportInterval)+1 {
		t.Errorf("%d reports for %d losses", n, s.Dropped)
	}
	eventually(t, "given up", func() bool { return a.log.count("peer became inactive") > 0 })
}

// TestSilence: a stream without traffic is closed by both sides.
func TestSilence(t *testing.T) {
	b := newMember(t, 2, func(o *Options) { o.ReadTimeout = 50 * time.Millisecond })
	b.serve("http", "")
	p, status, _ := dialRaw(t, b, 1, fast, nil)
	if status != http.StatusSwitchingProtocols {
		t.Fatal(status)
	}
	p.ended()
	eventually(t, "the log says so", func() bool { return b.log.count("i/o timeout") == 1 })

	// This one answers the handshake and no ping.
	mute := newMember(t, 3, nil)
	b.SetPeers(map[uint64][]string{3: {fakePeer(t, func(conn net.Conn) {
		mute.welcome(conn, 2)
		_, _ = io.Copy(io.Discard, conn)
	})}})
	eventually(t, "active", func() bool { return !b.ActiveSince(3).IsZero() })
	eventually(t, "inactive", func() bool { return b.log.count("peer became inactive") > 0 })
	if v, _ := b.PeerVersion(3); v != "3.7.0" {
		t.Errorf("version %q", v)
	}
}

// TestSetPeers: one that is gone is left, in both directions; a new URL is dialled, one that stays
// is not dialled anew.
func TestSetPeers(t *testing.T) {
	a, b := newMember(t, 1, nil), newMember(t, 2, nil)
	a.serve("http", "")
	b.serve("http", "")
	connect(t, a, b)
	since := a.ActiveSince(2)
	a.SetPeers(map[uint64][]string{1: {a.url}, 2: {"http://127.0.0.1:1", b.url}})
	if a.ActiveSince(2) != since {
		t.Error("dialled anew although the URL is still there")
	}
	old := b.url
	b.shut()
	b.serve("unix", "") // the old streams go on
	a.SetPeers(map[uint64][]string{2: {b.url}})
	eventually(t, "dialled anew", func() bool {
		return a.ActiveSince(2).After(since) && a.log.count(b.url) == 2
	})
	a.Send([]*raftpb.Message{message(1, 2, 1, 0)})
	eventually(t, "arrived", func() bool { return len(b.messages()) == 1 })
	if a.log.count(old) != 2 {
		t.Errorf("log:\n%s", a.log)
	}
	a.SetPeers(nil)
	eventually(t, "b hears that it was left", func() bool {
		return b.log.count("lost TCP streaming connection") >= 4 // two of each direction
	})
	a.Send([]*raftpb.Message{message(1, 2, 2, 0)})
	if len(a.Stats()) != 0 || a.losses(2) > 1 {
		t.Errorf("%+v, %d losses", a.Stats(), a.losses(2))
	}
	// A member that is not known yet may speak first, and b is such a one for a now.
	eventually(t, "b is back", func() bool { return !b.ActiveSince(1).IsZero() })
	b.Send([]*raftpb.Message{message(2, 1, 3, 0)})
	eventually(t, "arrived", func() bool { return len(a.messages()) == 1 })
}

// frozen is a clock that does not go, and tells of the timers that are made. Deadlines of
// connections made of it are far away.
type frozen struct {
	*clock.Manual
	timers chan time.Duration
}

func newFrozen() *frozen {
	f := &frozen{clock.NewManual(time.Now()), make(chan time.Duration, 100)}
	f.Advance(time.Hour)
	return f
}

func (f *frozen) NewTimer(d time.Duration) clock.Timer {
	timer := f.Manual.NewTimer(d)
	f.timers <- d
	return timer
}

// TestBackoff: attempts are 0.1, 0.2, 0.4, 0.8, 1, 1, ... s apart, and their failure is told once.
func TestBackoff(t *testing.T) {
	f := newFrozen()
	a := newMember(t, 1, func(o *Options) { o.Clock = f })
	var hits atomic.Int32
	fake := fakePeer(t, func(net.Conn) { hits.Add(1) })
	a.SetPeers(map[uint64][]string{2: {fake}})
	attempts := checkPauses(t, f)
	eventually(t, "all came", func() bool { return hits.Load() >= attempts })
	if n := a.log.count("cannot connect to the peer"); n != 1 {
		t.Errorf("%d lines:\n%s", n, a.log)
	}
	if n := a.losses(2); n != 0 {
		t.Errorf("%d losses although nothing was sent", n)
	}
}

// checkPauses demands the pauses of both streams, and returns how many attempts that makes.
func checkPauses(t *testing.T, f *frozen) (attempts int32) {
	t.Helper()
	for _, ms := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		want := ms * time.Millisecond
		if x, y := <-f.timers, <-f.timers; x != want || y != want {
			t.Fatalf("pauses of %v and %v, want %v", x, y, want)
		}
		attempts += 2
		f.Advance(want - 1)
		if len(f.timers) != 0 {
			t.Fatalf("an attempt before %v", want)
		}
		f.Advance(1)
	}
	return attempts
}

// TestShortLife: streams that break as soon as they stand are dialled as rarely.
func TestShortLife(t *testing.T) {
	f := newFrozen()
	a := newMember(t, 1, func(o *Options) { o.Clock = f })
	peer := newMember(t, 2, nil)
	a.SetPeers(map[uint64][]string{2: {fakePeer(t, func(conn net.Conn) { peer.welcome(conn, 1) })}})
	checkPauses(t, f)
}

// TestHurry: a peer that comes to us is dialled at once.
func TestHurry(t *testing.T) {
	f := newFrozen()
	a := newMember(t, 1, func(o *Options) { o.Clock = f })
	a.serve("http", "")
	b := newMember(t, 2, func(o *Options) { o.Clock = f })
	b.serve("http", "")
	addr := b.addr()
	b.shut()
	a.SetPeers(map[uint64][]string{2: {b.url}})
	eventually(t, "a failed", func() bool { return a.Stats()[0].SendFailures == 2 })
	b.serve("http", addr)
	b.SetPeers(map[uint64][]string{1: {a.url}})
	eventually(t, "active", func() bool { return !a.ActiveSince(2).IsZero() })
}

// TestClose: nothing is left, and what comes later is refused.
func TestClose(t *testing.T) {
	a, b := newMember(t, 1, nil), newMember(t, 2, nil)
	a.serve("http", "")
	b.serve("http", "")
	connect(t, a, b)
	a.Close()
	a.Close()
	a.Send([]*raftpb.Message{message(1, 2, 1, 0)})
	a.SetPeers(map[uint64][]string{3: {b.url}})
	if _, status, _ := dialRaw(t, a, 2, fast, nil); status != http.StatusServiceUnavailable {
		t.Errorf("a stream to a closed transport: %d", status)
	}
	eventually(t, "b sees it", func() bool { return b.ActiveSince(1).IsZero() })
}

// TestLocalAddr: connections come from the address that was asked for.
func TestLocalAddr(t *testing.T) {
	a := newMember(t, 1, func(o *Options) {
		o.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 7)}
	})
	b := newMember(t, 2, nil)
	b.serve("http", "")
	var remote string
	b.other = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		remote = r.RemoteAddr
	})
	resp, err := a.Get(context.Background(), []string{b.url}, "/x")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if !strings.HasPrefix(remote, "127.0.0.7:") {
		t.Errorf("from %s", remote)
	}
}

// TestLargeMessage: one much larger than a batch goes as one frame; the largest that the queue
// takes fits into a frame, and a larger one is told of.
func TestLargeMessage(t *testing.T) {
	a, b := newMember(t, 1, nil), newMember(t, 2, nil)
	a.serve("http", "")
	b.serve("http", "")
	connect(t, a, b)
	if n := protowire.SizeVarint(1) + protowire.SizeBytes(maxMessageBytes); n > maxFrameBytes {
		t.Errorf("a payload of %d bytes for the largest message, %d are allowed", n,
			maxFrameBytes)
	}
	a.Send([]*raftpb.Message{message(1, 2, 1, 20*maxBatchBytes)})
	eventually(t, "arrived", func() bool { return len(b.messages()) == 1 })
	a.Send([]*raftpb.Message{message(1, 2, 2, maxFrameBytes)})
	if s := a.Stats()[0]; s.Dropped != 1 || a.losses(2) != 1 ||
		a.log.count("larger than a frame") != 1 {
		t.Errorf("%+v\n%s", s, a.log)
	}
}
