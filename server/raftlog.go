package server

import "github.com/cairnkv/cairn/node"

// noSync is the raft log of --unsafe-no-fsync: what it says is durable is not.
type noSync struct{ node.Log }

func (l noSync) Flush(bool) error { return l.Log.Flush(false) }

// Mark says nothing: what it would claim is not so.
func (l noSync) Mark() error { return nil }

// raftLog is the log that the node writes.
func (s *Server) raftLog() node.Log {
	if s.cfg.UnsafeNoFsync {
		return noSync{s.stores.wal}
	}
	return s.stores.wal
}
