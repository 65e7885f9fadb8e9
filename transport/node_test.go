package transport

import (
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnkv/cairn/clock"
	"go.etcd.io/raft/v3/raftpb"
)

// node is a member, over its lives.
type node struct {
	s  *storm
	id uint64

	mu     sync.Mutex // guards below
	host   string
	hosts  int
	life   *life
	losses map[uint64][]time.Time // when it was told of one, by member
	forgot map[uint64][]time.Time // when it was told to forget one, by member
	ends   map[uint64]time.Time   // of its lives
	last   map[flow]uint64        // the number of the message that came last
	newest map[flow]uint64        // the newest life that was heard of (life 0 in the flow)
}

// life is one process.
type life struct {
	*Transport
	number    uint64
	host      string
	server    *http.Server
	listener  *etherListener
	closed    atomic.Bool
	receiving [16][kindCount]atomic.Bool
}

// start begins a life of a member.
func (m *node) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &life{number: m.s.lives.Add(1), host: m.host}
	url := m.s.url(l.host)
	o := Options{
		Cluster: testCluster, Local: m.id, Version: "3.7.0", Clock: clock.Real(),
		Log:         slog.New(slog.NewTextHandler(m.s.log, nil)).With("me", m.id),
		URLs:        func() []string { return []string{url} },
		Dial:        m.s.ether.dialler(l.host),
		Deliver:     func(from uint64, messages []*raftpb.Message) { m.deliver(l, from, messages) },
		Unreachable: func(id uint64) { m.lost(id) },
	}
	l.listener = m.s.ether.listen(l.host)
	incoming := net.Listener(l.listener)
	if m.s.ca != nil {
		server, client := m.s.ca.member()
		client.ServerName = "localhost"
		o.TLS = tlsOf(client)
		incoming = tls.NewListener(incoming, server)
	}
	l.Transport = New(o)
	mux := http.NewServeMux()
	mux.Handle(Prefix, l.Handler())
	l.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	m.life = l
	go func() { _ = l.server.Serve(incoming) }()
}

// url is a host's.
func (s *storm) url(host string) string {
	if s.ca != nil {
		return "https://" + host
	}
	return "http://" + host
}

// stop ends the life; with power lost nobody hears of it.
func (m *node) stop(powerless bool) {
	m.mu.Lock()
	l := m.life
	m.life = nil
	m.ends[l.number] = time.Now()
	m.mu.Unlock()
	if powerless {
		m.s.ether.vanish(l.host)
	}
	_ = l.server.Close()
	l.Close()
	l.closed.Store(true)
}

func (m *node) living() *life {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.life
}

func (m *node) lost(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.losses[id] = append(m.losses[id], time.Now())
}

// peers tells a member of the others, but for some.
func (m *node) peers(without uint64) {
	urls := map[uint64][]string{}
	for _, o := range m.s.nodes {
		if o.id == without {
			continue
		}
		o.mu.Lock()
		urls[o.id] = []string{m.s.url(o.host)}
		o.mu.Unlock()
	}
	if l := m.living(); l != nil {
		l.SetPeers(urls)
	}
}

// cargo is what a message of a flow carries.
func cargo(f flow, number uint64, size int) []byte {
	h := fnv.New64a()
	fmt.Fprint(h, f, number, size)
	b, x := make([]byte, size), h.Sum64()
	for i := range b {
		b[i] = byte(x >> (i % 8 * 8))
	}
	return b
}

// send sends some messages to another member.
func (m *node) send(l *life, to uint64, k kind, sizes []int) {
	f := flow{m.id, to, l.number, k}
	m.s.mu.Lock()
	sent := m.s.sent[f]
	if sent == nil {
		sent = &sendings{came: map[uint64]bool{}}
		m.s.sent[f] = sent
	}
	var messages []*raftpb.Message
	for _, size := range sizes {
		sent.at = append(sent.at, time.Now())
		number := uint64(len(sent.at))
		msg := message(m.id, to, number, 0)
		msg.Term = &l.number
		if k == bulk {
			msg.Type = raftpb.MsgApp.Enum()
			msg.Entries = []*raftpb.Entry{{Index: &number, Data: cargo(f, number, size)}}
		}
		messages = append(messages, msg)
	}
	m.s.mu.Unlock()
	l.Send(messages)
}

// deliver checks what comes.
func (m *node) deliver(l *life, from uint64, messages []*raftpb.Message) {
	k := kindOf(messages[0])
	if !l.receiving[from][k].CompareAndSwap(false, true) {
		m.s.fail("two deliveries at once to %d from %d, %v", m.id, from, k)
	}
	if l.closed.Load() {
		m.s.fail("a delivery to %d after its end", m.id)
	}
	defer l.receiving[from][k].Store(false)
	for _, msg := range messages {
		f := flow{from, m.id, msg.GetTerm(), kindOf(msg)}
		number := msg.GetIndex()
		if f.kind != k {
			m.s.fail("%v on the %v stream", msg.GetType(), k)
		}
		for _, e := range msg.GetEntries() {
			if !slices.Equal(e.Data, cargo(f, number, len(e.Data))) {
				m.s.fail("%v: message %d has changed on its way", f, number)
			}
		}
		m.mu.Lock()
		any := flow{from, m.id, 0, k}
		if f.life < m.newest[any] {
			m.s.fail("%v: message %d comes after those of life %d", f, number, m.newest[any])
		}
		m.newest[any] = max(m.newest[any], f.life)
		if number <= m.last[f] {
			m.s.fail("%v: message %d comes after %d", f, number, m.last[f])
		}
		m.last[f] = number
		m.mu.Unlock()
		m.s.mu.Lock()
		if sent := m.s.sent[f]; sent == nil || number > uint64(len(sent.at)) {
			m.s.wrong = append(m.s.wrong, fmt.Sprintf("%v: message %d was never sent", f, number))
		} else {
			sent.came[number] = true
		}
		m.s.mu.Unlock()
	}
	m.dawdle(l)
}

// dawdle: who gets messages takes its time now and then.
func (m *node) dawdle(l *life) {
	m.mu.Lock()
	slow := m.s.working.Load() && rand.IntN(200) == 0
	m.mu.Unlock()
	if slow {
		pass(time.Duration(rand.IntN(7000)) * time.Millisecond)
	}
}

// work sends at random as long as there is a storm.
func (m *node) work(rng *rand.Rand) {
	for m.s.working.Load() {
		pass(time.Duration(rng.IntN(30)) * time.Millisecond)
		l := m.living()
		to := uint64(1 + rng.IntN(len(m.s.nodes)))
		if l == nil || to == m.id {
			continue
		}
		k := kind(rng.IntN(int(kindCount)))
		sizes := make([]int, 1+rng.IntN(10))
		for i := range sizes {
			sizes[i] = rng.IntN(1000)
			if rng.IntN(500) == 0 {
				sizes[i] = rng.IntN(3 << 20)
			}
		}
		m.send(l, to, k, sizes)
	}
}

// forget lets a member not know another one.
func (m *node) forget(other uint64) {
	m.mu.Lock()
	m.forgot[other] = append(m.forgot[other], time.Now())
	m.mu.Unlock()
	m.peers(other)
}
