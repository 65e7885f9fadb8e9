package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	cairn "github.com/cairnkv/cairn"
	"github.com/cairnkv/cairn/internal/version"
	"github.com/cairnkv/cairn/member"
	"github.com/cairnkv/cairn/ops"
	"github.com/cairnkv/cairn/peer"
	"github.com/cairnkv/cairn/server/listen"
	"github.com/cairnkv/cairn/task"
	"github.com/cairnkv/cairn/transport"
	"go.etcd.io/raft/v3/raftpb"
)

// removedDelay is how long a member goes on after it heard that it was removed: what it has to say
// to others and to the client that asked for it gets out (etcd: 1 s).
const removedDelay = time.Second

// ErrRemoved ends the start of a member that was removed from its cluster.
var ErrRemoved = errors.New("the member has been permanently removed from the cluster; to bring " +
	"it back, remove its data directory and add it anew with `member add`")

// cluster is what this member has to do with the others.
type cluster struct {
	transport   Network
	tasks       task.Tasks
	client      peer.Client
	strict      bool
	maxLearners int
	election    time.Duration
}

func (c *cluster) activeSince(id cairn.MemberID) time.Time { return c.transport.ActiveSince(id) }

// newTransport makes the transport of a member; of one that is not a member yet with zero ids.
func (s *Server) newTransport(clusterID uint64, local cairn.MemberID) (Network, error) {
	own, err := listen.PeerTLS(s.cfg, s.sys.fs, s.clk, s.logger)
	if err != nil {
		return nil, err
	}
	dialTLS, err := listen.DialTLS(s.cfg, own, s.sys.fs, s.logger)
	if err != nil {
		return nil, err
	}
	o := transport.Options{
		Cluster: clusterID, Local: local, Version: version.Etcd, URLs: s.peerURLs,
		TLS: dialTLS, LocalAddr: localAddr(s.cfg.MemberAddr()),
		ReadTimeout: s.cfg.RaftReadTimeout, WriteTimeout: s.cfg.RaftWriteTimeout,
		Clock: s.clk, Log: s.logger,
		Deliver: func(_ uint64, messages []*raftpb.Message) { s.deliver(messages) },
		Unreachable: func(id uint64) {
			if n := s.nodeRef.Load(); n != nil {
				n.Unreachable(id)
			}
		},
		Removed: s.noteRemoved,
		IsRemoved: func(id uint64) bool {
			return s.stores != nil && s.stores.machine.Members().Removed(id)
		},
		RTT: func(id uint64, d time.Duration) {
			if m := s.totals.metrics.Load(); m != nil {
				m.PeerRTT(id, d)
			}
		},
	}
	if s.sys.network != nil {
		return s.sys.network(o), nil
	}
	return transport.New(o), nil
}

// peerURLs are this member's as the cluster knows them.
func (s *Server) peerURLs() []string {
	if s.stores == nil {
		return nil
	}
	m, _ := s.stores.machine.Members().Get(s.stores.machine.Local())
	return m.PeerURLs
}

// localAddr is what to dial from; nil is the system's choice.
func localAddr(ip net.IP) net.Addr {
	if ip == nil {
		return nil
	}
	return &net.TCPAddr{IP: ip}
}

// openCluster makes what talks to the other members. The peers are set when the node runs.
func (s *Server) openCluster() error {
	m := s.stores.machine
	t, err := s.newTransport(m.Members().ClusterID(), m.Local())
	if err != nil {
		return err
	}
	s.cluster = &cluster{
		transport: t, client: peer.Client{Doer: t}, tasks: s.tasks,
		strict: s.cfg.StrictReconfig, maxLearners: s.cfg.MaxLearners,
		election: time.Duration(s.cfg.ElectionTicks()) * s.cfg.Heartbeat(),
	}
	return nil
}

// deliver hands messages of peers to the node; those that come before it runs are lost, as on any
// network.
func (s *Server) deliver(messages []*raftpb.Message) {
	if n := s.nodeRef.Load(); n != nil {
		n.Deliver(messages)
	}
}

// membersChanged runs on the applier, and once at the start.
func (s *Server) membersChanged() {
	s.peersMu.Lock() // or an older list could come last
	members := s.stores.machine.Members()
	urls := make(map[uint64][]string)
	for _, m := range members.List() {
		urls[m.ID] = m.PeerURLs
	}
	s.cluster.transport.SetPeers(urls)
	s.peersMu.Unlock()
	if members.Removed(s.stores.machine.Local()) {
		s.noteRemoved()
	}
}

// noteRemoved ends this member soon: it is no part of the cluster any more.
func (s *Server) noteRemoved() {
	if !s.removing.CompareAndSwap(false, true) {
		return
	}
	s.logger.Warn("the local member has been permanently removed from the cluster",
		slog.String("reason", "the data directory is of no use any more: remove it, and add the "+
			"member anew if it is to come back"))
	s.background("removed", func(ctx context.Context) {
		if s.pause(ctx, removedDelay, nil) {
			close(s.removed)
		}
	})
}

// Removed is closed when this member was removed from its cluster: it is to be stopped.
func (s *Server) Removed() <-chan struct{} { return s.removed }

// peerBackend is the member as its peers see it.
type peerBackend struct{ *backend }

var _ peer.Backend = peerBackend{}

func (b peerBackend) ClusterID() uint64        { return b.machine.Members().ClusterID() }
func (b peerBackend) Members() []member.Member { return b.machine.Members().List() }

func (b peerBackend) HashKV(ctx context.Context, rev int64) (peer.HashKV, error) {
	h, err := b.backend.HashKV(ctx, rev)
	return peer.HashKV{
		Member: b.machine.Local(), Hash: h.Hash, HashRev: h.HashRev, CompactRev: h.CompactRev,
		CurrentRev: h.CurrentRev,
	}, err
}

// peerHandler serves the peer port.
func (s *Server) peerHandler(o ops.Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.peerCalls.serve(peer.Handler(peerBackend{s.back}, s.clk, s.logger)))
	if t, ok := s.cluster.transport.(*transport.Transport); ok {
		mux.Handle(transport.Prefix, t.Handler())
	}
	mux.Handle("/version", ops.VersionHandler(o))
	return mux
}

// hexID is an id as log lines have it.
func hexID(id uint64) slog.Value { return slog.StringValue(fmt.Sprintf("%x", id)) }

// traffic is that with the other members, as /metrics shows it.
func (s *Server) traffic() []ops.Peer {
	var list []ops.Peer
	for _, p := range s.cluster.transport.Stats() {
		list = append(list, ops.Peer{
			ID: p.ID, Active: !p.ActiveSince.IsZero(),
			SentBytes: p.SentBytes, ReceivedBytes: p.ReceivedBytes,
			SendFailures: p.SendFailures, ReceiveFailures: p.ReceiveFailures,
			Disconnects: p.Disconnects,
		})
	}
	return list
}
