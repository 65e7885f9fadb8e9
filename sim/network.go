package sim

import (
	"math/rand/v2"
	"time"

	"github.com/cairnkv/cairn/internal/mutate"
	"github.com/cairnkv/cairn/internal/version"
	"github.com/cairnkv/cairn/transport"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Latencies of the network, one way.
const (
	leastLatency = 50 * time.Microsecond
	usualLatency = 3 * time.Millisecond
	slowLatency  = 300 * time.Millisecond
	// silence is how long a connection may be silent before it counts as broken; transport's
	// streams ping each second.
	silence = 5 * time.Second
	// keepAliveTime is how long it takes the system to notice that nobody is there any more on a
	// connection on which only an answer is waited for (Go: ten probes, 15 s apart).
	keepAliveTime = 150 * time.Second
	// socketBuffer is how much the system takes before a write waits; small, as states are here.
	socketBuffer = 4 << 10
	// retransmitTime is how long the system repeats what nobody takes (Linux: tcp_retries2).
	retransmitTime = 15 * time.Minute
	// knockEvery is the time between two attempts to be connected.
	knockEvery = time.Second
	// detection is after how long the loss of a connection is noticed.
	detection = 20 * time.Millisecond
)

// clientSide is the clients' place in a link.
const clientSide = -1

type link struct{ from, to int }

// network carries everything between hosts.
type network struct {
	s      *Sim
	cut    map[link]bool
	slow   map[link]bool
	last   map[link]time.Duration // when the last message arrives: the order of a stream is kept
	faulty bool
}

func newNetwork(s *Sim) *network {
	return &network{
		s: s, cut: map[link]bool{}, slow: map[link]bool{}, last: map[link]time.Duration{},
	}
}

func (n *network) heal() {
	clear(n.cut)
	clear(n.slow)
}

// latency draws how long something is under way.
func (n *network) latency(l link) time.Duration {
	d := between(n.s.netRNG, leastLatency, usualLatency)
	if n.slow[l] {
		d = between(n.s.netRNG, usualLatency, slowLatency)
	}
	return d
}

// carry has arrive called at the other side, in the order of the calls, or lost if the link is cut
// at the beginning or at the end.
func (n *network) carry(l link, arrive, lost func()) {
	at := max(n.s.now+n.latency(l), n.last[l]+1)
	n.last[l] = at
	cut := n.cut[l]
	n.s.after(at-n.s.now, func() {
		switch {
		case !cut && !n.cut[l]:
			arrive()
		case lost != nil:
			lost()
		}
	})
}

// endpoint is a member's side of the network (server.Network).
type endpoint struct{ l *life }

// Send implements node.Transport.
func (e *endpoint) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		e.send(m)
	}
}

// once says which messages must not come twice: they are no part of raft's protocol between
// members that repeats itself, and the real transport never doubles any.
func once(t raftpb.MessageType) bool { return t == raftpb.MsgProp }

func (e *endpoint) send(m *raftpb.Message) {
	l := e.l
	s := l.m.sim
	guest := l.heard[m.GetTo()] != nil && !mutate.On(mutate.UnknownUnanswered)
	if l.dead || !l.peers[m.GetTo()] && !guest {
		return
	}
	to := s.byID(m.GetTo())
	if to == nil {
		return
	}
	s.Stats.Messages++
	if m.GetType() == raftpb.MsgVoteResp && !m.GetReject() && l.m.crashOnVote {
		l.m.crashOnVote = false
		s.after(1, func() {
			if l.m.life == l {
				s.logf("%s: the power fails after a vote", l.m.name)
				l.m.powerLoss()
			}
		})
	}
	bytes, err := proto.Marshal(m)
	if err != nil {
		s.fail(err)
		return
	}
	way := link{l.m.index, to.index}
	f := &s.opts.Faults
	if !s.net.faulty {
		f = &Faults{}
	}
	if chance(s.netRNG, f.Loss) {
		s.Stats.Faults["lost message"]++
		s.after(detection, func() { e.unreachable(m.GetTo()) })
		return
	}
	copies := 1
	if !once(m.GetType()) && chance(s.netRNG, f.Duplicate) {
		s.Stats.Faults["doubled message"]++
		copies = 2
	}
	for range copies {
		arrive := func() { to.deliver(l.m, bytes) }
		if chance(s.netRNG, f.Reorder) {
			s.Stats.Faults["reordered message"]++
			s.after(between(s.netRNG, leastLatency, slowLatency), func() {
				if !s.net.cut[way] {
					arrive()
				}
			})
			continue
		}
		s.net.carry(way, arrive, func() {
			s.after(detection, func() { e.unreachable(m.GetTo()) })
		})
	}
}

