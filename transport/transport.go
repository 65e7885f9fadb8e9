// Package transport carries raft messages between members, over their peer URLs, as long-lived
// streams of frames.
//
// # Streams
//
// To each peer go two streams: "bulk" for appends, snapshots and forwarded proposals, "fast" for
// all else, so that a heartbeat never waits behind megabytes. (All appends share one: an empty one
// that overtook those before it would be refused by the follower, and end the pipelining.) Each
// stream is a connection of its own that the sender dials; what the peer sends comes on streams
// that the peer dials.
//
//	GET /cairn/stream/fast HTTP/1.1         HTTP/1.1 101 Switching Protocols
//	Connection: Upgrade                     Connection: Upgrade
//	Upgrade: cairn-raft                     Upgrade: cairn-raft
//	X-Etcd-Cluster-Id: 27f8...              X-Etcd-Cluster-Id: 27f8...
//	X-Server-From: 8211f1d0f64f3269         X-Server-From: 91bc3c398fb3c146
//	X-Server-To: 91bc3c398fb3c146           X-Server-To: 8211f1d0f64f3269
//	X-Server-Version: 3.7.0                 X-Server-Version: 3.7.0
//	X-Cairn-Level: 2-2                      X-Cairn-Level: 2-2
//	X-PeerURLs: http://10.0.0.1:2380        X-PeerURLs: http://10.0.0.2:2380
//
// Both sides speak the highest level that both know. A stream is refused with 412 if the clusters
// differ, another member was meant or no level is common, and with 410 if the caller was removed.
//
// # Frames
//
// After the handshake both directions are frames, little-endian:
//
//	+----------+-----------------+---------------------+---------------------------------+
//	| length   | CRC-32C of the  | CRC-32C of these    | payload: length bytes, at most  |
//	| (4 bytes)| payload (4)     | eight bytes (4)     | 64 MiB                          |
//	+----------+-----------------+---------------------+---------------------------------+
//	payload of messages: varint count >= 1, then for each: varint size, raftpb.Message
//	payload of a ping:   0, 1, 8 bytes that the pong repeats
//	payload of a pong:   0, 2, 8 bytes
//
// The dialling side sends messages and pings, the other one pongs. A ping goes each second, and
// while a frame takes long to come, pongs that nobody asked for go (their bytes are 2^63-1), for no
// ping can; a side that hears nothing for ReadTimeout closes the connection. So does one that gets
// a frame that does not check: what comes after it cannot be trusted.
//
// # Loss
//
// Nothing is sent twice and the order of a stream is kept, but messages may be lost: when a queue
// is full, when a stream breaks, while the peer cannot be reached. raft repeats what matters, and
// hears of losses by Options.Unreachable.
package transport

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnkv/cairn/clock"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Limits and times.
const (
	defaultDialTimeout = 2 * time.Second // dialling and handshake
	defaultIdleTimeout = 5 * time.Second // without traffic; for one write to go on
	pingInterval       = time.Second
	firstBackoff       = 100 * time.Millisecond // between attempts; doubles
	lastBackoff        = time.Second
	reportInterval     = 100 * time.Millisecond // between two calls of Unreachable for a peer
	maxIncoming        = 256                    // streams from peers at once
	maxGuests          = 16                     // see Transport.welcome
)

// Dialler makes a connection: network is "tcp" or "unix". ctx bounds the dialling alone.
type Dialler func(ctx context.Context, network, address string) (net.Conn, error)

