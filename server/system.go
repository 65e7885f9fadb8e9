package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/cairnkv/cairn/clock"
	"github.com/cairnkv/cairn/command"
	"github.com/cairnkv/cairn/node"
	"github.com/cairnkv/cairn/peer"
	"github.com/cairnkv/cairn/server/config"
	"github.com/cairnkv/cairn/state"
	"github.com/cairnkv/cairn/task"
	"github.com/cairnkv/cairn/transport"
	v3 "github.com/cairnkv/cairn/v3"
	"github.com/cairnkv/cairn/vfs"
)

// system is what a member takes from its surroundings. A test runs a whole member on files in
// memory, a clock that it moves and segments so small that they change all the time.
type system struct {
	fs    vfs.FS
	clock clock.Clock
	doors bool // ports are opened; without them requests come through the backend alone
	// tmp is where backups are made if not below the data directory. They are real files always:
	// package backup writes them past vfs.
	tmp   string
	tasks task.Tasks
	// network makes what carries messages to and from other members; nil: package transport.
	network func(transport.Options) Network
	// servePeers, if set, is given what answers other members' requests, in place of a port.
	servePeers func(http.Handler)
	// walBytes and revlogBytes are the sizes of new segments; 0 is what the packages choose.
	walBytes, revlogBytes int64
	lacks                 func(command.Kind) bool // see World
	watchBytes            int                     // see World
	leaseCheckpoint       time.Duration           // see World
	divided               bool                    // see World
}

// Network carries what members say to each other (transport.Transport).
type Network interface {
	node.Transport
	peer.Doer
	peer.Getter
	SetPeers(urls map[uint64][]string)
	ActiveSince(id uint64) time.Time
	PeerVersion(id uint64) (v string, known bool)
	Stats() []transport.PeerStats
	Close()
}

// World is what a simulated member finds around it, in place of a machine.
type World struct {
	FS    vfs.FS
	Clock clock.Clock
	Tasks task.Tasks
	// Network makes what carries messages. ServePeers is given what answers other members' requests
	// when the member begins to serve them.
	Network    func(transport.Options) Network
	ServePeers func(http.Handler)
	// WALBytes and RevlogBytes are the sizes of new segments.
	WALBytes, RevlogBytes int64
	// Lacks, if set, names kinds of commands that the member knows nothing of: it is of a version
	// before them.
	Lacks func(command.Kind) bool
	// WatchBytes bounds what is queued for a stream of watches; a response of more than half of it
	// is sent in fragments, if they were asked for. LeaseCheckpoint is the time between two
	// checkpoints of a lease. 0 is what a member on a machine has.
	WatchBytes      int
	LeaseCheckpoint time.Duration
	// Divided is node.Config's.
	Divided bool
}

// StartIn is Start in a world: all that a member is but its doors to clients, whose requests go to
// Backend. It is to be called by one of the world's tasks.
func StartIn(
	ctx context.Context, cfg *config.Config, logger *slog.Logger, w World,
) (*Server, error) {
	return start(ctx, cfg, logger, system{
		fs: w.FS, clock: w.Clock, tasks: w.Tasks, network: w.Network, servePeers: w.ServePeers,
		walBytes: w.WALBytes, revlogBytes: w.RevlogBytes, lacks: w.Lacks,
		watchBytes: w.WatchBytes, leaseCheckpoint: w.LeaseCheckpoint,
		divided: w.Divided,
	})
}

// Backend is the member as doors see it.
func (s *Server) Backend() v3.Backend { return s.back }

// Machine is the member's state, to be read alone.
func (s *Server) Machine() *state.Machine { return s.stores.machine }

// Node is the member's consensus.
func (s *Server) Node() *node.Node { return s.node }
