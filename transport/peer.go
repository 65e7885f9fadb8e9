package transport

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// peer is one other member.
type peer struct {
	t       *Transport
	id      uint64
	cancel  context.CancelFunc // ends the streams
	guest   bool               // t.mu guards it; see Transport.welcome
	streams [kindCount]*stream

	sentMessages, sentBytes, receivedMessages, receivedBytes atomic.Uint64
	dropped, sendFailures, receiveFailures, disconnects      atomic.Uint64
	rtt                                                      atomic.Int64 // nanoseconds

	// reported is when Unreachable was called last, in nanoseconds since t.began.
	reported atomic.Int64

	mu      sync.Mutex // guards below
	urls    []string   // the one that worked last comes first
	told    []string   // what the peer itself said last: this member may have been away
	up      int        // outgoing streams; 0 to kindCount
	since   time.Time  // of up == kindCount
	failure string     // the kind of the failure that was logged last; "" after a success
	version string
}

// startPeer begins the streams; t.mu is held.
func (t *Transport) startPeer(id uint64, urls []string) *peer {
	p := &peer{t: t, id: id, urls: slices.Clone(urls)}
	p.reported.Store(-int64(reportInterval))
	ctx, cancel := context.WithCancel(t.ctx)
	p.cancel = cancel
	for k := range kindCount {
		s := &stream{p: p, kind: k, queue: newQueue(), hurry: make(chan struct{}, 1)}
		s.queue.begin()
		p.streams[k] = s
		t.workers.Go(func() { s.run(ctx) })
	}
	return p
}

// setURLs replaces the URLs; streams that use one that is gone are dialled anew.
func (p *peer) setURLs(urls []string) {
	p.mu.Lock()
	same := slices.Equal(slices.Sorted(slices.Values(p.urls)), slices.Sorted(slices.Values(urls)))
	if !same {
		p.urls, p.told = slices.Clone(urls), nil
	}
	p.mu.Unlock()
	if same {
		return
	}
	for _, s := range p.streams {
		s.leave(urls)
	}
}

// candidates are the URLs to try, in order.
func (p *peer) candidates() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Clone(p.urls)
	for _, u := range p.told {
		if !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}

// hear notes where the peer says that it is; where it is known to be comes first.
func (p *peer) hear(urls []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = slices.Clone(urls)
}

// has says whether the URL is still one of the peer's, and then prefers it.
func (p *peer) has(u string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.urls, u)
	if i > 0 {
		p.urls[0], p.urls[i] = p.urls[i], p.urls[0]
	}
	return i >= 0 || slices.Contains(p.told, u)
}

// unreachable reports a loss, unless one was reported just now: then it says false.
func (p *peer) unreachable() bool {
	now := int64(p.t.opts.Clock.Since(p.t.began))
	last := p.reported.Load()
	if now-last < int64(reportInterval) || !p.reported.CompareAndSwap(last, now) {
		return false
	}
	p.t.opts.Unreachable(p.id)
	return true
}

// lose counts messages that were queued or written to no end.
func (p *peer) lose(messages int) {
	p.dropped.Add(uint64(messages))
	if messages > 0 {
		p.unreachable()
	}
}

func (p *peer) attrs(k kind) []any {
	return []any{slog.String("local-member-id", formatID(p.t.opts.Local)),
		slog.String("remote-peer-id", formatID(p.id)), slog.String("stream-type", k.String())}
}

// connected notes an outgoing stream.
func (p *peer) connected(k kind, peerURL, version string) {
	log := p.t.opts.Log
	log.Info("established TCP streaming connection with remote peer", append(p.attrs(k),
		slog.String("direction", "out"), slog.String("url", peerURL))...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version, p.failure = version, ""
	if p.up++; p.up == int(kindCount) {
		p.since = p.t.opts.Clock.Now()
		log.Info("peer became active", slog.String("peer-id", formatID(p.id)))
	}
}

// disconnected notes its end. Without an error it was ended here.
func (p *peer) disconnected(k kind, err error) {
	log := p.t.opts.Log
	if err != nil {
		p.sendFailures.Add(1)
		log.Warn("lost TCP streaming connection with remote peer",
			append(p.attrs(k), slog.String("direction", "out"), slog.Any("error", err))...)
		p.unreachable()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up == int(kindCount) {
		p.since = time.Time{}
		p.disconnects.Add(1)
		if err != nil {
			log.Warn("peer became inactive (message send to peer failed)",
				slog.String("peer-id", formatID(p.id)), slog.Any("error", err))
		}
	}
	p.up--
}

// failed notes an attempt to connect that failed. What goes on failing alike is logged once.
func (p *peer) failed(k kind, err error) {
	p.sendFailures.Add(1)
	what := "unreachable"
	for _, known := range []error{errCluster, errTarget, errLevel, errRemoved} {
		if errors.Is(err, known) {
			what = known.Error()
		}
	}
	p.mu.Lock()
	news := p.failure != what
	p.failure = what
	p.mu.Unlock()
	if !news {
		return
	}
	msg := "cannot connect to the peer; trying again until it answers"
	switch {
	case errors.Is(err, errCluster):
		msg = "request sent was ignored due to cluster ID mismatch"
	case errors.Is(err, errRemoved):
		msg = "the peer says that this member was removed from the cluster"
	}
	p.t.opts.Log.Warn(msg, append(p.attrs(k), slog.Any("error", err))...)
}

func (p *peer) activeSince() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.since
}

func (p *peer) lastVersion() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// heard notes that the peer came to us: it is there, so that waiting to dial it makes no sense.
func (p *peer) heard(version string) {
	p.mu.Lock()
	p.version = version
	p.mu.Unlock()
	for _, s := range p.streams {
		select {
		case s.hurry <- struct{}{}:
		default:
		}
	}
}

func (p *peer) stats() PeerStats {
	out := PeerStats{
		ID: p.id, ActiveSince: p.activeSince(), RTT: time.Duration(p.rtt.Load()),
		SentMessages: p.sentMessages.Load(), SentBytes: p.sentBytes.Load(),
		ReceivedMessages: p.receivedMessages.Load(), ReceivedBytes: p.receivedBytes.Load(),
		Dropped: p.dropped.Load(), SendFailures: p.sendFailures.Load(),
		ReceiveFailures: p.receiveFailures.Load(), Disconnects: p.disconnects.Load(),
	}
	for _, s := range p.streams {
		messages, bytes := s.queue.waiting()
		out.Queued += uint64(messages)
		out.QueuedBytes += uint64(bytes)
	}
	return out
}