// Options of a transport. Functions may be nil.
type Options struct {
	Cluster, Local uint64 // ids; 0 in a transport that is for Get alone
	Version        string // of etcd's API that this member reports: "3.7.0"
	// URLs are this member's peer URLs: those who do not know it answer there. nil: they do not.
	URLs func() []string

	// TLS gives the configuration of one handshake with an https or unixs URL; ServerName and the
	// protocol are set by the transport. nil: such URLs cannot be dialled.
	TLS          func() (*tls.Config, error)
	LocalAddr    net.Addr      // *net.TCPAddr to dial from; nil is the system's choice
	Dial         Dialler       // of connections, before TLS; nil is the system's
	DialTimeout  time.Duration // of dialling and handshake together; 0 is 2 s
	ReadTimeout  time.Duration // a stream that is silent for so long is closed; 0 is 5 s
	WriteTimeout time.Duration // for a piece of 128 KiB; 0 is 5 s

	Clock clock.Clock
	Log   *slog.Logger

	// Deliver gets the messages of one frame. It is called on the stream's reading goroutine, at
	// most once at a time for each of a peer's two streams; the messages are the callee's. While
	// it runs the stream is not read: beyond ReadTimeout the peer gives it up.
	Deliver func(from uint64, messages []*raftpb.Message)
	// Unreachable tells that messages to a peer were lost, or may have been: at most once in
	// 100 ms for each. It is called on any goroutine, that of Send too, and must not block.
	Unreachable func(id uint64)
	// Removed tells, once, that a peer said that this member was removed from the cluster. It
	// must not call Close.
	Removed func()
	// IsRemoved says whether a member was removed. It is called on any goroutine.
	IsRemoved func(id uint64) bool
	// RTT gets each measured round trip to a peer.
	RTT func(id uint64, d time.Duration)
}

// Transport is a member's connections to its peers. It is safe for concurrent use.
type Transport struct {
	opts   Options
	began  time.Time
	client *http.Client

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	workers sync.WaitGroup
	removed sync.Once

	peers atomic.Pointer[map[uint64]*peer] // replaced, never changed

	mu       sync.Mutex // guards below, and the replacing of peers
	closed   bool
	incoming map[streamKey]*incoming
	refusals map[uint64]string // by sender, the last one that was logged
}

// New returns a transport without peers.
func New(o Options) *Transport {
	setDefault(&o.DialTimeout, defaultDialTimeout)
	setDefault(&o.ReadTimeout, defaultIdleTimeout)
	setDefault(&o.WriteTimeout, defaultIdleTimeout)
	if o.Dial == nil {
		o.Dial = o.dialSystem
	}
	if o.Deliver == nil {
		o.Deliver = func(uint64, []*raftpb.Message) {}
	}
	if o.Unreachable == nil {
		o.Unreachable = func(uint64) {}
	}
	if o.Removed == nil {
		o.Removed = func() {}
	}
	if o.IsRemoved == nil {
		o.IsRemoved = func(uint64) bool { return false }
	}
	if o.RTT == nil {
		o.RTT = func(uint64, time.Duration) {}
	}
	t := &Transport{
		opts: o, began: o.Clock.Now(),
		incoming: map[streamKey]*incoming{}, refusals: map[uint64]string{},
	}
	t.peers.Store(&map[uint64]*peer{})
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.client = t.newClient()
	return t
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// Send hands messages to the streams of their receivers. It never blocks; messages to whom is no
// peer are dropped. The messages must not change any more.
func (t *Transport) Send(messages []*raftpb.Message) {
	peers := *t.peers.Load()
	for _, m := range messages {
		p := peers[m.GetTo()]
		if p == nil {
			continue
		}
		it := item{m, proto.Size(m)}
		if p.streams[kindOf(m)].queue.put(it) {
			continue
		}
		p.dropped.Add(1)
		if p.unreachable() && it.size > maxMessageBytes {
			t.opts.Log.Error("a message to a peer is larger than a frame and cannot be sent; keep "+
				"--max-request-bytes below the limit", slog.String("type", m.GetType().String()),
				slog.Int("bytes", it.size), slog.Int("limit", maxMessageBytes))
		}
	}
}

// kindOf chooses the stream.
func kindOf(m *raftpb.Message) kind {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgProp, raftpb.MsgSnap:
		return bulk
	default: // those for reads have an entry, too: it is a name
		return fast
	}
}

