package server

import (
	cairn "github.com/cairnkv/cairn"
)

// TryKeepAlive renews a lease here, if this member leads and the lease is well: as Renew, but that
// nobody waits.
func (b *backend) TryKeepAlive(id cairn.LeaseID, done func(ttl int64, err error)) (ok bool) {
	term := b.leading.since()
	if term == 0 {
		return false
	}
	r, err := b.lessor.Renew(b.clk.Now(), id)
	if err != nil || r.TTL <= 0 || r.ClearCheckpoint {
		return false // renewing it again does no harm
	}
	b.metrics.LeasesRenewed.Inc()
	b.node.Barrier(func(err error) {
		switch {
		case err != nil:
		case b.leading.since() != term: // another leader has let the read through
			err = cairn.ErrNotLeader
		}
		done(r.TTL, err)
	})
	return true
}
