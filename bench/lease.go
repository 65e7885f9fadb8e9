package bench

import "errors"

// LeaseKeepAlive renews leases: each client has one, made before, and each renewal is a stream of
// its own, as clientv3's KeepAliveOnce makes them.
type LeaseKeepAlive struct {
	TTL int64 // of the leases, in seconds; default: 100
}

const defaultTTL = 100

// Verb is "lease-keepalive".
func (LeaseKeepAlive) Verb() string { return "lease-keepalive" }

type leasePlan struct{ ttl int64 }

func (l LeaseKeepAlive) build(*Options, uint64) (plan, error) {
	if l.TTL < 0 {
		return nil, errors.New("the TTL must be positive")
	}
	if l.TTL == 0 {
		l.TTL = defaultTTL
	}
	return &leasePlan{l.TTL}, nil
}

func (p *leasePlan) series() []string { return []string{"lease-keepalive"} }

// prepare asks for the client's lease, whose id becomes its state.
func (p *leasePlan) prepare(c *client, msg []byte) (request, bool) {
	if c.state != nil {
		return request{}, false
	}
	return request{method: grantMethod, msg: appendUint(msg, 1, uint64(p.ttl))}, true
}

func (p *leasePlan) next(c *client, msg []byte) request {
	return request{method: keepAliveMethod, msg: appendUint(msg, 1, uint64(c.state.(int64)))}
}

func (p *leasePlan) reply(c *client, msg []byte) (bool, error) {
	id, ttl, err := decodeLease(msg)
	if err != nil {
		return false, err
	}
	if ttl <= 0 {
		return false, errors.New("a lease has run out: the server did not keep up")
	}
	if c.state == nil {
		c.state = id
	}
	return false, nil
}

func (p *leasePlan) leaseOf(c *client) int64 {
	id, _ := c.state.(int64)
	return id
}