// SetPeers makes these the peers, with their URLs; this member's own id is ignored. Streams to new
// ones are begun, of those that are gone all are closed. A stream is dialled anew if the URL that
// it uses is gone. Members that are not named, but dial this one, are answered all the same.
func (t *Transport) SetPeers(urls map[uint64][]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	now := maps.Clone(*t.peers.Load())
	for id, p := range now {
		if _, stays := urls[id]; !stays && (!p.guest || t.opts.IsRemoved(id)) {
			p.cancel()
			delete(now, id)
			for k := range kindCount {
				if in := t.incoming[streamKey{id, k}]; in != nil {
					in.close()
				}
			}
		}
	}
	for id, list := range urls {
		switch p := now[id]; {
		case id == t.opts.Local || id == 0:
		case p != nil:
			p.guest = false
			p.setURLs(list)
		default:
			now[id] = t.startPeer(id, list)
		}
	}
	t.peers.Store(&now)
}

// welcome makes a peer of a member that is not known as one: this one may have been away when the
// other was added, and can learn of it from nobody else if it cannot answer the one that leads
// (etcd: AddRemote). It stays a guest until SetPeers names it, and goes when it is removed. welcome
// is false if it was removed while it shook hands.
func (t *Transport) welcome(g greeting) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.opts.IsRemoved(g.from) { // after this, SetPeers ends the stream
		return false
	}
	if len(g.urls) == 0 {
		return true
	}
	if p := t.peer(g.from); p != nil {
		p.hear(g.urls)
		return true
	}
	now, guests := maps.Clone(*t.peers.Load()), 0
	for _, p := range now {
		if p.guest {
			guests++
		}
	}
	if t.closed || guests >= maxGuests {
		return true
	}
	p := t.startPeer(g.from, g.urls)
	p.guest = true
	now[g.from] = p
	t.peers.Store(&now)
	t.opts.Log.Info("added remote peer", slog.String("local-member-id", formatID(t.opts.Local)),
		slog.String("remote-peer-id", formatID(g.from)), slog.Any("remote-peer-urls", g.urls))
	return true
}

// peer returns a peer, or nil.
func (t *Transport) peer(id uint64) *peer { return (*t.peers.Load())[id] }

// ActiveSince is since when both streams to a peer are up; zero if they are not.
func (t *Transport) ActiveSince(id uint64) time.Time {
	if p := t.peer(id); p != nil {
		return p.activeSince()
	}
	return time.Time{}
}

// PeerVersion is the version that a peer reported in the last handshake.
func (t *Transport) PeerVersion(id uint64) (version string, ok bool) {
	p := t.peer(id)
	if p == nil {
		return "", false
	}
	version = p.lastVersion()
	return version, version != ""
}

// PeerStats is what is known of the traffic with one peer. Counters begin with 0 when the peer
// becomes one.
type PeerStats struct {
	ID          uint64
	ActiveSince time.Time     // see Transport.ActiveSince
	RTT         time.Duration // the last one measured; 0: none yet

	Queued, QueuedBytes             uint64 // messages that wait now
	SentMessages, SentBytes         uint64 // bytes as on the stream
	ReceivedMessages, ReceivedBytes uint64
	Dropped                         uint64 // messages lost here
	SendFailures, ReceiveFailures   uint64 // streams that broke
	Disconnects                     uint64 // times that it ceased to be active
}

// Stats lists the peers by id.
func (t *Transport) Stats() []PeerStats {
	peers := *t.peers.Load()
	out := make([]PeerStats, 0, len(peers))
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		out = append(out, peers[id].stats())
	}
	return out
}

// Close ends all connections and waits for the goroutines. What is queued is lost.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	t.cancel()
	for _, in := range t.incoming {
		in.close()
	}
	t.mu.Unlock()
	t.client.CloseIdleConnections()
	t.workers.Wait()
}
