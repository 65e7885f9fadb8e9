package v3

import (
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairnkv/cairn"
)

// serveLeaseKeepAlive answers Lease.LeaseKeepAlive: one response for each request, in order, until
// the client closes its side. A lease that is not there is no error, its TTL is 0.
func (d *Door) serveLeaseKeepAlive(st *stream) error {
	// The loop has a goroutine of its own because a receive ends with the client's context only,
	// and not when this side gives the stream up for want of a leader.
	end := make(chan error, 1)
	go func() { end <- d.keepAliveLoop(st) }()
	select {
	case err := <-end:
		return err
	case <-st.ctx.Done():
		return contextError(st.ctx)
	}
}

func (d *Door) keepAliveLoop(st *stream) error {
	const api = "lease-keepalive"
	var r pb.LeaseKeepAliveRequest
	for {
		r.Reset()
		if err := st.RecvMsg(&r); err == io.EOF {
			return nil
		} else if err != nil {
			d.streamBroke(st, "receive", api, err)
			return err
		}
		// The header comes first: its revision must not be later than the renewal, or a client
		// could take a lease for alive at a revision at which it was revoked.
		resp := &pb.LeaseKeepAliveResponse{Header: d.header(), ID: r.ID}
		ttl, err := d.backend.KeepAlive(st.ctx, r.ID)
		if err != nil && !errors.Is(err, cairn.ErrLeaseNotFound) {
			return err
		}
		if err == nil {
			resp.TTL = ttl
		}
		if err := st.SendMsg(resp); err != nil {
			d.streamBroke(st, "send", api, err)
			return err
		}
	}
}
