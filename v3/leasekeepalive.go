package v3

import (
	"context"
	"errors"
	"sync"

	"github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/rpc"
	"github.com/cairnkv/cairn/wire"
)

// maxRenewals is how many renewals of a stream may be without a response: a client that asks for
// more is not listened to until some are answered.
const maxRenewals = 1024

// keeper is one LeaseKeepAlive RPC: one response for each request, in order, until the client
// closes its side. A lease that is not there is no error, its TTL is 0.
type keeper struct {
	*rawCall

	mu      sync.Mutex // guards all below
	waiting []*renewal // in the order of the requests
	refused bool       // a request was not taken for too many renewals
	half    bool       // the client has closed its side
	over    bool
}

// renewal is one request.
type renewal struct {
	id     cairn.LeaseID
	header cairn.Header
	done   bool
	ttl    int64
}

// openKeepAlive answers Lease.LeaseKeepAlive.
func (d *Door) openKeepAlive(c *rawCall) rpc.Receiver { return &keeper{rawCall: c} }

// Message begins a renewal.
func (k *keeper) Message(msg []byte) (ok bool) {
	r := &renewal{}
	k.mu.Lock()
	if len(k.waiting) >= maxRenewals {
		k.refused = true
		k.mu.Unlock()
		return false
	}
	k.received(msg)
	if err := wire.DecodeLeaseKeepAlive(msg, &r.id); err != nil {
		k.mu.Unlock()
		k.broke("receive", "lease-keepalive", err)
		k.finish(malformedInStream(err))
		return true
	}
	k.waiting = append(k.waiting, r)
	k.mu.Unlock()
	// The header comes first: its revision must not be later than the renewal, or a client could
	// take a lease for alive at a revision at which it was revoked.
	r.header = k.door.backend.Header()
	done := func(ttl int64, err error) {
		if err != nil && !errors.Is(err, cairn.ErrLeaseNotFound) {
			k.patiently(r)
			return
		}
		k.renewed(r, ttl, err)
	}
	if !k.door.backend.TryKeepAlive(r.id, done) {
		k.patiently(r)
	}
	return true
}

// patiently renews with a goroutine: the leader is another member, or a lease runs out, or
// something went wrong.
func (k *keeper) patiently(r *renewal) {
	_ = k.stream.Go(func(ctx context.Context) { // or the client has gone
		ttl, err := k.door.backend.KeepAlive(ctx, r.id)
		k.renewed(r, ttl, err)
	})
}

// renewed is the end of a renewal.
func (k *keeper) renewed(r *renewal, ttl int64, err error) {
	if err != nil && !errors.Is(err, cairn.ErrLeaseNotFound) {
		k.finish(err)
		return
	}
	k.mu.Lock()
	if r.done = true; err == nil {
		r.ttl = ttl
	}
	first := len(k.waiting) > 0 && k.waiting[0] == r
	k.mu.Unlock()
	if first {
		k.stream.Wake()
	}
}

// Fill sends the responses whose turn it is.
func (k *keeper) Fill(int) (more bool) {
	b := batches.Get().(*batch)
	b.buf, b.ends = b.buf[:0], b.ends[:0]
	k.mu.Lock()
	n := 0
	for n < len(k.waiting) && k.waiting[n].done {
		r := k.waiting[n]
		b.buf = wire.AppendLeaseKeepAliveResponse(b.buf, &r.header, r.id, r.ttl)
		b.ends = append(b.ends, len(b.buf))
		n++
	}
	clear(k.waiting[:n])
	if k.waiting = k.waiting[n:]; len(k.waiting) == 0 {
		k.waiting = nil
	}
	refused := k.refused && n > 0
	k.refused = k.refused && !refused
	end := k.half && len(k.waiting) == 0
	k.mu.Unlock()
	if n > 0 && k.stream.SendAll(b.buf, b.ends) {
		k.sent(n, len(b.buf))
	}
	batches.Put(b)
	if refused {
		k.stream.Resume()
	}
	if end {
		k.finish(nil)
	}
	return false
}

// HalfClosed ends the stream when all is answered.
func (k *keeper) HalfClosed() {
	k.mu.Lock()
	k.half = true
	end := len(k.waiting) == 0
	k.mu.Unlock()
	if end {
		k.finish(nil)
	}
}

// Ended counts how it ended.
func (k *keeper) Ended() { k.end(context.Canceled) }
