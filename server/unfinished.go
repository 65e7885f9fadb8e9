package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/cairnkv/cairn/server/listen"
	"go.etcd.io/raft/v3/raftpb"
)

func (s *Server) peerLocalAddr() net.Addr         { return nil }
func (s *Server) raftReadTimeout() time.Duration  { return 5 * time.Second }
func (s *Server) raftWriteTimeout() time.Duration { return 5 * time.Second }
func (s *Server) strict() bool                    { return true }
func (s *Server) maxLearners() int                { return 1 }

func (s *Server) peerDialTLS() (func() (*tls.Config, error), error) { return nil, nil }
func (s *Server) peerListenTLS() (*listen.TLS, error)               { return nil, nil }

type installer struct{}

func newInstaller(*Server) *installer { return &installer{} }

func (i *installer) Fetch(m *raftpb.Message) {}
func (i *installer) Install(index, term uint64) error {
	return errors.New("snapshots between members are yet to come")
}

func (b peerBackend) SendSnapshot(ctx context.Context, w io.Writer, request []byte) error {
	return errors.New("snapshots between members are yet to come")
}

func (s *Server) hashInterval() time.Duration { return time.Minute }