func (e *endpoint) unreachable(id uint64) {
	if e.l.m.life == e.l && e.l.opts.Unreachable != nil {
		e.l.opts.Unreachable(id)
		e.l.touch()
	}
}

// deliver is the arrival of a message.
func (m *member) deliver(from *member, bytes []byte) {
	s := m.sim
	l := m.life
	if l == nil || l.opts.Deliver == nil {
		if from.life != nil {
			e := endpoint{from.life}
			s.after(detection, func() { e.unreachable(m.id) })
		}
		return
	}
	var message raftpb.Message
	if err := proto.Unmarshal(bytes, &message); err != nil {
		s.fail(err)
		return
	}
	if l.opts.IsRemoved(from.id) {
		if f := from.life; f != nil && f.opts.Removed != nil {
			s.net.carry(link{m.index, from.index}, func() {
				if from.life == f {
					f.opts.Removed()
					f.touch()
				}
			}, nil)
		}
		return
	}
	m.tune()
	now := m.clock.Now()
	c := l.heard[from.id]
	if c == nil || now.Sub(c.last) > silence {
		c = &contact{since: now}
		l.heard[from.id] = c
	}
	c.last = now
	s.logf("%s>%s %v", from.name, m.name, briefly(&message))
	l.opts.Deliver(from.id, []*raftpb.Message{&message})
	l.touch()
}

// knock dials those that the member knows, as transport does until it is connected, whether there
// is something to say or not: that it was removed it hears at the door.
func (l *life) knock() {
	m := l.m
	if m.life != l {
		return
	}
	s := m.sim
	s.after(knockEvery, l.knock)
	for _, to := range s.members {
		if m.paused || !l.peers[to.id] || s.net.cut[link{m.index, to.index}] {
			continue
		}
		s.after(2*usualLatency, func() { l.hear(to) })
	}
}

// hear is another member's answer to a knock.
func (l *life) hear(of *member) {
	m, o := l.m, of.life
	if m.life != l || o == nil || of.paused || o.opts.IsRemoved == nil || l.opts.Removed == nil ||
		m.sim.net.cut[link{of.index, m.index}] || !o.opts.IsRemoved(m.id) {
		return
	}
	l.opts.Removed()
	l.touch()
}

func (s *Sim) byID(id uint64) *member {
	for _, m := range s.members {
		if m.id == id && id != 0 {
			return m
		}
	}
	return nil
}

func (s *Sim) byURL(url string) *member {
	for _, m := range s.members {
		if m.url == url {
			return m
		}
	}
	return nil
}

// SetPeers implements server.Network.
func (e *endpoint) SetPeers(urls map[uint64][]string) {
	clear(e.l.peers)
	for id := range e.l.heard { // who is not known is answered, until it is removed
		if urls[id] == nil && e.l.opts.IsRemoved(id) {
			delete(e.l.heard, id)
		}
	}
	for id, list := range urls {
		e.l.peers[id] = true
		if len(list) > 0 {
			if m := e.l.m.sim.byURL(list[0]); m != nil && !m.gone {
				m.id = id
			}
		}
	}
}

// ActiveSince implements server.Network.
func (e *endpoint) ActiveSince(id uint64) time.Time {
	c := e.l.heard[id]
	if c == nil || e.l.m.clock.Now().Sub(c.last) > silence {
		return time.Time{}
	}
	return c.since
}

// PeerVersion implements server.Network.
func (e *endpoint) PeerVersion(id uint64) (string, bool) {
	return version.Etcd, e.l.heard[id] != nil
}

// Stats implements server.Network.
func (e *endpoint) Stats() []transport.PeerStats { return nil }

// Close implements server.Network.
func (e *endpoint) Close() {}

// pick draws an element.
func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }
